import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { failureOf } from "../../main/host/host-error.ts";
import type { Log } from "../../main/host/log.ts";
import { openVault, type Vault } from "../../main/host/vault.ts";
import type { VaultStatus } from "../../preload/contract/vault.ts";
import { fakeKeychain, type FakeKeychain } from "../fakes/keychain.ts";
import { hashesOf, temporaryFolder } from "./folder.ts";

const silent: Log = { write: () => undefined, error: () => undefined, close: () => undefined };

type Opened = { vault: Vault; told: VaultStatus[]; hooks: string[] };

function open(
  folder: string,
  keychain: FakeKeychain,
  passphrase?: string,
  onOpen: () => void = () => undefined,
): Opened {
  const told: VaultStatus[] = [];
  const hooks: string[] = [];
  const vault = openVault({
    folder,
    keychain,
    passphrase,
    log: silent,
    waitingAfterMs: 50,
    onChange: (status) => told.push(status),
    onOpen: () => {
      hooks.push("open");
      onOpen();
    },
    onLock: () => {
      hooks.push("lock");
      return Promise.resolve();
    },
  });
  onTestFinished(vault.stop);
  return { vault, told, hooks };
}

async function settledAt(vault: Vault): Promise<string> {
  await vault.settled();
  return vault.status().at;
}

const fileKey = (vault: Vault) => Buffer.from(vault.fileKey("folder", "crypto.db")).toString("hex");
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "ok",
    (error: unknown) => failureOf(error)?.code ?? "thrown",
  );
const vaultFile = (folder: string) => path.join(folder, "vault.json");
const vaultFiles = (folder: string) => [vaultFile(folder), path.join(folder, "vault.copy.json")];

const newProfile = () => ({ folder: temporaryFolder(), keychain: fakeKeychain() });

/** A profile that was made with this keychain, and the key of one of its files. */
async function madeProfile() {
  const { folder, keychain } = newProfile();
  const { vault } = open(folder, keychain);
  await vault.settled();
  const key = fileKey(vault);
  vault.stop();
  return { folder, keychain, key };
}

/** Made with this keychain, with a passphrase beside it: "correct horse". It is open. */
async function withSecondSlot(folder: string, keychain: FakeKeychain): Promise<Vault> {
  const { vault } = open(folder, keychain);
  await vault.settled();
  await vault.setPassphrase("correct horse", undefined);
  return vault;
}

const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
};

describe("by keychain", () => {
  test("first start: new, then ready, with one entry of 32 bytes and a file for the owner alone", async () => {
    const { folder, keychain } = newProfile();
    const { vault, told, hooks } = open(folder, keychain);
    expect(vault.status().at).toBe("new");
    expect(await settledAt(vault)).toBe("ready");
    expect(told.at(-1)).toMatchObject({ at: "ready", keychain: { ok: true, backend: "fake" }, passphrase: false });
    expect(hooks).toEqual(["open"]);
    expect([...keychain.entries.values()].map((entry) => Buffer.from(entry, "base64url").length)).toEqual([32]);
    expect(statSync(vaultFile(folder)).mode & 0o777).toBe(0o600);
    expect(readFileSync(vaultFile(folder), "utf8")).not.toContain([...keychain.entries.values()][0]);
  });

  test("the next start has the same keys, and writes nothing", async () => {
    const { folder, keychain, key } = await madeProfile();
    const before = hashesOf(folder);
    const { vault } = open(folder, keychain);
    expect(vault.status().at).toBe("locked");
    expect(await settledAt(vault)).toBe("ready");
    expect(fileKey(vault)).toBe(key);
    expect(hashesOf(folder)).toEqual(before);
    expect(keychain.writes).toBe(1);
  });

  test("a prompt that nobody has answered yet: locked and waiting; answered, it is ready by itself", async () => {
    const { folder, keychain, key } = await madeProfile();
    keychain.prompt();
    const { vault, told } = open(folder, keychain);
    await vault.settled();
    expect(vault.status()).toMatchObject({ at: "locked", keychain: { waiting: true } });
    expect(() => {
      vault.requireOpen();
    }).toThrow();
    keychain.answer();
    await until(() => vault.status().at === "ready");
    expect(fileKey(vault)).toBe(key);
    expect(told.at(-1)).toEqual({ at: "ready", keychain: { backend: "fake", ok: true }, passphrase: false });
  });

  test("a prompt refused: locked; asked again and answered: ready", async () => {
    const { folder, keychain, key } = await madeProfile();
    keychain.trouble = "refused";
    const { vault } = open(folder, keychain);
    expect(await settledAt(vault)).toBe("locked");
    expect(vault.status().keychain).toEqual({ backend: "fake", ok: false });
    keychain.trouble = undefined;
    expect(await vault.retryKeychain()).toBe("ready");
    expect(fileKey(vault)).toBe(key);
  });

  test("asking again while a prompt hangs ends that one first", async () => {
    const { folder, keychain } = await madeProfile();
    keychain.prompt();
    const { vault } = open(folder, keychain);
    await vault.settled();
    expect(await vault.retryKeychain()).toBe("ready");
  });

  test("no service: missing, keychain-missing, and no key by default", async () => {
    const { folder, keychain } = newProfile();
    keychain.trouble = "unavailable";
    const { vault, hooks } = open(folder, keychain);
    expect(await settledAt(vault)).toBe("missing");
    expect(() => {
      vault.requireOpen();
    }).toThrow(
      expect.objectContaining({ failure: expect.objectContaining({ code: "keychain-missing" }) as unknown }) as Error,
    );
    expect(hooks).toEqual([]);
    expect(existsSync(vaultFile(folder))).toBe(false);
    expect(() => vault.fileKey("a", "b")).toThrow();
  });

  test("no service on a new profile: a passphrase is a way to begin", async () => {
    const { folder, keychain } = newProfile();
    keychain.trouble = "unavailable";
    const { vault } = open(folder, keychain);
    await vault.settled();
    await vault.setPassphrase("correct horse", undefined);
    expect(vault.status()).toMatchObject({ at: "ready", passphrase: true });
  });

  test("the entry deleted: missing, nothing written, and a retry finds it where it is back", async () => {
    const { folder, keychain, key } = await madeProfile();
    const [[name, entry] = ["", ""]] = [...keychain.entries];
    const before = hashesOf(folder);
    keychain.entries.clear();
    const { vault } = open(folder, keychain);
    expect(await settledAt(vault)).toBe("missing");
    expect(await vault.retryKeychain()).toBe("missing");
    expect(keychain.entries.size).toBe(0);
    expect(hashesOf(folder)).toEqual(before);
    expect(await codeOf(vault.setPassphrase("new one", undefined))).toBe("keychain-missing");
    keychain.entries.set(name, entry);
    expect(await vault.retryKeychain()).toBe("ready");
    expect(fileKey(vault)).toBe(key);
  });

  test.each([
    ["another key", Buffer.alloc(32, 1).toString("base64url")],
    ["a shorter one", Buffer.alloc(16, 1).toString("base64url")],
    ["no key at all", "hello"],
    ["nothing", ""],
  ])("the entry replaced by %s: changed, and left as it is", async (_what, entry) => {
    const { folder, keychain } = await madeProfile();
    const [name = ""] = keychain.entries.keys();
    keychain.entries.set(name, entry);
    const { vault } = open(folder, keychain);
    expect(await settledAt(vault)).toBe("changed");
    expect(() => {
      vault.requireOpen();
    }).toThrow(
      expect.objectContaining({ failure: expect.objectContaining({ code: "keychain-changed" }) as unknown }) as Error,
    );
    expect(keychain.entries.get(name)).toBe(entry);
  });

  test("a file that is damaged or gone: its copy opens the profile, and both are whole again", async () => {
    const { folder, keychain } = await madeProfile();
    const { vault: first } = open(folder, keychain);
    await first.settled();
    await first.setPassphrase("a long enough passphrase", undefined);
    first.stop();
    const whole = readFileSync(vaultFile(folder));
    for (const file of vaultFiles(folder))
      for (const damage of [Buffer.alloc(0), whole.subarray(0, 50), Buffer.alloc(whole.length), undefined]) {
        if (damage === undefined) rmSync(file);
        else writeFileSync(file, damage);
        keychain.entries.clear();
        const { vault } = open(folder, keychain);
        expect(await settledAt(vault)).toBe("missing");
        await vault.unlock("a long enough passphrase");
        expect(vault.status().at).toBe("ready");
        vault.stop();
        for (const one of vaultFiles(folder)) expect(readFileSync(one).equals(whole)).toBe(true);
      }
  });

  test("a passphrase that was taken away is in neither file", async () => {
    const { folder, keychain } = await madeProfile();
    const { vault } = open(folder, keychain);
    await vault.settled();
    await vault.setPassphrase("a long enough passphrase", undefined);
    await vault.setPassphrase(null, "a long enough passphrase");
    for (const file of vaultFiles(folder)) expect(readFileSync(file, "utf8")).not.toContain("passphrase");
  });

  test("both files damaged: corrupt, at whichever byte, and never written over", async () => {
    const { folder, keychain } = await madeProfile();
    const whole = readFileSync(vaultFile(folder));
    const damages = [Buffer.alloc(0), Buffer.from("{}"), whole.subarray(0, 50), Buffer.alloc(whole.length)];
    for (let at = 20; at < whole.length - 3; at += 13) {
      const copy = Buffer.from(whole);
      copy[at] = (copy[at] ?? 0) ^ 1;
      damages.push(copy);
    }
    for (const damaged of damages) {
      for (const file of vaultFiles(folder)) writeFileSync(file, damaged);
      const { vault } = open(folder, keychain);
      expect(await settledAt(vault)).toBe("corrupt");
      expect(await codeOf(vault.unlock("x"))).toBe("database-corrupt");
      for (const file of vaultFiles(folder)) expect(readFileSync(file).equals(damaged)).toBe(true);
    }
    const { vault } = open(folder, keychain);
    await vault.settled();
    writeFileSync(vaultFile(folder), whole);
    expect(await vault.retryKeychain()).toBe("ready");
  });

  test("sealed files without a vault file are not a new profile", async () => {
    const { folder, keychain } = await madeProfile();
    writeFileSync(path.join(folder, "accounts.sealed"), "sealed");
    for (const file of vaultFiles(folder)) rmSync(file);
    const { vault } = open(folder, keychain);
    expect(await settledAt(vault)).toBe("corrupt");
    expect(keychain.writes).toBe(1);
    expect(existsSync(vaultFile(folder))).toBe(false);
  });

  test("accounts that cannot be read make it corrupt and take the key back", async () => {
    const folder = temporaryFolder();
    const { vault } = open(folder, fakeKeychain(), undefined, () => {
      throw new Error("damaged");
    });
    expect(await settledAt(vault)).toBe("corrupt");
    expect(() => vault.fileKey("a", "b")).toThrow();
  });

  test("locked by the person: those who use the keys end first, then the keys are gone; the keychain opens it again", async () => {
    const { folder, keychain } = newProfile();
    const { vault, hooks } = open(folder, keychain);
    await vault.settled();
    const key = fileKey(vault);
    await vault.lock();
    expect(vault.status().at).toBe("locked");
    expect(() => vault.fileKey("a", "b")).toThrow();
    expect(await vault.retryKeychain()).toBe("ready");
    expect(fileKey(vault)).toBe(key);
    expect(hooks).toEqual(["open", "lock", "open"]);
  });
});

describe("by passphrase", () => {
  test("a new profile has that slot alone, and the keychain is not asked", async () => {
    const { folder, keychain } = newProfile();
    const first = open(folder, keychain, "correct horse");
    expect(first.vault.status().at).toBe("new");
    expect(await settledAt(first.vault)).toBe("ready");
    const key = fileKey(first.vault);
    const second = open(folder, keychain, "correct horse");
    expect(await settledAt(second.vault)).toBe("ready");
    expect(fileKey(second.vault)).toBe(key);
    expect([keychain.reads, keychain.writes]).toEqual([0, 0]);
    expect(readFileSync(vaultFile(folder), "utf8")).not.toContain("correct horse");
  });

  test("a wrong one: locked, wrong-key again and again, not a byte changed; the right one opens", async () => {
    const { folder, keychain } = newProfile();
    await open(folder, keychain, "correct horse").vault.settled();
    const before = hashesOf(folder);
    const { vault } = open(folder, keychain, "wrong");
    expect(await settledAt(vault)).toBe("locked");
    for (const wrong of ["wrong", "Correct horse", "correct horse "])
      expect(await codeOf(vault.unlock(wrong))).toBe("wrong-key");
    expect(vault.status().at).toBe("locked");
    expect(hashesOf(folder)).toEqual(before);
    await vault.unlock("correct horse");
    expect(vault.status().at).toBe("ready");
  });

  test("without it a profile of that slot alone is locked", async () => {
    const { folder, keychain } = newProfile();
    await open(folder, keychain, "correct horse").vault.settled();
    const { vault } = open(folder, keychain);
    expect(await settledAt(vault)).toBe("locked");
    expect(vault.status().passphrase).toBe(true);
    expect(await vault.retryKeychain()).toBe("locked");
    expect(keychain.reads).toBe(0);
  });

  test("a passphrase for a profile that has none does not open it", async () => {
    const { folder, keychain } = await madeProfile();
    const { vault } = open(folder, keychain, "any");
    expect(await settledAt(vault)).toBe("locked");
    expect(await codeOf(vault.unlock("any"))).toBe("wrong-key");
  });

  test("a second slot beside the keychain opens where the entry is gone or changed; retry puts the entry back", async () => {
    const { folder, keychain } = newProfile();
    const key = fileKey(await withSecondSlot(folder, keychain));
    const [[name, entry] = ["", ""]] = [...keychain.entries];
    for (const lose of [
      () => {
        keychain.entries.clear();
      },
      () => keychain.entries.set(name, "other"),
    ]) {
      lose();
      const { vault } = open(folder, keychain);
      expect(["missing", "changed"]).toContain(await settledAt(vault));
      await vault.unlock("correct horse");
      expect(fileKey(vault)).toBe(key);
      expect(await vault.retryKeychain()).toBe("ready");
      expect(keychain.entries.get(name)).toBe(entry);
    }
  });

  test("a keychain that lost the key gets it back when the passphrase opens, one whose entry was replaced only when asked to", async () => {
    const { folder, keychain } = newProfile();
    (await withSecondSlot(folder, keychain)).stop();
    const [[name, entry] = ["", ""]] = [...keychain.entries];
    keychain.entries.set(name, "other");
    const changed = open(folder, keychain).vault;
    await changed.settled();
    await changed.unlock("correct horse");
    await changed.lock();
    expect(keychain.entries.get(name)).toBe("other");
    changed.stop();
    keychain.entries.clear();
    const lost = open(folder, keychain).vault;
    expect(await settledAt(lost)).toBe("missing");
    await lost.unlock("correct horse");
    await until(() => keychain.entries.get(name) === entry);
    lost.stop();
    expect(await settledAt(open(folder, keychain).vault)).toBe("ready");
  });

  test("nobody waits for a keychain that hangs while it gets the key back, and locking ends it", async () => {
    const { folder, keychain } = newProfile();
    (await withSecondSlot(folder, keychain)).stop();
    keychain.entries.clear();
    const { vault } = open(folder, keychain);
    await vault.settled();
    keychain.prompt();
    await vault.unlock("correct horse");
    expect(vault.status().at).toBe("ready");
    await until(() => vault.status().keychain.waiting === true);
    await vault.lock();
    expect(vault.status().at).toBe("locked");
    await vault.unlock("correct horse");
  });

  test("a profile of the passphrase alone moves into a keychain only once that gives the key back", async () => {
    const { folder, keychain } = newProfile();
    const { vault } = open(folder, keychain, "correct horse");
    await vault.settled();
    expect(vault.status().keychain.unused).toBe(true);
    const before = hashesOf(folder);
    const forgetful = { ...keychain, write: () => Promise.resolve() };
    const other = open(temporaryFolder(), forgetful, "correct horse").vault;
    await other.settled();
    await other.retryKeychain();
    expect(other.status()).toMatchObject({ at: "ready", keychain: { unused: true }, passphrase: true });
    expect(hashesOf(folder)).toEqual(before);
    await vault.retryKeychain();
    expect(vault.status().keychain.unused).toBeUndefined();
    vault.stop();
    expect(await settledAt(open(folder, keychain).vault)).toBe("ready");
  });

  test("it opens while the keychain's prompt hangs", async () => {
    const { folder, keychain } = newProfile();
    await withSecondSlot(folder, keychain);
    keychain.prompt();
    const { vault } = open(folder, keychain);
    await vault.settled();
    expect(vault.status().keychain.waiting).toBe(true);
    await vault.unlock("correct horse");
    expect(vault.status()).toMatchObject({ at: "ready" });
    expect(vault.status().keychain.waiting).toBeUndefined();
  });
});

describe("setting the passphrase", () => {
  test("needs the current one where no keychain vouches", async () => {
    const folder = temporaryFolder();
    const { vault } = open(folder, fakeKeychain(), "old");
    await vault.settled();
    expect(await codeOf(vault.setPassphrase("new", undefined))).toBe("wrong-key");
    expect(await codeOf(vault.setPassphrase("new", "not old"))).toBe("wrong-key");
    expect(await codeOf(vault.setPassphrase("new", "old"))).toBe("ok");
    await vault.lock();
    expect(await codeOf(vault.unlock("old"))).toBe("wrong-key");
    expect(await codeOf(vault.unlock("new"))).toBe("ok");
  });

  test("a wrong current one is refused even where the keychain would vouch", async () => {
    const { vault } = open(temporaryFolder(), fakeKeychain());
    await vault.settled();
    await vault.setPassphrase("old", undefined);
    expect(await codeOf(vault.setPassphrase("new", "not old"))).toBe("wrong-key");
  });

  test("the last slot stays", async () => {
    const { vault } = open(temporaryFolder(), fakeKeychain(), "only");
    await vault.settled();
    expect(await codeOf(vault.setPassphrase(null, "only"))).toBe("conflict");
    expect(vault.status().passphrase).toBe(true);
  });

  test("it goes only while the keychain still has the key", async () => {
    const keychain = fakeKeychain();
    const { vault } = open(temporaryFolder(), keychain);
    await vault.settled();
    await vault.setPassphrase("second", undefined);
    const [[name, entry] = ["", ""]] = [...keychain.entries];
    keychain.entries.clear();
    expect(await codeOf(vault.setPassphrase(null, "second"))).toBe("conflict");
    keychain.entries.set(name, entry);
    expect(await codeOf(vault.setPassphrase(null, "second"))).toBe("ok");
    expect(vault.status().passphrase).toBe(false);
  });

  test("is not possible while the vault is locked", async () => {
    const folder = temporaryFolder();
    await open(folder, fakeKeychain(), "right").vault.settled();
    const { vault } = open(folder, fakeKeychain(), "wrong");
    await vault.settled();
    expect(await codeOf(vault.setPassphrase("new", "right"))).toBe("locked");
  });
});

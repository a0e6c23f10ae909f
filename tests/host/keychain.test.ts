import { cpSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { forkHelper } from "../../main/host/helper-process.ts";
import { KeychainError, openKeychain, type Keychain } from "../../main/host/keychain.ts";
import type { Log } from "../../main/host/log.ts";
import { openVault, type Vault } from "../../main/host/vault.ts";
import { eventually } from "../eventually.ts";
import { filesOf, temporaryFolder } from "./folder.ts";
import { startHeadless } from "./headless-process.ts";
import { keyringPassword, requireKeyring, startSecretService, type SecretService } from "./secret-service.ts";

const startHelper = forkHelper(new URL("../../main/host/keychain-process.ts", import.meta.url));
const silent: Log = { write: () => undefined, error: () => undefined, close: () => undefined };

let service: SecretService;
beforeAll(requireKeyring);
beforeEach(async () => {
  service = await startSecretService();
});
afterEach(() => service.stop());

function keychainOf(patienceMs?: number): Keychain {
  const keychain = openKeychain(startHelper, patienceMs);
  onTestFinished(keychain.stop);
  return keychain;
}

function vaultOf(folder: string, keychain = keychainOf(), passphrase?: string): Vault {
  const vault = openVault({
    folder,
    keychain,
    passphrase,
    log: silent,
    onChange: () => undefined,
    onOpen: () => undefined,
    onLock: () => Promise.resolve(),
  });
  onTestFinished(vault.stop);
  return vault;
}

/** Its state once the keychain has answered. */
const settled = async (vault: Vault) => {
  await vault.settled();
  await until(() => vault.status().keychain.waiting !== true);
  return vault.status();
};
/** What asking anew leads to, however slow the machine. */
const retried = async (vault: Vault) => {
  await vault.retryKeychain();
  return (await settled(vault)).at;
};
const fileKey = (vault: Vault) => Buffer.from(vault.fileKey("folder", "crypto.db")).toString("hex");
const profileIdOf = (folder: string) =>
  (JSON.parse(readFileSync(path.join(folder, "vault.json"), "utf8")) as { vault: { profileId: string } }).vault
    .profileId;
const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
};
const troubleOf = (work: Promise<unknown>) =>
  work.then(
    () => "none",
    (error: unknown) => (error instanceof KeychainError ? error.trouble : "thrown"),
  );

/** A profile whose key this keyring holds. */
async function made(): Promise<{ folder: string; key: string; entry: string }> {
  const folder = temporaryFolder();
  const vault = vaultOf(folder);
  expect((await settled(vault)).at).toBe("ready");
  const key = fileKey(vault);
  vault.stop();
  return { folder, key, entry: profileIdOf(folder) };
}

test("first start: a key is made, kept in the keyring and nowhere in the profile", async () => {
  const { folder, entry } = await made();
  const stored = await keychainOf().read(entry);
  expect(stored).toMatch(/^[\w-]{43}$/);
  for (const [file, bytes] of filesOf(folder)) expect([file, bytes.includes(stored ?? "-")]).toEqual([file, false]);
});

test("restart: the same key, also after the keyring itself was restarted", async () => {
  const { folder, key } = await made();
  expect(fileKey(await opened(vaultOf(folder)))).toBe(key);
  await service.stopDaemon();
  await service.startDaemon();
  expect(fileKey(await opened(vaultOf(folder)))).toBe(key);
});

async function opened(vault: Vault): Promise<Vault> {
  expect(await settled(vault)).toMatchObject({ at: "ready", keychain: { ok: true } });
  return vault;
}

test("locked: while nobody answers the prompt it says that it waits, and makes no new key", async () => {
  const { folder } = await made();
  service.lock();
  const prompter = await service.prompter();
  const vault = vaultOf(folder);
  await vault.settled();
  expect(vault.status()).toMatchObject({ at: "locked", keychain: { ok: false, waiting: true } });
  await until(() => prompter.asked() > 0);
  expect(() => {
    vault.requireOpen();
  }).toThrow();
});

test("answered: the vault opens by itself, with the key that was there", async () => {
  const { folder, key } = await made();
  service.lock();
  const prompter = await service.prompter();
  const vault = vaultOf(folder);
  await until(() => prompter.asked() > 0);
  prompter.answer(keyringPassword);
  await until(() => vault.status().at === "ready");
  expect(fileKey(vault)).toBe(key);
  expect(service.isLocked()).toBe(false);
});

test("refused: locked and not waiting; asked again and answered it opens", async () => {
  const { folder, key } = await made();
  service.lock();
  const prompter = await service.prompter();
  prompter.dismiss();
  const vault = vaultOf(folder);
  expect(await settled(vault)).toEqual({
    at: "locked",
    keychain: { backend: "Secret Service", ok: false },
    passphrase: false,
  });
  prompter.answer(keyringPassword);
  expect(await retried(vault)).toBe("ready");
  expect(fileKey(vault)).toBe(key);
});

test("refused at the first start: no key is made, no file is written", async () => {
  const folder = temporaryFolder();
  service.lock();
  (await service.prompter()).dismiss();
  expect((await settled(vaultOf(folder))).at).toBe("locked");
  expect([...filesOf(folder).keys()]).toEqual([]);
});

test("locked where there is nobody to ask: locked too, not missing", async () => {
  const { folder } = await made();
  service.lock();
  expect((await settled(vaultOf(folder))).at).toBe("locked");
});

test("service gone: missing; back, a retry opens it", async () => {
  const { folder, key } = await made();
  await service.stopDaemon();
  const vault = vaultOf(folder);
  expect(await settled(vault)).toMatchObject({ at: "missing", keychain: { ok: false } });
  expect(await troubleOf(keychainOf().read("x"))).toBe("unavailable");
  await service.startDaemon();
  expect(await retried(vault)).toBe("ready");
  expect(fileKey(vault)).toBe(key);
});

// libsecret goes on waiting for the prompt of a service that has died: only another question finds out
test("service gone while it is asked: it waits on, and a retry finds it gone", async () => {
  const { folder, key } = await made();
  service.lock();
  const prompter = await service.prompter();
  const vault = vaultOf(folder);
  await until(() => prompter.asked() > 0);
  await service.stopDaemon();
  await until(() => vault.status().keychain.waiting === true);
  expect(await retried(vault)).toBe("missing");
  await service.startDaemon();
  expect(await retried(vault)).toBe("ready");
  expect(fileKey(vault)).toBe(key);
});

test("no bus at all: unavailable", async () => {
  const { DBUS_SESSION_BUS_ADDRESS } = process.env;
  process.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/nonexistent";
  expect(await troubleOf(keychainOf().read("x"))).toBe("unavailable");
  process.env["DBUS_SESSION_BUS_ADDRESS"] = DBUS_SESSION_BUS_ADDRESS;
});

test("entry deleted: missing, though the keyring is there and open; nothing is put in its place", async () => {
  const { folder, entry } = await made();
  const keychain = keychainOf();
  await keychain.remove(entry);
  expect(await settled(vaultOf(folder))).toMatchObject({ at: "missing", keychain: { ok: true } });
  expect(await keychain.read(entry)).toBeUndefined();
});

test("entry replaced: changed, and left as it is", async () => {
  const { folder, entry } = await made();
  const keychain = keychainOf();
  const other = Buffer.alloc(32, 7).toString("base64url");
  await keychain.write(entry, other);
  expect(await settled(vaultOf(folder))).toMatchObject({ at: "changed", keychain: { ok: true } });
  expect(await keychain.read(entry)).toBe(other);
});

test("passphrase slot: opens where the entry is lost, and a retry then puts the entry back", async () => {
  const { folder, key, entry } = await made();
  const first = await opened(vaultOf(folder));
  await first.setPassphrase("correct horse", undefined);
  first.stop();
  const keychain = keychainOf();
  await keychain.remove(entry);
  const vault = vaultOf(folder);
  expect(await settled(vault)).toMatchObject({ at: "missing", passphrase: true });
  await vault.unlock("correct horse");
  expect(fileKey(vault)).toBe(key);
  expect(await retried(vault)).toBe("ready");
  vault.stop();
  expect(fileKey(await opened(vaultOf(folder)))).toBe(key);
});

test("passphrase slot: the keyring that lost the entry has it again once the passphrase opened, without being asked", async () => {
  const { folder, key, entry } = await made();
  const first = await opened(vaultOf(folder));
  await first.setPassphrase("correct horse", undefined);
  first.stop();
  await keychainOf().remove(entry);
  const vault = vaultOf(folder);
  expect((await settled(vault)).at).toBe("missing");
  await vault.unlock("correct horse");
  const keychain = keychainOf();
  while ((await keychain.read(entry)) === undefined) await new Promise((resolve) => setTimeout(resolve, 20));
  vault.stop();
  expect(fileKey(await opened(vaultOf(folder)))).toBe(key);
});

const keyrings = () => path.join(process.env["XDG_DATA_HOME"] ?? "", "keyrings");

test("another keyring in the place of the first: an open vault moves into it, and the first keeps what it has", async () => {
  const { folder, key } = await made();
  const vault = await opened(vaultOf(folder));
  await service.stopDaemon();
  const first = `${keyrings()}.first`;
  renameSync(keyrings(), first);
  await service.startDaemon();
  expect(await retried(vault)).toBe("ready");
  expect(vault.status().keychain.ok).toBe(true);
  vault.stop();
  expect(fileKey(await opened(vaultOf(folder)))).toBe(key);
  await service.stopDaemon();
  rmSync(keyrings(), { recursive: true });
  renameSync(first, keyrings());
  await service.startDaemon();
  expect(fileKey(await opened(vaultOf(folder)))).toBe(key);
});

test("a profile copied to another computer opens with the passphrase, and from then on with the keyring there", async () => {
  const { folder, key } = await made();
  const vault = await opened(vaultOf(folder));
  await vault.setPassphrase("correct horse", undefined);
  vault.stop();
  const copy = path.join(temporaryFolder(), "copy");
  cpSync(folder, copy, { recursive: true });
  await service.stopDaemon();
  rmSync(keyrings(), { recursive: true });
  await service.startDaemon();
  const there = vaultOf(copy);
  expect((await settled(there)).at).toBe("missing");
  await there.unlock("correct horse");
  expect(fileKey(there)).toBe(key);
  await until(() => there.status().keychain.ok);
  expect(await retried(there)).toBe("ready");
  there.stop();
  expect(fileKey(await opened(vaultOf(copy)))).toBe(key);
});

test("passphrase slot: opens while the keyring's prompt hangs", async () => {
  const { folder, key } = await made();
  const first = await opened(vaultOf(folder));
  await first.setPassphrase("correct horse", undefined);
  first.stop();
  service.lock();
  const prompter = await service.prompter();
  const vault = vaultOf(folder);
  await until(() => prompter.asked() > 0 && vault.status().keychain.waiting === true);
  await vault.unlock("correct horse");
  expect(fileKey(vault)).toBe(key);
});

test("patience ends: a prompt that is never answered is a time-out, and the next question is asked anew", async () => {
  const { entry } = await made();
  service.lock();
  const prompter = await service.prompter();
  const keychain = keychainOf(1500);
  expect(await troubleOf(keychain.read(entry))).toBe("timeout");
  prompter.answer(keyringPassword);
  // on a busy machine the answer itself may take longer than this keychain's patience
  const read = () =>
    keychain.read(entry).catch((error: unknown) => {
      if (error instanceof KeychainError && error.trouble === "timeout") return "timeout";
      throw error;
    });
  expect(await eventually(read, (answer) => answer !== "timeout")).toMatch(/^[\w-]{43}$/);
});

test("reading leaves nothing behind in the keyring", async () => {
  const keychain = keychainOf();
  expect(await keychain.read("nobody")).toBeUndefined();
  expect(await keychain.read("nobody.canary")).toBeUndefined();
});

test("the app without a passphrase file: new, then ready; signed in after a restart; locked while the prompt hangs", async () => {
  const args = ["--profile", temporaryFolder()];
  // a keyring that has not answered after three seconds is one that may be waiting for a person, and then it says so first
  const open = (app: ReturnType<typeof startHeadless>) =>
    eventually(
      () => app.ask("vault.status"),
      ({ value }) => (value as { at: string }).at === "ready",
    );
  const first = startHeadless(args);
  await open(first);
  expect(await first.ask("account.login", { homeserver: "h", user: "alice", password: "p" })).toMatchObject({
    ok: true,
  });
  expect(first.lines[0]).toMatchObject({ event: "app.ready", payload: { vault: { at: "new" } } });
  first.child.kill("SIGKILL");
  await first.exit();
  const second = startHeadless(args);
  const { value } = await second.ask("account.status");
  const waited = (second.lines[0]?.payload as { vault: { at: string } }).vault.at === "locked";
  if (!waited) expect(value).toMatchObject({ at: "signed-in" });
  await open(second);
  expect(await second.ask("account.status")).toMatchObject({ value: { at: "signed-in" } });
  expect(second.lines[0]).toMatchObject({
    event: "app.ready",
    payload: { vault: { at: waited ? "locked" : "ready" } },
  });
  second.child.stdin?.end();
  expect((await second.exit()).code).toBe(0);
  service.lock();
  const prompter = await service.prompter();
  const third = startHeadless(args);
  expect(await third.ask("rooms.list")).toMatchObject({ error: { code: "locked" } });
  expect(third.lines[0]).toMatchObject({ event: "app.ready", payload: { vault: { at: "locked" } } });
  expect(await third.ask("vault.status")).toMatchObject({ value: { at: "locked", keychain: { waiting: true } } });
  prompter.answer(keyringPassword);
  await third.line((line) => line.event === "vault.changed" && JSON.stringify(line.payload).includes("ready"));
  expect(await third.ask("account.status")).toMatchObject({ value: { at: "signed-in" } });
});

test("the app ends in order while a prompt hangs", async () => {
  const { folder } = await made();
  service.lock();
  const prompter = await service.prompter();
  const app = startHeadless(["--profile", folder]);
  await until(() => prompter.asked() > 0);
  app.child.kill("SIGTERM");
  const { code, tookMs } = await app.exit();
  expect(code).toBe(0);
  console.log(`ended after ${tookMs} ms; 3,000 are promised`);
});

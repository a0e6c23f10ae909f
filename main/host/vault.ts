import { randomBytes } from "node:crypto";
import path from "node:path";
import type { VaultAt, VaultStatus } from "../../preload/contract/vault.ts";
import { oneAtATime } from "./exclusive.ts";
import { failureOf, HostError } from "./host-error.ts";
import { deriveFileKey, deriveKey, keyBytes } from "./key-derivation.ts";
import { KeychainError, type Keychain } from "./keychain.ts";
import type { Log } from "./log.ts";
import { readRootKey, stateAfter } from "./root-key-entry.ts";
import { unwrapWithPassphrase, wrapWithPassphrase } from "./passphrase-slot.ts";
import { hasTwin } from "./twin-file.ts";
import { fits, keyCheckOf, newProfileId, readVaultFile, writeVaultFile, type VaultFile } from "./vault-file.ts";

export type Vault = {
  status: () => VaultStatus;
  /** Resolves once the state holds still: open, refused, or waiting for a person at the keychain's own prompt. */
  settled: () => Promise<void>;
  unlock: (passphrase: string) => Promise<void>;
  setPassphrase: (passphrase: string | null, current: string | undefined) => Promise<void>;
  /** Asks the keychain anew. Where the vault is open by its passphrase: puts the key (back) into the keychain. */
  retryKeychain: () => Promise<VaultAt>;
  lock: () => Promise<void>;
  /** Throws what stands in the way, unless the vault is open. */
  requireOpen: () => void;
  registryKey(): { key: Uint8Array; profileId: string };
  fileKey: (accountFolder: string, file: string) => Uint8Array;
  stop: () => void;
};

type Options = {
  folder: string;
  keychain: Keychain;
  /** With it the keychain is not asked at start, and a new profile gets this slot alone. */
  passphrase: string | undefined;
  log: Log;
  onChange: (status: VaultStatus) => void;
  /** The keys can be had; throwing makes the state `corrupt`. */
  onOpen: () => void;
  /** The keys are about to go: ends all that use them. */
  onLock: () => Promise<void>;
  /** After this long without an answer the keychain counts as waiting for a person. */
  waitingAfterMs?: number;
};

const obstacles: Record<Exclude<VaultAt, "ready">, () => HostError> = {
  new: () => new HostError("locked", { retryable: true }),
  locked: () => new HostError("locked"),
  missing: () => new HostError("keychain-missing"),
  changed: () => new HostError("keychain-changed"),
  corrupt: () => new HostError("database-corrupt"),
};
const wrongPassphrase = () => new HostError("wrong-key", { details: { kind: "passphrase" } });

/**
 * In one file, though a long one: the states and all ways between them.
 *
 * The profile's root key and its states. The key is made once, and only where nothing stands in the folder that an older
 * key could have sealed; a keychain without our entry never leads to a new one.
 */
export function openVault(options: Options): Vault {
  const { folder, keychain, log } = options;
  const exclusive = oneAtATime();
  let file = readVaultFile(folder);
  // sealed files without the vault's own: what opened them is gone, and a new key would bury them
  if (file === undefined && hasTwin(path.join(folder, "accounts.sealed"))) file = "corrupt";
  let at: VaultAt = file === undefined ? "new" : file === "corrupt" ? "corrupt" : "locked";
  let keychainOk = false;
  let waiting = false;
  let rootKey: Buffer | undefined;
  let stopped = false;
  let settled: Promise<void> = Promise.resolve();
  let told = "";

  function status(): VaultStatus {
    return {
      at,
      keychain: {
        backend: keychain.backend,
        ok: keychainOk,
        ...(waiting ? { waiting } : {}),
        ...(typeof file === "object" && !file.keychain ? { unused: true as const } : {}),
      },
      passphrase: typeof file === "object" && file.passphrase !== undefined,
    };
  }

  function tell(): void {
    const now = JSON.stringify(status());
    if (now === told || stopped) return;
    told = now;
    log.write("info", `vault ${at}${waiting ? ", waiting for the keychain" : ""}`);
    options.onChange(status());
  }

  function open(key: Buffer, vault: VaultFile): void {
    file = vault;
    if (stopped) {
      key.fill(0);
      return;
    }
    rootKey = key;
    try {
      options.onOpen();
      at = "ready";
    } catch (error) {
      log.error("the accounts' file cannot be read", error);
      forget();
      const failure = failureOf(error);
      at = failure === undefined || failure.code === "database-corrupt" ? "corrupt" : "locked";
    }
  }

  function forget(): void {
    rootKey?.fill(0);
    rootKey = undefined;
  }

  /** Runs an exchange with the keychain and keeps `keychain` of the status true to it. */
  async function asking<T>(ask: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      waiting = true;
      tell();
    }, options.waitingAfterMs ?? 3000);
    try {
      const answer = await ask();
      keychainOk = true;
      return answer;
    } catch (error) {
      keychainOk = false;
      if (error instanceof KeychainError) log.write("warn", `keychain ${error.trouble}`);
      throw error;
    } finally {
      clearTimeout(timer);
      waiting = false;
    }
  }

  async function create(passphrase: string | undefined): Promise<void> {
    const profileId = newProfileId();
    const key = randomBytes(keyBytes);
    const vault: VaultFile = {
      version: 1,
      profileId,
      keyCheck: keyCheckOf(key, profileId),
      keychain: passphrase === undefined,
    };
    if (passphrase === undefined) await asking(() => keychain.write(profileId, key.toString("base64url")));
    else vault.passphrase = await wrapWithPassphrase(key, passphrase, profileId);
    // the folder may be another process's by now
    if (stopped) return;
    writeVaultFile(folder, vault);
    open(key, vault);
  }

  async function openByKeychain(): Promise<void> {
    if (file === undefined) {
      try {
        await create(undefined);
      } catch (error) {
        if (!(error instanceof KeychainError)) throw error;
        at = stateAfter(error);
      }
      return;
    }
    if (file === "corrupt" || !file.keychain) return;
    const found = await readRootKey(file, keychain, asking);
    if (typeof found === "string") at = found;
    else open(found, file);
  }

  /** The slot's key. Throws `wrong-key`, or `database-corrupt` where the slot opens and holds something else. */
  async function unwrap(vault: VaultFile, passphrase: string): Promise<Buffer> {
    if (vault.passphrase === undefined) throw wrongPassphrase();
    const key = await unwrapWithPassphrase(vault.passphrase, passphrase, vault.profileId);
    if (key === undefined) throw wrongPassphrase();
    if (fits(key, vault)) return key;
    key.fill(0);
    at = "corrupt";
    tell();
    throw obstacles.corrupt();
  }

  async function atStart(passphrase: string | undefined): Promise<void> {
    if (passphrase === undefined) await openByKeychain();
    else if (file === undefined) await create(passphrase);
    else if (file !== "corrupt") {
      try {
        open(await unwrap(file, passphrase), file);
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        log.write("warn", `vault not opened: ${error.failure.code}`);
      }
    }
  }

  /** Starts work whose end, or whose waiting for a person, is what `settled` waits for. */
  function settle(work: () => Promise<void>): Promise<void> {
    settled = new Promise((resolve) => {
      const poll = setInterval(() => {
        if (waiting) finish();
      }, 20);
      const finish = () => {
        clearInterval(poll);
        resolve();
      };
      exclusive(work)
        .catch((error: unknown) => {
          log.error("the vault could not be opened", error);
        })
        .finally(() => {
          tell();
          finish();
        });
    });
    return settled;
  }

  /** A prompt that hangs must not hold up a person who has another way in. */
  function takeOver<T>(work: () => Promise<T>): Promise<T> {
    if (waiting) keychain.stop();
    return exclusive(work).finally(tell);
  }

  async function mayChange(vault: VaultFile, current: string | undefined): Promise<void> {
    if (current !== undefined) {
      (await unwrap(vault, current)).fill(0);
      return;
    }
    if (!vault.keychain) throw wrongPassphrase();
    await requireKeychain(vault, undefined);
  }

  async function requireKeychain(vault: VaultFile, otherwise: HostError | undefined): Promise<void> {
    const found = vault.keychain ? await readRootKey(vault, keychain, asking) : "missing";
    if (typeof found === "string") throw otherwise ?? obstacles[found]();
    found.fill(0);
  }

  function putBack(): Promise<void> {
    return exclusive(async () => {
      if (at === "ready") await repairKeychain();
    })
      .catch((error: unknown) => {
        log.write("warn", `the key is not in the keychain: ${failureOf(error)?.code ?? "it does not answer"}`);
      })
      .finally(tell);
  }

  function requireOpen(): VaultFile {
    if (at !== "ready") throw obstacles[at]();
    if (typeof file !== "object") throw obstacles.corrupt();
    return file;
  }

  function rootAndId(): { key: Buffer; profileId: string } {
    if (rootKey === undefined || typeof file !== "object") throw obstacles.locked();
    return { key: rootKey, profileId: file.profileId };
  }

  /**
   * For a vault that is open: writes the key into the keychain that answers now, unless it is there. What another keychain holds is
   * not touched, and the vault's file names the keychain as a way in only after the key was read back from it.
   */
  async function repairKeychain(): Promise<void> {
    const vault = requireOpen();
    const found = await readRootKey(vault, keychain, asking);
    if (found === "locked" || (found === "missing" && !keychainOk)) return;
    if (typeof found === "string") {
      await asking(() => keychain.write(vault.profileId, rootAndId().key.toString("base64url")));
      await requireKeychain({ ...vault, keychain: true }, undefined);
      log.write("info", "the key is in the keychain again");
    } else found.fill(0);
    if (vault.keychain) return;
    const now = { ...vault, keychain: true };
    writeVaultFile(folder, now);
    file = now;
  }

  void settle(() => atStart(options.passphrase));

  return {
    status,
    settled: () => settled,
    requireOpen,
    unlock: (passphrase) =>
      takeOver(async () => {
        if (file === "corrupt") throw obstacles.corrupt();
        if (file === undefined) throw new HostError("not-found");
        const key = await unwrap(file, passphrase);
        const lost = at === "missing" && file.keychain;
        if (at === "ready") key.fill(0);
        else open(key, file);
        requireOpen();
        // the keychain lost the key: it gets it back, and nobody waits for that
        if (lost) void putBack();
      }),
    setPassphrase: (passphrase, current) =>
      takeOver(async () => {
        // nothing made yet, because no keychain answers: a passphrase alone is a way to begin
        if (file === undefined && passphrase !== null) {
          await create(passphrase);
          return;
        }
        const vault = requireOpen();
        await mayChange(vault, current);
        const now: VaultFile = { ...vault };
        if (passphrase === null) {
          await requireKeychain(vault, new HostError("conflict"));
          delete now.passphrase;
        } else now.passphrase = await wrapWithPassphrase(rootAndId().key, passphrase, vault.profileId);
        writeVaultFile(folder, now);
        file = now;
      }),
    async retryKeychain() {
      // a service that was started anew, or another in its place, is met by a process that knew none before
      keychain.stop();
      await settle(async () => {
        if (at === "ready") await repairKeychain();
        else {
          // somebody may have put the file back from a backup
          if (file === "corrupt" || file === undefined) file = readVaultFile(folder) ?? file;
          if (file !== "corrupt" && at === "corrupt") at = "locked";
          await openByKeychain();
        }
      });
      return at;
    },
    lock: () =>
      takeOver(async () => {
        if (at !== "ready") return;
        at = "locked";
        tell();
        await options.onLock();
        forget();
      }),
    registryKey() {
      const { key, profileId } = rootAndId();
      return { key: deriveKey(key, profileId, ["registry"]), profileId };
    },
    fileKey(accountFolder, name) {
      const { key, profileId } = rootAndId();
      return deriveFileKey(key, profileId, accountFolder, name);
    },
    stop() {
      stopped = true;
      keychain.stop();
      forget();
    },
  };
}

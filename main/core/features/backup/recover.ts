import type { BackupProgress, Restored } from "../../../../preload/contract/backup.ts";
import { CoreError } from "../../errors.ts";
import { startDecryptor } from "../../matrix/backup-decrypt.ts";
import { fetchSessions } from "../../matrix/backup-fetch.ts";
import { importBackedUp } from "../../matrix/backup-import.ts";
import { createBackupVersions } from "../../matrix/backup-version.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import { createSecretStorage, type Way } from "../../matrix/secret-storage.ts";
import type { BackupStore, OperationRow } from "../../storage/backup-store.ts";
import { backupKeyFrom } from "./backup-key.ts";
import { runRestore } from "./restore.ts";

export type RecoverParts = {
  store: BackupStore;
  http: Http;
  me: string;
  crypto: () => Promise<Crypto>;
  nowMs: () => number;
  /** Resolves once the account's rooms are known here; at once where they are. */
  roomsKnown: () => Promise<void>;
  rooms: () => string[];
  decryptWorker: URL;
  progress: (progress: BackupProgress) => void;
  /** The version is used from now on, with this key. */
  used: () => void;
};

/** One restore: the version and its key first, and nothing else is asked for until they fit. */
export async function recoverHistory(
  parts: RecoverParts,
  way: Way | undefined,
  operation: OperationRow,
  signal: AbortSignal,
): Promise<Restored> {
  const crypto = await parts.crypto();
  const versions = createBackupVersions(crypto);
  const backup = await versions.find();
  if (backup === undefined) throw operation.version === null ? none() : deleted();
  if (backup.publicKey === undefined)
    throw new CoreError("unsupported", { message: "This backup is of an unknown kind." });
  if (operation.version !== null && operation.version !== backup.version) throw replaced();
  const held = way === undefined ? (await versions.held())?.key : undefined;
  const key = way === undefined ? held : await backupKeyFrom(way, createSecretStorage(parts.http, parts.me), backup);
  if (key === undefined)
    throw new CoreError("not-found", {
      message: "This device has no key of the backup.",
      details: { kind: "backup-key" },
    });
  await versions.use(backup, key);
  parts.used();
  await parts.roomsKnown();
  const decryptor = startDecryptor(parts.decryptWorker, key);
  const close = () => void decryptor.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    return await runRestore(
      {
        store: parts.store,
        nowMs: parts.nowMs,
        rooms: parts.rooms,
        fetch: (version, roomId, until) => fetchSessions(parts.http, version, roomId, until),
        // crypto may have been opened anew since
        importKeys: async (version, keys) => importBackedUp(await parts.crypto(), version, keys),
        progress: parts.progress,
        isThere: async (version) => (await versions.find())?.version === version,
      },
      { operation, version: backup.version, count: backup.count, decryptor, signal },
    );
  } catch (error) {
    if (!signal.aborted) {
      const now = await versions.find().catch(() => backup);
      if (now === undefined) throw deleted();
      if (now.version !== backup.version) throw replaced();
    }
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
    await decryptor.close();
  }
}

const none = () => new CoreError("not-found", { message: "This account has no backup.", details: { kind: "backup" } });
const deleted = () =>
  new CoreError("not-found", { message: "The backup was deleted from the server.", details: { kind: "backup" } });
/** Another backup is there now: what is left of this one cannot be had, and whoever wants the other begins anew. */
const replaced = () =>
  new CoreError("conflict", { message: "The backup was replaced by another.", details: { kind: "version-replaced" } });

import type { BackupVersions } from "./backup-version.ts";
import type { Crypto } from "./crypto.ts";
import { secretNames } from "./secret-storage.ts";

/** Calls back when another own device handed a secret over that Rust crypto leaves to us: the backup's key alone. */
export function onReceivedSecret(crypto: Crypto, listener: () => void): void {
  // the SDK's own callback, registered with the machine at its start, looks this member up at each secret
  Reflect.set(crypto.inner.backend, "checkSecrets", () => {
    listener();
    return Promise.resolve();
  });
}

/**
 * Puts a backup key to use that waits in Rust crypto's inbox: it came over Olm from a verified device of ours, and counts where it
 * fits the version on the server. The inbox is emptied once that was asked; throws, and empties nothing, where it could not be.
 */
export async function takeBackupKey({ inner: { machine } }: Crypto, backup: BackupVersions): Promise<boolean> {
  const waiting = await machine.getSecretsFromInbox(secretNames.backup);
  if (waiting.size === 0) return false;
  const version = await backup.find();
  const key = [...waiting].find((one) => version !== undefined && backup.publicHalf(one) === version.publicKey);
  if (version !== undefined && key !== undefined) await backup.use(version, key);
  await machine.deleteSecretsFromInbox(secretNames.backup);
  return key !== undefined;
}

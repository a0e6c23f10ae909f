import { asCoreError, CoreError } from "../../errors.ts";
import { backupPublicKey, type BackupVersion } from "../../matrix/backup-version.ts";
import { decodeRecoveryKey } from "../../matrix/recovery-key.ts";
import { secretNames, type SecretStorage, type Way } from "../../matrix/secret-storage.ts";

/**
 * The backup's private key, from what a person typed: through secret storage, or, where the recovery key was made before there was
 * secret storage, as the key itself. Asks for no backed up key; throws `wrong-key`, and `not-found` where it is not in storage.
 */
export async function backupKeyFrom(way: Way, storage: SecretStorage, backup: BackupVersion): Promise<string> {
  if ("recoveryKey" in way) {
    const bare = Buffer.from(decodeRecoveryKey(way.recoveryKey)).toString("base64").replaceAll("=", "");
    if (backupPublicKey(bare) === backup.publicKey) return bare;
  }
  const storageKey = await storage.unlock(way).catch((error: unknown) => {
    // no secret storage: then this was to be the backup's own key, and is not
    if (asCoreError(error).code === "not-found" && "recoveryKey" in way)
      throw new CoreError("wrong-key", { cause: error, details: { kind: "recovery-key" } });
    throw error;
  });
  const found = await storage.secret(secretNames.backup, storageKey);
  if (found.at !== "open")
    throw new CoreError("not-found", {
      message: "The backup's key is not in the account's recovery.",
      details: { kind: "backup-key", reason: found.at },
    });
  return found.secret;
}

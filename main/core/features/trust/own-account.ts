import type { BackupVersions } from "../../matrix/backup-version.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Identity } from "../../matrix/identity.ts";
import type { SecretStorage } from "../../matrix/secret-storage.ts";

/** What identity, secret storage and backup are reached by, once crypto has started. */
export type OwnAccount = {
  crypto: Crypto;
  identity: Identity;
  backup: BackupVersions;
  storage: SecretStorage;
};

import { RustBackupManager } from "matrix-js-sdk/lib/rust-crypto/backup.js";
import { RustCrypto } from "matrix-js-sdk/lib/rust-crypto/rust-crypto.js";

/**
 * matrix-js-sdk looks for a backup as soon as it starts and at each change of the identity, enables what it finds, and uploads in a
 * loop of its own; and it throws a received backup key away that it cannot use at that moment. Backups here are found, judged and
 * filled by our own code, so all of that is taken out before crypto starts. Internal to the SDK: tests/core/trust/sdk-backup.test.ts
 * fails when one drifts.
 */
export function silenceSdkBackup(): void {
  replace(RustBackupManager.prototype, "checkKeyBackupAndEnable", () => Promise.resolve(null));
  replace(RustBackupManager.prototype, "maybeUploadKey", () => Promise.resolve());
  // the secret stays in Rust crypto's inbox until we have put it to use
  replace(RustCrypto.prototype, "checkSecrets", () => Promise.resolve());
}

function replace(prototype: object, name: string, by: () => Promise<unknown>): void {
  if (typeof Reflect.get(prototype, name) !== "function") throw new Error(`matrix-js-sdk lacks ${name}.`);
  Reflect.set(prototype, name, by);
}

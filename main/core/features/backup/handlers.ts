import type { backupCommands } from "../../../../preload/contract/backup.ts";
import type { CoreCommandName, Handlers } from "../../../../preload/contract/index.ts";
import { CoreError } from "../../errors.ts";
import { createBackupVersions } from "../../matrix/backup-version.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import type { Way } from "../../matrix/secret-storage.ts";
import { exportToFile, importFromFile, type KeyFileParts } from "./key-file-operations.ts";
import type { Operations } from "./operations.ts";
import { recoverHistory, type RecoverParts } from "./recover.ts";
import type { createBackupUpload } from "./upload.ts";

type Names = Extract<keyof typeof backupCommands, CoreCommandName>;
type Parts = RecoverParts &
  KeyFileParts & {
    http: Http;
    me: string;
    crypto: () => Promise<Crypto>;
    operations: Operations;
    upload: ReturnType<typeof createBackupUpload>;
  };

export function createBackupHandlers(parts: Parts): Handlers<Names> {
  const { operations, upload } = parts;
  const restore = (operationId: string, way: Way | undefined) =>
    operations.start(
      operationId,
      "restore",
      (row, signal) => recoverHistory(parts, way, row, signal),
      operations.restored,
    );
  return {
    "backup.status": () => upload.status(),

    "backup.create": async () => {
      const core = await parts.crypto();
      const versions = createBackupVersions(core);
      const there = await versions.find();
      const held = await versions.held();
      if (there !== undefined && held?.publicKey === there.publicKey) {
        await upload.rechecked();
        return { version: there.version };
      }
      // a backup whose key is elsewhere is recovered, not covered by another
      if (there !== undefined && (await versions.verify(there)).signedByIdentity)
        throw new CoreError("conflict", {
          message: "This account has a backup. Its key is in the account's recovery.",
          details: { kind: "backup-exists" },
        });
      // the one that the account's recovery opens: of a fresh one, nobody but this device would ever know
      if (held === undefined)
        throw new CoreError("conflict", {
          message: "Recovery is set up, or done on this device, before there is a backup.",
          details: { kind: "setup-needed" },
        });
      const backup = await versions.make(held.key);
      await versions.use(backup, held.key);
      await upload.rechecked();
      return { version: backup.version };
    },

    "backup.delete": async ({ version }) => {
      await parts.http.request("DELETE", `/_matrix/client/v3/room_keys/version/${encodeURIComponent(version)}`);
      await upload.rechecked();
      return {};
    },

    "backup.restore": ({ operationId, recoveryKey, passphrase }) => {
      if (recoveryKey !== undefined && passphrase !== undefined)
        throw new CoreError("bad-request", { message: "One way in at a time." });
      const way = recoveryKey !== undefined ? { recoveryKey } : passphrase !== undefined ? { passphrase } : undefined;
      return restore(operationId, way);
    },

    "backup.exportKeys": ({ path, passphrase, operationId }) =>
      operations.start(
        operationId,
        "export",
        (row, signal) => exportToFile(parts, { row, path, passphrase, signal }),
        (row) => ({ exported: row.imported, sizeBytes: row.total }),
      ),

    "backup.importKeys": ({ path, passphrase, operationId }) =>
      operations.start(
        operationId,
        "import",
        (row, signal) => importFromFile(parts, { row, path, passphrase, signal }),
        operations.restored,
      ),

    "backup.cancel": async ({ operationId }) => {
      await operations.cancel(operationId);
      return {};
    },

    "backup.resume": ({ operationId }) => {
      const row = operations.find(operationId);
      if (row === undefined) throw new CoreError("not-found");
      if (row.kind !== "restore")
        throw new CoreError("bad-request", {
          message: "A file and its passphrase are given again, with the same operation.",
        });
      return restore(operationId, undefined);
    },

    "backup.operations": () => operations.list(),
  };
}

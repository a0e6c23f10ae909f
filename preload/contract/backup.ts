import * as v from "valibot";
import { command, type Failure } from "./define.ts";
import { filePath } from "./file.ts";
import { empty, operationId, passphrase, recoveryKey } from "./ids.ts";

export type BackupStatus =
  | { at: "off" }
  | {
      at: "on" | "not-trusted" | "key-missing" | "wrong-version";
      version: string;
      backedUp: number;
      total: number;
      uploading: boolean;
      failure?: Failure;
      /** How long the rest of the upload will take, where that is known. */
      remainingMs?: number;
    };
export type Restored = {
  total: number;
  imported: number;
  alreadyHad: number;
  failed: { roomId: string; sessionId: string; reason: string }[];
  tookMs: number;
};
export type Operation = {
  operationId: string;
  kind: "restore" | "import" | "export";
  at: "running" | "interrupted" | "done" | "failed";
  done: number;
  total: number;
  /** Why it was interrupted or failed; `cancelled`: somebody asked for it. Absent where the app was closed or killed. */
  failure?: Failure;
};
export type BackupProgress = {
  operationId: string;
  kind: Operation["kind"];
  done: number;
  total: number;
  failed: number;
  keysPerSecond: number;
  remainingMs?: number;
};

const version = v.pipe(v.string(), v.minLength(1), v.maxLength(255));
const keyFile = (purpose: "open" | "save") => v.strictObject({ path: filePath(purpose), passphrase, operationId });
const oneOperation = v.strictObject({ operationId });
const nothing = command<Record<string, never>>();

/** Source: client-server API, "Server-side key backups" and "Key exports". */
export const backupCommands = {
  "backup.status": command<BackupStatus>()(empty),
  /** Needs `trust.setUp` or `trust.recover` first. */
  "backup.create": command<{ version: string }>()(empty),
  "backup.delete": nothing(v.strictObject({ version })),
  /** Without a key: the one that this device holds. */
  "backup.restore": command<Restored>()(
    v.strictObject({ operationId, recoveryKey: v.optional(recoveryKey), passphrase: v.optional(passphrase) }),
  ),
  "backup.exportKeys": command<{ exported: number; sizeBytes: number }>()(keyFile("save")),
  "backup.importKeys": command<Restored>()(keyFile("open")),
  "backup.cancel": nothing(oneOperation),
  "backup.resume": command<Restored>()(oneOperation),
  "backup.operations": command<Operation[]>()(empty),
};

export type BackupEvents = { "backup.progress": BackupProgress; "backup.changed": { status: BackupStatus } };

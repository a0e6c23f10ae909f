import type { BackupProgress, Restored } from "../../../../preload/contract/backup.ts";
import { CoreError } from "../../errors.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import { exportSessions, importSessions, type InPieces } from "../../matrix/room-key-export.ts";
import type { BackupStore, OperationRow } from "../../storage/backup-store.ts";
import { openKeyFile } from "./key-file/read.ts";
import { writeKeyFile } from "./key-file/write.ts";
import { createPace } from "./pace.ts";

export type KeyFileParts = {
  store: BackupStore;
  crypto: () => Promise<Crypto>;
  inPieces: InPieces;
  nowMs: () => number;
  progress: (progress: BackupProgress) => void;
  /** There are keys that the backup may lack. */
  keysImported: () => void;
};
type Input = { row: OperationRow; path: string; passphrase: string; signal: AbortSignal };

const tellEveryMs = 250;

export async function exportToFile(parts: KeyFileParts, { row, path, passphrase, signal }: Input) {
  const crypto = await parts.crypto();
  const { total } = await crypto.sessionCount();
  const tell = teller(parts, row, "export");
  tell(0, total, 0);
  const written = await writeKeyFile({
    path,
    passphrase,
    signal,
    sessions: exportSessions(crypto, parts.inPieces),
    wrote: (exported) => {
      tell(exported, Math.max(total, exported), 0);
    },
  });
  // the row's counts, as an export uses them: how many, and how large the file is
  const counts = { imported: written.exported, already_had: 0, failed: 0, took_ms: parts.nowMs() - row.begun_ms };
  parts.store.count(row.operation_id, counts);
  parts.store.set(row.operation_id, { total: written.sizeBytes });
  tell(written.exported, written.exported, 0, true);
  parts.store.end(row.operation_id, "done");
  return written;
}

/** The file's order does not change: what an earlier run has done is passed over. */
export async function importFromFile(parts: KeyFileParts, { row, path, passphrase, signal }: Input): Promise<Restored> {
  const { store, nowMs } = parts;
  const tell = teller(parts, row, "import");
  const begunMs = nowMs() - row.took_ms;
  const counts = { imported: row.imported, already_had: row.already_had, failed: row.failed };
  const done = () => counts.imported + counts.already_had + counts.failed;
  const before = done();
  const file = await openKeyFile(path, passphrase, signal);
  try {
    if (row.version !== null && row.version !== file.mac)
      throw new CoreError("conflict", {
        message: "This operation began with another file.",
        details: { kind: "other-file" },
      });
    store.set(row.operation_id, { version: file.mac });
    let passed = 0;
    for await (const { sessions, part } of file.batches()) {
      signal.throwIfAborted();
      const fresh = sessions.slice(Math.max(0, before - passed));
      passed += sessions.length;
      if (fresh.length === 0) continue;
      const result = await importSessions(await parts.crypto(), fresh);
      counts.imported += result.imported;
      counts.already_had += result.alreadyHad;
      counts.failed += result.refused.length;
      store.checkpoint(row.operation_id, {
        counts: { ...counts, took_ms: Math.max(0, nowMs() - begunMs) },
        kept: [],
        finishedRooms: [],
        failed: result.refused,
      });
      // how many there are is not known before the end; how far the file is read is
      const total = part >= 1 ? done() : Math.max(done(), Math.round(passed / part));
      store.set(row.operation_id, { total });
      tell(done(), total, counts.failed);
      await new Promise((resolve) => setImmediate(resolve));
    }
    store.set(row.operation_id, { total: done() });
    tell(done(), done(), counts.failed, true);
    store.end(row.operation_id, "done");
    parts.keysImported();
    return {
      total: done(),
      imported: counts.imported,
      alreadyHad: counts.already_had,
      failed: store.failed(row.operation_id),
      tookMs: Math.max(0, nowMs() - begunMs),
    };
  } finally {
    await file.close();
  }
}

function teller({ nowMs, progress }: KeyFileParts, row: OperationRow, kind: "export" | "import") {
  const pace = createPace(nowMs);
  let toldMs: number | undefined;
  return (done: number, total: number, failed: number, force = false) => {
    const now = nowMs();
    const keysPerSecond = Math.round(pace.at(done));
    if (!force && toldMs !== undefined && now >= toldMs && now - toldMs < tellEveryMs) return;
    toldMs = now;
    const remainingMs = pace.remainingMs(total - done);
    progress({
      operationId: row.operation_id,
      kind,
      done,
      total,
      failed,
      keysPerSecond,
      ...(remainingMs === undefined ? {} : { remainingMs }),
    });
  };
}

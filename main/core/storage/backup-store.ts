import type { Operation } from "../../../preload/contract/backup.ts";
import type { AccountDatabase } from "./database.ts";

export type OperationRow = {
  operation_id: string;
  kind: Operation["kind"];
  at: Operation["at"];
  version: string | null;
  total: number;
  imported: number;
  already_had: number;
  failed: number;
  took_ms: number;
  /** 1 once everything has been fetched in one download; what it brought lies in `restore_sessions`. */
  whole: number;
  begun_ms: number;
  /** Why it stopped, as JSON of a Failure. */
  failure: string | null;
};
export type FailedKey = { roomId: string; sessionId: string; reason: string };
type Counts = Pick<OperationRow, "imported" | "already_had" | "failed" | "took_ms">;
/** What one imported chunk changes, in one transaction. */
export type Checkpoint = {
  counts: Counts;
  kept: { roomId: string; sessionId: string }[];
  finishedRooms: string[];
  failed: FailedKey[];
};
export type BackupStore = ReturnType<typeof createBackupStore>;

/** Ids and reasons come from the server: what is kept of them is bounded. */
const shortened = (text: string) => text.slice(0, 255);
/** Of an operation, beyond these they are counted and no longer listed. */
const mostListed = 10_000;
const mostOperations = 50;

export function createBackupStore(db: AccountDatabase) {
  const operation = (operationId: string) =>
    db.get<OperationRow>("select * from operations where operation_id = ?", operationId);
  const count = (operationId: string, counts: Counts) => {
    db.run(
      "update operations set imported = ?, already_had = ?, failed = ?, took_ms = ? where operation_id = ?",
      counts.imported,
      counts.already_had,
      counts.failed,
      counts.took_ms,
      operationId,
    );
  };
  return {
    operation,
    operations: () => db.all<OperationRow>("select * from operations order by begun_ms desc, operation_id"),
    begin: (operationId: string, kind: Operation["kind"], nowMs: number) => {
      db.transaction(() => {
        db.run(
          `insert into operations(operation_id, kind, at, begun_ms) values(?, ?, 'running', ?)
           on conflict(operation_id) do update set at = 'running', failure = null`,
          operationId,
          kind,
          nowMs,
        );
        db.run(
          `delete from operations where at in ('done', 'failed') and operation_id not in
           (select operation_id from operations order by begun_ms desc limit ${mostOperations})`,
        );
      });
    },
    set: (
      operationId: string,
      values: Partial<Pick<OperationRow, "at" | "version" | "total" | "whole" | "failure">>,
    ) => {
      for (const [name, value] of Object.entries(values))
        db.run(`update operations set ${name} = ? where operation_id = ?`, value, operationId);
    },
    /** After a kill nothing runs, whatever the rows say. */
    interruptAll: () => db.run("update operations set at = 'interrupted' where at = 'running'"),
    count,
    checkpoint: (operationId: string, { counts, kept, finishedRooms, failed }: Checkpoint) => {
      db.transaction(() => {
        count(operationId, counts);
        for (const key of kept)
          db.run(
            "insert or ignore into restore_kept(operation_id, room_id, session_id) values(?, ?, ?)",
            operationId,
            key.roomId,
            key.sessionId,
          );
        for (const roomId of finishedRooms) {
          db.run("insert or ignore into restore_rooms(operation_id, room_id) values(?, ?)", operationId, roomId);
          db.run("delete from restore_kept where operation_id = ? and room_id = ?", operationId, roomId);
          db.run("delete from restore_sessions where operation_id = ? and room_id = ?", operationId, roomId);
        }
        const listed =
          db.get<{ n: number }>("select count(*) n from restore_failed where operation_id = ?", operationId)?.n ?? 0;
        for (const key of failed.slice(0, Math.max(0, mostListed - listed)))
          db.run(
            "insert into restore_failed(operation_id, room_id, session_id, reason) values(?, ?, ?, ?)",
            operationId,
            shortened(key.roomId),
            shortened(key.sessionId),
            key.reason,
          );
      });
    },
    finishedRooms: (operationId: string) =>
      new Set(
        db
          .all<{ room_id: string }>("select room_id from restore_rooms where operation_id = ?", operationId)
          .map((row) => row.room_id),
      ),
    kept: (operationId: string, roomId: string) =>
      new Set(
        db
          .all<{
            session_id: string;
          }>("select session_id from restore_kept where operation_id = ? and room_id = ?", operationId, roomId)
          .map((row) => row.session_id),
      ),
    failed: (operationId: string): FailedKey[] =>
      db.all<FailedKey>(
        `select room_id as roomId, session_id as sessionId, reason from restore_failed where operation_id = ? order by number`,
        operationId,
      ),
    /** Sessions of a download of the whole, as they came. */
    addSessions: (operationId: string, sessions: { roomId: string; sessionId: string; data: string }[]) => {
      db.transaction(() => {
        for (const one of sessions)
          db.run(
            "insert into restore_sessions(operation_id, room_id, session_id, data) values(?, ?, ?, ?)",
            operationId,
            one.roomId,
            one.sessionId,
            one.data,
          );
      });
    },
    clearSessions: (operationId: string) => db.run("delete from restore_sessions where operation_id = ?", operationId),
    sessionRooms: (operationId: string) =>
      db
        .all<{
          room_id: string;
        }>("select distinct room_id from restore_sessions where operation_id = ?", operationId)
        .map((row) => row.room_id),
    sessionsOf: (operationId: string, roomId: string, after: number, limit: number) =>
      db.all<{ number: number; session_id: string; data: string }>(
        `select number, session_id, data from restore_sessions
         where operation_id = ? and room_id = ? and number > ? order by number limit ?`,
        operationId,
        roomId,
        after,
        limit,
      ),
    /** Ended: what was only needed to go on is gone, counts and failures stay. */
    end: (operationId: string, at: "done" | "failed") => {
      db.transaction(() => {
        db.run("update operations set at = ? where operation_id = ?", at, operationId);
        for (const table of ["restore_rooms", "restore_kept", "restore_sessions"])
          db.run(`delete from ${table} where operation_id = ?`, operationId);
      });
    },
  };
}

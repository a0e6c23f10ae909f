import type { AccountDatabase } from "./database.ts";

export type ShareRow = {
  room_id: string;
  user_id: string;
  since_ms: number;
  tries: number;
  next_try_ms: number | null;
};
export type AwaitedRow = {
  room_id: string;
  inviter: string;
  since_ms: number;
  taken: string | null;
  tries: number;
  next_try_ms: number | null;
};
export type HistorySharingStore = ReturnType<typeof createHistorySharingStore>;

/** Whom earlier messages are owed to, and from whom they are awaited. A row without a next try waits to be told of something. */
export function createHistorySharingStore(db: AccountDatabase) {
  return {
    owe: (roomId: string, userId: string, nowMs: number) =>
      db.run(
        `insert into history_to_share(room_id, user_id, since_ms) values(?, ?, ?)
         on conflict do update set since_ms = excluded.since_ms, tries = 0, next_try_ms = null`,
        roomId,
        userId,
        nowMs,
      ),
    owed: () => db.all<ShareRow>("select * from history_to_share"),
    triedToShare: (row: ShareRow, nextTryMs: number | null) =>
      db.run(
        "update history_to_share set tries = tries + 1, next_try_ms = ? where room_id = ? and user_id = ?",
        nextTryMs,
        row.room_id,
        row.user_id,
      ),
    settle: (roomId: string, userId: string) =>
      db.run("delete from history_to_share where room_id = ? and user_id = ?", roomId, userId),

    await: (roomId: string, inviter: string, nowMs: number) =>
      db.run(
        `insert into history_awaited(room_id, inviter, since_ms) values(?, ?, ?)
         on conflict do update set inviter = excluded.inviter, since_ms = excluded.since_ms, tries = 0, next_try_ms = null`,
        roomId,
        inviter,
        nowMs,
      ),
    awaited: () => db.all<AwaitedRow>("select * from history_awaited"),
    triedToTake: (row: AwaitedRow, nextTryMs: number | null) =>
      db.run("update history_awaited set tries = tries + 1, next_try_ms = ? where room_id = ?", nextTryMs, row.room_id),
    took: (roomId: string, url: string) =>
      db.run("update history_awaited set taken = ?, tries = 1, next_try_ms = null where room_id = ?", url, roomId),
    stopAwaiting: (roomId: string) => db.run("delete from history_awaited where room_id = ?", roomId),
  };
}

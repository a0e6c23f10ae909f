import type { Failure } from "../../../preload/contract/define.ts";
import type { AccountDatabase } from "./database.ts";

export type QueueRow = {
  number: number;
  item_id: string;
  transaction_id: string;
  room_id: string;
  type: string;
  content: string;
  encrypted: number;
  state: "pending" | "sending" | "sent" | "failed";
  failure: string | null;
  queued_at_ms: number;
  event_id: string | null;
};
export type QueueStore = ReturnType<typeof createQueueStore>;

/** Messages on their way out. A row lives until the server's copy of it has come back by sync. */
export function createQueueStore(db: AccountDatabase) {
  return {
    add: (row: Omit<QueueRow, "number" | "state" | "failure" | "event_id">) =>
      db.run(
        `insert into queue(item_id, transaction_id, room_id, type, content, encrypted, state, queued_at_ms) values(?, ?, ?, ?, ?, ?, 'pending', ?)`,
        row.item_id,
        row.transaction_id,
        row.room_id,
        row.type,
        row.content,
        row.encrypted,
        row.queued_at_ms,
      ),
    item: (itemId: string) => db.get<QueueRow>("select * from queue where item_id = ?", itemId),
    byEvent: (eventId: string) => db.get<QueueRow>("select * from queue where event_id = ?", eventId),
    byTransaction: (transactionId: string) =>
      db.get<QueueRow>("select * from queue where transaction_id = ?", transactionId),
    ofRoom: (roomId: string) => db.all<QueueRow>("select * from queue where room_id = ? order by number", roomId),
    newestOf: (roomIds: string[]) =>
      db.all<QueueRow>(
        "select * from queue where number in (select max(number) from queue where room_id in (select value from json_each(?)) group by room_id)",
        JSON.stringify(roomIds),
      ),
    /** The next to go out in a room. Failed rows hold up nothing behind them. */
    next: (roomId: string, after: number) =>
      db.get<QueueRow>(
        "select * from queue where room_id = ? and number > ? and state in ('pending', 'sending') order by number limit 1",
        roomId,
        after,
      ),
    roomsWithWork: () =>
      db
        .all<{ room_id: string }>("select distinct room_id from queue where state in ('pending', 'sending')")
        .map((row) => row.room_id),
    /** Whether more than so many are still to go out. */
    isLongerThan: (count: number) =>
      db.get("select 1 from queue where state in ('pending', 'sending') limit 1 offset ?", count) !== undefined,
    hasInterrupted: () => db.get("select 1 from queue where state = 'sending' limit 1") !== undefined,
    setState: (itemId: string, state: QueueRow["state"], failure?: Failure) =>
      db.run(
        "update queue set state = ?, failure = ? where item_id = ?",
        state,
        failure === undefined ? null : JSON.stringify(failure),
        itemId,
      ),
    setSent: (itemId: string, eventId: string) =>
      db.run("update queue set state = 'sent', failure = null, event_id = ? where item_id = ?", eventId, itemId),
    remove: (itemId: string) => db.run("delete from queue where item_id = ?", itemId),
    /** The item that a caller's own transaction id made, for ever. */
    remembered: (transactionId: string) =>
      db.get<{ item_id: string; room_id: string }>(
        "select item_id, room_id from transactions where transaction_id = ?",
        transactionId,
      ),
    remember: (transactionId: string, itemId: string, roomId: string, atMs: number) =>
      db.run(
        "insert into transactions(transaction_id, item_id, room_id, at_ms) values(?, ?, ?, ?)",
        transactionId,
        itemId,
        roomId,
        atMs,
      ),
  };
}

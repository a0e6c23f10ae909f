import { randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { asCoreError, CoreError, toFailure } from "../../errors.ts";
import { object, text, type Json } from "../../json.ts";
import { log } from "../../log.ts";
import type { Http } from "../../matrix/http.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { QueueRow, QueueStore } from "../../storage/queue-store.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import { parse } from "./items.ts";

export type SendQueue = ReturnType<typeof createSendQueue>;
type Parts = {
  db: AccountDatabase;
  queue: QueueStore;
  rooms: RoomStore;
  http: Http;
  /** Resolves when a sync has completed lately, so that nobody who left meanwhile still gets a key. */
  fresh: () => Promise<void>;
  encrypt: (roomId: string, type: string, content: Json) => Promise<Json>;
  /** What was written of crypto so far is on the disk. */
  barrier: () => Promise<void>;
  /** The row changed and was committed. */
  changed: (row: QueueRow) => void;
  nowMs: () => number;
};
type Prepared = { row: QueueRow; type: string; content: Json; atMs: number };

/** An event has at most 65,536 bytes with all that the server adds. Source: client-server API, "Size limits". */
const largestContentBytes = 64_500;
const firstWaitMs = 500;
const longestWaitMs = 60_000;
const preparedLastsMs = 60_000;

/** Sends what people wrote: in order within a room, each message under one transaction id for ever, across crashes and outages. */
export function createSendQueue({ db, queue, rooms, http, fresh, encrypt, barrier, changed, nowMs }: Parts) {
  const draining = new Map<string, Promise<void>>();
  const stopping = new AbortController();
  const waits = new Set<() => void>();
  // rooms whose work waits for the account to sign in again
  const blocked = new Set<string>();

  const add = (roomId: string, type: string, content: Json, callersTransactionId: string | undefined): string => {
    const itemId = `~${randomBytes(15).toString("base64url")}`;
    db.transaction(() => {
      queue.add({
        item_id: itemId,
        transaction_id: `t${randomBytes(15).toString("base64url")}`,
        room_id: roomId,
        type,
        content: JSON.stringify(content),
        encrypted: rooms.room(roomId)?.encryption == null ? 0 : 1,
        queued_at_ms: nowMs(),
      });
      if (callersTransactionId !== undefined) queue.remember(callersTransactionId, itemId, roomId, nowMs());
    });
    const row = queue.item(itemId);
    if (row !== undefined) changed(row);
    wake(roomId);
    return itemId;
  };

  const wake = (roomId: string): void => {
    if (stopping.signal.aborted || draining.has(roomId)) return;
    const work = drain(roomId)
      .catch((error: unknown) => {
        if (!stopping.signal.aborted) log.error("the send queue of a room stopped", error);
      })
      .finally(() => {
        draining.delete(roomId);
        // something was queued between the last look and this line
        if (!stopping.signal.aborted && queue.next(roomId, 0) !== undefined && !blocked.has(roomId)) wake(roomId);
      });
    draining.set(roomId, work);
  };
  const drain = async (roomId: string): Promise<void> => {
    blocked.delete(roomId);
    let ahead: Promise<Prepared | CoreError> | undefined;
    let tries = { itemId: "", count: 0 };
    for (let row = queue.next(roomId, 0); row !== undefined; row = queue.next(roomId, 0)) {
      if (tries.itemId !== row.item_id) tries = { itemId: row.item_id, count: 0 };
      await untilFresh();
      let prepared = ahead === undefined ? await prepare(row) : await ahead;
      ahead = undefined;
      if (!(prepared instanceof CoreError) && !stillGood(prepared, row)) prepared = await prepare(row);
      const failure =
        prepared instanceof CoreError
          ? prepared
          : await deliver(prepared, (following) => {
              ahead = following;
            });
      if (failure === undefined) continue;
      if (!(await settle(row, failure, tries.count++))) return;
      // the same ciphertext may have arrived: it is sent again as it is, as long as its key may still be used
      if (!(prepared instanceof CoreError)) ahead = Promise.resolve(prepared);
    }
  };

  /** One try. The next row is encrypted while this one is under way. */
  const deliver = async (
    { row, type, content }: Prepared,
    meanwhile: (next: Promise<Prepared | CoreError>) => void,
  ): Promise<CoreError | undefined> => {
    if (queue.item(row.item_id) === undefined) return undefined;
    if (row.state !== "sending") queue.setState(row.item_id, "sending");
    const following = queue.next(row.room_id, row.number);
    try {
      const sending = put(row, type, content);
      // once this one is on its way: encrypting holds the thread that would write it to the network
      if (following !== undefined) meanwhile(setImmediate().then(() => prepare(following)));
      const eventId = await sending;
      queue.setSent(row.item_id, eventId);
      const sent = queue.item(row.item_id);
      if (sent !== undefined) changed(sent);
      return undefined;
    } catch (error) {
      return asCoreError(error);
    }
  };

  const put = async (row: QueueRow, type: string, content: Json): Promise<string> => {
    const mustBeEncrypted = row.encrypted === 1 || rooms.room(row.room_id)?.encryption != null;
    if (mustBeEncrypted && (type !== "m.room.encrypted" || typeof content["ciphertext"] !== "string"))
      throw new CoreError("unexpected", { message: "Refused to send in clear into an encrypted room." });
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(row.room_id)}/send/${encodeURIComponent(type)}/${encodeURIComponent(row.transaction_id)}`;
    const answer = object(
      await http.request("PUT", path, {
        body: content,
        signal: stopping.signal,
        isDurable: type === "m.room.encrypted",
      }),
    );
    const eventId = text(answer?.["event_id"]);
    if (eventId === undefined)
      throw new CoreError("unreachable", {
        message: "The server did not name the event.",
        details: { kind: "bad-answer" },
      });
    return eventId;
  };

  const prepare = async (row: QueueRow): Promise<Prepared | CoreError> => {
    try {
      const content = parse(row.content);
      const encrypted = row.encrypted === 1 || rooms.room(row.room_id)?.encryption != null;
      const wire = encrypted ? await encrypt(row.room_id, row.type, content) : content;
      // here, while the message before this one is under way, and not when its own turn has come
      if (encrypted) await barrier();
      if (Buffer.byteLength(JSON.stringify(wire)) > largestContentBytes) return new CoreError("too-large");
      return { row, type: encrypted ? "m.room.encrypted" : row.type, content: wire, atMs: nowMs() };
    } catch (error) {
      return asCoreError(error);
    }
  };

  /** What was encrypted ahead is void once the room's key has to change, or another row took its turn. */
  const stillGood = (prepared: Prepared, row: QueueRow): boolean => {
    const room = rooms.room(row.room_id);
    if (prepared.row.item_id !== row.item_id) return false;
    if (room?.encryption != null && prepared.type !== "m.room.encrypted") return false;
    return (
      room?.rotate_before_send !== 1 && room?.members_known !== 0 && Math.abs(nowMs() - prepared.atMs) < preparedLastsMs
    );
  };

  /** Waits where waiting helps and says true; marks the row as failed and says true; or says false: stand still. */
  const settle = async (row: QueueRow, error: CoreError, attempt: number): Promise<boolean> => {
    if (stopping.signal.aborted) return false;
    if (queue.item(row.item_id) === undefined) return true;
    if (error.code === "not-signed-in") {
      blocked.add(row.room_id);
      return false;
    }
    if (error.retryable) {
      const backOffMs = Math.min(firstWaitMs * 2 ** Math.min(attempt, 10), longestWaitMs);
      await sleep(error.retryAfterMs ?? backOffMs * (0.75 + Math.random() / 2));
      return !stopping.signal.aborted;
    }
    log.warn(`a message was not sent: ${error.code}`, error);
    queue.setState(row.item_id, "failed", toFailure(error));
    const failed = queue.item(row.item_id);
    if (failed !== undefined) changed(failed);
    return true;
  };

  const stopped = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener("abort", () => {
      reject(new CoreError("cancelled"));
    });
  });
  stopped.catch(() => undefined);
  const untilFresh = () => Promise.race([fresh(), stopped]);
  const sleep = (ms: number) =>
    new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        waits.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      waits.add(done);
    });

  return {
    add,
    /** After a start, a sign-in, or when the network is back: all that waits goes on. */
    wakeAll: () => {
      for (const done of [...waits]) done();
      for (const roomId of queue.roomsWithWork()) wake(roomId);
    },
    retry: (itemId: string) => {
      const row = queue.item(itemId);
      if (row === undefined) throw new CoreError("not-found");
      if (row.state !== "failed") return;
      queue.setState(itemId, "pending");
      const again = queue.item(itemId);
      if (again !== undefined) changed(again);
      wake(row.room_id);
    },
    /** The room it stood in. What is under way or sent already cannot be discarded: `conflict`. */
    discard: (itemId: string): string => {
      const row = queue.item(itemId);
      if (row === undefined) throw new CoreError("not-found");
      if (row.state === "sending" || row.state === "sent")
        throw new CoreError("conflict", { message: "It is on its way already." });
      queue.remove(itemId);
      return row.room_id;
    },
    stop: async () => {
      stopping.abort();
      for (const done of [...waits]) done();
      await Promise.allSettled(draining.values());
    },
  };
}

import type { CoreCommandName, Emit, Handlers } from "../../../../preload/contract/index.ts";
import type { timelineCommands } from "../../../../preload/contract/timeline.ts";
import { CoreError } from "../../errors.ts";

import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import type { QueueStore } from "../../storage/queue-store.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { Place, TimelineStore } from "../../storage/timeline-store.ts";
import { messageContent } from "./content.ts";
import type { History } from "./history.ts";
import type { Ingest } from "./ingest.ts";
import { itemFromQueue, itemsFrom, type Shield } from "./items.ts";
import type { SendQueue } from "./send-queue.ts";

type Names = Extract<keyof typeof timelineCommands, CoreCommandName>;
type Parts = {
  me: string;
  http: Http;
  rooms: RoomStore;
  timeline: TimelineStore;
  queue: QueueStore;
  sendQueue: SendQueue;
  history: History;
  ingest: Ingest;
  crypto: () => Promise<Crypto>;
  /** Resolves after a sync that began after the call. */
  syncNow: (timeoutMs: number) => Promise<number>;
  emit: Emit;
  /** Moves the own read position, and tells the server when it can be told. */
  markRead: (roomId: string, eventId: string, place: Place) => void;
  newTransactionId: () => string;
  /** What the sender's and the device's standing now makes of a message's shield. */
  shieldNow: (sender: string, then: Shield) => Omit<Shield, "identity">;
};

const defaultLimit = 50;
/** A first sync over many rooms takes the server this long at the worst. */
const firstSyncMs = 120_000;
/** Pages of the server may hold nothing that is shown; after so many the caller is asked to come again. */
const pagesARequest = 10;
const end: Place = { segment: Number.MAX_SAFE_INTEGER, position: 0 };

export function createTimelineHandlers(parts: Parts): Handlers<Names> {
  const { me, rooms, timeline, queue, sendQueue, history, ingest } = parts;
  const stores = { rooms, timeline, me, shieldNow: parts.shieldNow };
  const joined = (roomId: string) => {
    const room = rooms.room(roomId);
    if (room === undefined) throw new CoreError("not-found", { message: "No such room." });
    return room;
  };
  const eventIdOf = (itemId: string): string => {
    // an own message that the server has taken and not yet sent back has its event id in the queue
    const eventId = timeline.eventByItem(itemId)?.event_id ?? queue.item(itemId)?.event_id;
    if (eventId == null) throw new CoreError("not-found", { message: "No such message." });
    return eventId;
  };

  return {
    "timeline.load": async ({ roomId, before, limit = defaultLimit }) => {
      joined(roomId);
      const cursor = before === undefined ? { queue: Number.MAX_SAFE_INTEGER, place: end } : readCursor(before);
      const waiting = queue.ofRoom(roomId).filter((row) => row.number < cursor.queue);
      const own = rooms.member(roomId, me)?.name ?? undefined;
      const queued = waiting.slice(-limit).map((row) => itemFromQueue(row, me, own));
      if (queued.length === limit || waiting.length > limit)
        return {
          items: queued,
          before: writeCursor({ queue: waiting.at(-limit)?.number ?? 0, place: end }),
          from: "store",
        };

      let from: "store" | "server" = "store";
      const wanted = limit - queued.length;
      for (let pages = 0; ; pages++) {
        const top = Math.min(cursor.place.segment, timeline.newestSegment(roomId) ?? -1);
        const floor = timeline.floor(roomId, top);
        const rows = top < 0 ? [] : timeline.page(roomId, cursor.place, floor, wanted + 1);
        const more = rows.length > wanted;
        const shown = rows.slice(0, wanted).reverse();
        // a room that no sync has brought yet has all of its messages missing
        const unknown = top < 0 && joined(roomId).membership === "join";
        const gap = unknown || (top >= 0 && timeline.segment(roomId, floor)?.gap_token != null);
        const oldest = shown[0];
        if (oldest !== undefined || !gap || (queued.length > 0 && pages === 0)) {
          const next: Place = oldest ?? cursor.place;
          return {
            items: [...itemsFrom(shown, stores), ...queued],
            ...(more || gap ? { before: writeCursor({ queue: 0, place: next }) } : {}),
            from,
          };
        }
        if (pages === pagesARequest) return { items: [], before: writeCursor({ queue: 0, place: cursor.place }), from };
        if (unknown) await parts.syncNow(firstSyncMs);
        else await history.fillOnce(roomId, floor);
        from = "server";
      }
    },

    "timeline.send": ({ roomId, body, format = "plain", replyTo, threadRoot, mentions = [], transactionId }) => {
      const known = transactionId === undefined ? undefined : queue.remembered(transactionId);
      if (known !== undefined) {
        if (known.room_id !== roomId)
          throw new CoreError("conflict", { message: "This transaction id belongs to another room." });
        return { itemId: known.item_id };
      }
      if (joined(roomId).membership !== "join")
        throw new CoreError("forbidden", { message: "Only members write in a room." });
      const content = messageContent({
        body,
        format,
        mentions,
        ...(replyTo === undefined ? {} : { replyTo: eventIdOf(replyTo) }),
        ...(threadRoot === undefined ? {} : { threadRoot: eventIdOf(threadRoot) }),
      });
      return { itemId: sendQueue.add(roomId, "m.room.message", content, transactionId) };
    },

    "timeline.redact": async ({ roomId, itemId, reason }) => {
      const row = timeline.eventByItem(itemId);
      const eventId = row?.event_id ?? queue.item(itemId)?.event_id;
      if (eventId == null || (row !== undefined && row.room_id !== roomId))
        throw new CoreError("not-found", { message: "No such message." });
      const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/redact/${encodeURIComponent(eventId)}/${parts.newTransactionId()}`;
      await parts.http.request("PUT", path, { body: reason === undefined ? {} : { reason } });
      return {};
    },

    "timeline.retry": ({ itemId }) => {
      sendQueue.retry(itemId);
      return {};
    },

    "timeline.discard": ({ itemId }) => {
      const roomId = sendQueue.discard(itemId);
      parts.emit("timeline.changed", { roomId, items: [], removed: [itemId] });
      return {};
    },

    "timeline.markRead": ({ roomId, itemId }) => {
      const row = timeline.eventByItem(itemId);
      if (row === undefined) {
        // one's own message on its way out: all before it is read once it is sent
        if (queue.item(itemId)?.room_id === roomId) return {};
        throw new CoreError("not-found", { message: "No such message." });
      }
      if (row.room_id !== roomId) throw new CoreError("not-found", { message: "No such message." });
      parts.markRead(roomId, row.event_id, row);
      return {};
    },

    "timeline.retryDecryption": async ({ roomId, itemId }) => {
      const row = timeline.eventByItem(itemId);
      if (row?.room_id !== roomId) throw new CoreError("not-found", { message: "No such message." });
      if (row.undecryptable === null) return {};
      await ingest.decrypt(await parts.crypto(), [row]);
      parts.emit("timeline.changed", { roomId, items: itemsFrom(ingest.rowsOf([row.event_id]), stores) });
      return {};
    },

    "timeline.draft": ({ roomId, body }) => {
      const room = joined(roomId);
      if (body === undefined) return { body: room.draft ?? "" };
      rooms.set(roomId, { draft: body === "" ? null : body });
      return { body };
    },
  };
}

type Cursor = { queue: number; place: Place };
const writeCursor = ({ queue, place }: Cursor) =>
  Buffer.from(JSON.stringify([queue, place.segment, place.position])).toString("base64url");

function readCursor(word: string): Cursor {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(word, "base64url").toString("utf8"));
  } catch {
    parsed = undefined; // told below, like every other word that is no cursor
  }
  const numbers = Array.isArray(parsed) ? parsed.filter((part) => Number.isSafeInteger(part)) : [];
  const [queue, segment, position] = numbers as number[];
  if (queue === undefined || segment === undefined || position === undefined)
    throw new CoreError("bad-request", { details: { path: "before" } });
  return { queue, place: { segment, position } };
}

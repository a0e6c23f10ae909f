import type { Failure } from "../../../../preload/contract/define.ts";
import type { Item } from "../../../../preload/contract/timeline.ts";
import { isObject, object, text, type Json } from "../../json.ts";
import type { QueueRow } from "../../storage/queue-store.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { EventRow, RelationRow, TimelineStore } from "../../storage/timeline-store.ts";
import { stateChange, sentenceOf } from "./state-items.ts";
import { undecryptableFrom } from "./undecryptable.ts";

export type Shield = { device?: string; shield: "none" | "grey" | "red"; reason?: string; identity?: string };
type Stores = {
  rooms: RoomStore;
  timeline: TimelineStore;
  me: string;
  /** What the sender's and the device's standing now makes of the shield that the message got when it was read. */
  shieldNow?: (sender: string, then: Shield) => Omit<Shield, "identity">;
};
/** A message on its way out sorts behind all that the server has ordered. */
const queueOrder = 2 ** 52;
const segmentOrder = 2 ** 32;
const longestHtmlChars = 65_536;

export const orderOf = (row: Pick<EventRow, "segment" | "position">) =>
  row.segment * segmentOrder + row.position + segmentOrder / 2;

/** Rows as the window and scripts see them: with edits applied, reactions counted and readers named. */
export function itemsFrom(rows: EventRow[], stores: Stores): Item[] {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.event_id);
  const relations = Map.groupBy(stores.timeline.relationsOf(ids), (relation) => relation.target_id);
  const readers = Map.groupBy(
    stores.timeline.receiptsOn(rows[0]?.room_id ?? "", ids).filter((receipt) => receipt.user_id !== stores.me),
    (receipt) => receipt.event_id,
  );
  const names = new Map<string, string | undefined>();
  const nameOf = (roomId: string, userId: string) => {
    if (!names.has(userId)) names.set(userId, stores.rooms.member(roomId, userId)?.name ?? undefined);
    return names.get(userId);
  };
  return rows.map((row) => {
    // whoever has a say in another room has none here
    const ofRoom = relations.get(row.event_id)?.filter((relation) => relation.room_id === row.room_id);
    const item = itemFrom(row, ofRoom ?? [], stores);
    const name = nameOf(row.room_id, row.sender);
    const readBy = readers.get(row.event_id)?.map((receipt) => receipt.user_id);
    return {
      ...item,
      ...(name === undefined ? {} : { senderName: name }),
      ...(readBy === undefined ? {} : { readBy }),
    };
  });
}

function itemFrom(row: EventRow, relations: RelationRow[], stores: Stores): Item {
  const event = parse(row.event);
  const wasEncrypted = row.session_id !== null || event["type"] === "m.room.encrypted";
  const base = {
    itemId: row.item_id,
    eventId: row.event_id,
    roomId: row.room_id,
    sender: row.sender,
    sentAtMs: row.sent_at_ms,
    state: "sent" as const,
    order: orderOf(row),
    reactions: row.redacted ? [] : reactionsFrom(relations),
    encryption: wasEncrypted ? encryptionOf(row, stores) : ({ at: "none" } as const),
    ...(row.replayed ? { replayed: true } : {}),
    ...(row.notify === 2 ? { mentionsMe: true } : {}),
  };
  if (row.redacted) return { ...base, kind: "redacted", body: "" };
  if (row.undecryptable !== null)
    return { ...base, kind: "undecryptable", body: "", undecryptable: undecryptableFrom(row.undecryptable, event) };
  if (typeof event["state_key"] === "string") {
    const change = stateChange(event, (userId) => stores.rooms.member(row.room_id, userId)?.name ?? undefined);
    return { ...base, kind: "state", body: sentenceOf(change, row.sender), change };
  }
  const clear = row.clear === null ? event : parse(row.clear);
  const edit = relations.findLast((relation) => relation.kind === "m.replace" && relation.sender === row.sender);
  const editRow = edit === undefined ? undefined : stores.timeline.event(edit.event_id);
  const edited = newContentOf(editRow, wasEncrypted);
  const content = object(clear["content"]) ?? {};
  return {
    ...base,
    ...messageFrom(edited ?? content),
    ...relationFrom(content),
    ...(edited === undefined || editRow === undefined
      ? {}
      : {
          edited: true,
          ...(wasEncrypted ? { encryption: worseOf(base.encryption, encryptionOf(editRow, stores)) } : {}),
        }),
  };
}

/** A row of the send queue as an item; `pending` until the queue takes it. */
export function itemFromQueue(row: QueueRow, me: string, name: string | undefined): Item {
  const content = parse(row.content);
  return {
    itemId: row.item_id,
    ...(row.event_id === null ? {} : { eventId: row.event_id }),
    roomId: row.room_id,
    sender: me,
    ...(name === undefined ? {} : { senderName: name }),
    sentAtMs: row.queued_at_ms,
    state: row.state,
    ...(row.failure === null ? {} : { failure: JSON.parse(row.failure) as Failure }),
    order: queueOrder + row.number,
    reactions: [],
    encryption: row.encrypted ? { at: "encrypted", shield: "none" } : { at: "none" },
    ...messageFrom(content),
    ...relationFrom(content),
  };
}

/** Source: client-server API, "Instant messaging", msgtypes. Bodies of wrong type become empty, never a crash. */
function messageFrom(content: Json): Pick<Item, "kind" | "body" | "html" | "file"> {
  const body = text(content["body"]) ?? "";
  const formatted = content["format"] === "org.matrix.custom.html" ? text(content["formatted_body"]) : undefined;
  const html = formatted !== undefined && formatted.length <= longestHtmlChars ? { html: formatted } : {};
  switch (content["msgtype"]) {
    case "m.notice":
      return { kind: "notice", body, ...html };
    case "m.emote":
      return { kind: "emote", body, ...html };
    case "m.image":
      return { kind: "image", body, file: fileFrom(content, body) };
    case "m.file":
    case "m.audio":
    case "m.video":
      return { kind: "file", body, file: fileFrom(content, body) };
    default:
      return { kind: "text", body, ...html };
  }
}

function fileFrom(content: Json, body: string): NonNullable<Item["file"]> {
  const info = object(content["info"]) ?? {};
  const size = (value: unknown) =>
    typeof value === "number" && Number.isFinite(value) && value >= 0 ? Math.floor(value) : undefined;
  const width = size(info["w"]);
  const height = size(info["h"]);
  return {
    name: (text(content["filename"]) ?? body).slice(0, 255),
    mime: (text(info["mimetype"]) ?? "application/octet-stream").slice(0, 100),
    sizeBytes: size(info["size"]) ?? 0,
    ...(width === undefined ? {} : { width }),
    ...(height === undefined ? {} : { height }),
  };
}

function relationFrom(content: Json): Pick<Item, "replyTo" | "threadRoot"> {
  const relates = object(content["m.relates_to"]);
  const reply = text(object(relates?.["m.in_reply_to"])?.["event_id"]);
  const thread = relates?.["rel_type"] === "m.thread" ? text(relates["event_id"]) : undefined;
  return {
    ...(reply === undefined ? {} : { replyTo: reply }),
    ...(thread === undefined ? {} : { threadRoot: thread }),
  };
}

function newContentOf(row: EventRow | undefined, mustBeEncrypted: boolean): Json | undefined {
  if (row === undefined || row.redacted) return undefined;
  // a server could make up an edit in clear of a message that it cannot read
  if (mustBeEncrypted && row.clear === null) return undefined;
  const clear = row.clear === null ? parse(row.event) : parse(row.clear);
  return object(object(clear["content"])?.["m.new_content"]);
}

function reactionsFrom(relations: RelationRow[]): Item["reactions"] {
  const byKey = new Map<string, Set<string>>();
  for (const relation of relations) {
    if (relation.kind !== "m.annotation" || relation.key === null) continue;
    const senders = byKey.get(relation.key) ?? new Set();
    byKey.set(relation.key, senders.add(relation.sender));
  }
  return [...byKey].slice(0, 100).map(([key, senders]) => ({ key, senders: [...senders] }));
}

/** What is shown is the edit's: a device that nobody vouches for must not speak under the first message's good mark. */
function worseOf(first: Item["encryption"], second: Item["encryption"]): Item["encryption"] {
  const badness = (one: Item["encryption"]) => (one.at === "none" ? 0 : { none: 0, grey: 1, red: 2 }[one.shield]);
  return badness(second) > badness(first) ? second : first;
}

function encryptionOf(
  { trust, sender }: Pick<EventRow, "trust" | "sender">,
  { shieldNow }: Stores,
): Item["encryption"] {
  const parsed = trust === null ? {} : parse(trust);
  const device = text(parsed["device"]);
  const reason = text(parsed["reason"]);
  const identity = text(parsed["identity"]);
  const shield = parsed["shield"] === "red" || parsed["shield"] === "grey" ? parsed["shield"] : "none";
  const then: Shield = {
    shield,
    ...(device === undefined ? {} : { device }),
    ...(reason === undefined ? {} : { reason }),
  };
  const now = shieldNow?.(sender, { ...then, ...(identity === undefined ? {} : { identity }) });
  return { at: "encrypted", ...(now ?? then) };
}

export function parse(stored: string): Json {
  const value = JSON.parse(stored) as unknown;
  return isObject(value) ? value : {};
}

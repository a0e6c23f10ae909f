import type { Membership } from "../../../preload/contract/rooms.ts";
import { CoreError } from "../errors.ts";
import { integer, isObject, isTooDeep, list, object, text, texts } from "../json.ts";
import type { Http } from "../matrix/http.ts";
import { roomEvent, stateEvent, type Receipt, type RoomBatch, type SyncBatch } from "./batch.ts";

export type PollOptions = { since: string | undefined; timeoutMs: number; stateAfter: boolean; signal: AbortSignal };

const filter = (timelineLimit: number) =>
  JSON.stringify({
    room: {
      timeline: { limit: timelineLimit },
      state: { lazy_load_members: true },
      ephemeral: { types: ["m.receipt"] },
      account_data: { types: ["m.tag", "m.fully_read"] },
    },
    presence: { types: [] },
  });
/** A first answer over many rooms takes the server seconds a hundred rooms: one event each, the rest when it is wanted. */
const firstFilter = filter(1);
const laterFilter = filter(50);
/** The server may take this much longer than the poll that it was asked for. */
const graceMs = 30_000;
const firstPatienceMs = 180_000;

/** One poll of sync v2. Source: client-server API, "Syncing". */
export async function poll(http: Http, options: PollOptions): Promise<SyncBatch> {
  const first = options.since === undefined;
  const answer = await http.request("GET", "/_matrix/client/v3/sync", {
    query: {
      filter: first ? firstFilter : laterFilter,
      timeout: first ? 0 : options.timeoutMs,
      since: options.since,
      set_presence: "offline",
      ...(options.stateAfter ? { "org.matrix.msc4222.use_state_after": "true", use_state_after: "true" } : {}),
    },
    timeoutMs: first ? firstPatienceMs : options.timeoutMs + graceMs,
    signal: options.signal,
  });
  return batchFrom(answer);
}

/** The answer as a plain batch. Throws where it is no sync at all; a part of wrong shape is left out and counted. */
export function batchFrom(answer: unknown): SyncBatch {
  const body = object(answer);
  const nextBatch = text(body?.["next_batch"]);
  if (body === undefined || nextBatch === undefined || nextBatch === "" || nextBatch.length > 65_536)
    throw new CoreError("unreachable", { message: "The server's answer is no sync.", details: { kind: "bad-answer" } });
  const parts = { malformed: 0 };
  const rooms: RoomBatch[] = [];
  for (const membership of ["join", "invite", "knock", "leave"] as const)
    for (const [roomId, room] of Object.entries(object(object(body["rooms"])?.[membership]) ?? {})) {
      const batch = roomFrom(roomId, membership, room, parts);
      if (batch === undefined) parts.malformed++;
      else rooms.push(batch);
    }
  const lists = object(body["device_lists"]);
  const unused =
    body["device_unused_fallback_key_types"] ?? body["org.matrix.msc2732.device_unused_fallback_key_types"];
  return {
    nextBatch,
    toDevice: list(object(body["to_device"])?.["events"]).filter((event) => {
      const good =
        isObject(event) &&
        typeof event["type"] === "string" &&
        typeof event["sender"] === "string" &&
        isObject(event["content"]) &&
        !isTooDeep(event);
      if (!good) parts.malformed++;
      return good;
    }),
    changed: userIds(lists?.["changed"]),
    left: userIds(lists?.["left"]),
    counts: Object.fromEntries(
      Object.entries(object(body["device_one_time_keys_count"]) ?? {}).flatMap(([type, count]) => {
        const number = integer(count);
        return number === undefined || number < 0 || number > 1_000_000 ? [] : [[type, number]];
      }),
    ),
    unusedFallbackKeys: Array.isArray(unused) ? texts(unused) : undefined,
    rooms,
    accountData: list(object(body["account_data"])?.["events"]).flatMap((event) => {
      const type = text(object(event)?.["type"]);
      const content = object(object(event)?.["content"]);
      return type === undefined || content === undefined || isTooDeep(content) ? [] : [{ type, content }];
    }),
    malformed: parts.malformed,
  };
}

const userIds = (value: unknown) =>
  texts(value).filter((userId) => /^@[^:]*:\S+$/.test(userId) && userId.length <= 255);

function roomFrom(
  roomId: string,
  membership: Membership,
  value: unknown,
  parts: { malformed: number },
): RoomBatch | undefined {
  const room = object(value);
  if (room === undefined || !/^!\S+$/.test(roomId) || roomId.length > 255) return undefined;
  const timeline = object(room["timeline"]);
  const after = object(room["state_after"]) ?? object(room["org.matrix.msc4222.state_after"]);
  const stripped = object(room["invite_state"]) ?? object(room["knock_state"]);
  const summary = object(room["summary"]);
  const unread = object(room["unread_notifications"]);
  const keep = <T>(values: unknown, read: (value: unknown) => T | undefined): T[] =>
    list(values).flatMap((one) => {
      const good = read(one);
      if (good === undefined) parts.malformed++;
      return good === undefined ? [] : [good];
    });
  const prevBatch = text(timeline?.["prev_batch"]);
  const heroes = summary?.["m.heroes"];
  const joined = integer(summary?.["m.joined_member_count"]);
  const invited = integer(summary?.["m.invited_member_count"]);
  const unreadCount = integer(unread?.["notification_count"]);
  const mentions = integer(unread?.["highlight_count"]);
  const tags = list(object(room["account_data"])?.["events"]).find((event) => object(event)?.["type"] === "m.tag");
  return {
    roomId,
    membership,
    timeline: keep(timeline?.["events"], roomEvent),
    state: keep((after ?? object(room["state"]) ?? stripped)?.["events"], stateEvent),
    stateAfter: after !== undefined,
    limited: timeline?.["limited"] === true,
    ...(prevBatch === undefined ? {} : { prevBatch }),
    ...(Array.isArray(heroes) ? { heroes: userIds(heroes) } : {}),
    ...(joined === undefined ? {} : { joined }),
    ...(invited === undefined ? {} : { invited }),
    ...(unreadCount === undefined ? {} : { unread: unreadCount }),
    ...(mentions === undefined ? {} : { mentions }),
    receipts: list(object(room["ephemeral"])?.["events"]).flatMap(receiptsFrom),
    ...(tags === undefined
      ? {}
      : { favourite: object(object(object(tags)?.["content"])?.["tags"])?.["m.favourite"] !== undefined }),
  };
}

/** Source: client-server API, "Receipts": event → kind → user. Receipts of single threads are left out. */
function receiptsFrom(event: unknown): Receipt[] {
  if (object(event)?.["type"] !== "m.receipt") return [];
  return Object.entries(object(object(event)?.["content"]) ?? {}).flatMap(([eventId, kinds]) =>
    ["m.read", "m.read.private"].flatMap((kind) =>
      Object.entries(object(object(kinds)?.[kind]) ?? {}).flatMap(([userId, data]) => {
        const thread = object(data)?.["thread_id"];
        if (thread !== undefined && thread !== "main") return [];
        return userIds([userId]).map((id) => ({ userId: id, eventId, atMs: integer(object(data)?.["ts"]) ?? 0 }));
      }),
    ),
  );
}

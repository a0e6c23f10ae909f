import type { Membership } from "../../../preload/contract/rooms.ts";
import { integer, isObject, isTooDeep, text, type Json } from "../json.ts";
import type { RoomEvent } from "../room-event.ts";

/** State may come stripped: without id and time. Source: client-server API, "Stripped state". */
export type StateEvent = { type: string; state_key: string; sender: string; content: Json; unsigned?: Json };
export type Receipt = { userId: string; eventId: string; atMs: number };
export type RoomBatch = {
  roomId: string;
  membership: Membership;
  timeline: RoomEvent[];
  state: StateEvent[];
  /** The state is that after the timeline (MSC4222), so the timeline's own state events are in it. */
  stateAfter: boolean;
  limited: boolean;
  prevBatch?: string;
  heroes?: string[];
  joined?: number;
  invited?: number;
  unread?: number;
  mentions?: number;
  receipts: Receipt[];
  favourite?: boolean;
};
export type SyncBatch = {
  nextBatch: string;
  toDevice: unknown[];
  changed: string[];
  left: string[];
  counts: Record<string, number>;
  unusedFallbackKeys: string[] | undefined;
  rooms: RoomBatch[];
  accountData: { type: string; content: Json }[];
  /** Parts of the answer that did not have the shape of the specification and were left out. */
  malformed: number;
};

const longestId = 255;

/** That a room is encrypted counts however the rest of the event looks: dropped, the room would be written to in clear. */
const saysEncrypted = (value: Json) => value["type"] === "m.room.encryption" && value["state_key"] === "";

/** `undefined` for what is no event. */
function readable(value: unknown): Json | undefined {
  if (!isObject(value)) return undefined;
  if (!isTooDeep(value)) return value;
  return saysEncrypted(value) ? { ...value, content: {}, unsigned: {} } : undefined;
}

export function roomEvent(given: unknown): RoomEvent | undefined {
  const value = readable(given);
  if (value === undefined) return undefined;
  const eventId = text(value["event_id"]);
  const type = text(value["type"]);
  const sender = text(value["sender"]);
  if (eventId === undefined || type === undefined || sender === undefined) return undefined;
  if (!/^\$\S+$/.test(eventId) || eventId.length > longestId || type.length > longestId) return undefined;
  if (!/^@[^:]*:\S+$/.test(sender) || sender.length > longestId) return undefined;
  const stateKey = text(value["state_key"]);
  // without its state key a state event would pass for a message
  if (value["state_key"] !== undefined && (stateKey === undefined || stateKey.length > longestId)) return undefined;
  const redacts =
    text(value["redacts"]) ?? (isObject(value["content"]) ? text(value["content"]["redacts"]) : undefined);
  return {
    event_id: eventId,
    type,
    sender,
    // a server may claim any time; one that is no time at all sorts as the beginning of time
    origin_server_ts: Math.max(0, integer(value["origin_server_ts"]) ?? 0),
    content: isObject(value["content"]) ? value["content"] : {},
    unsigned: isObject(value["unsigned"]) ? value["unsigned"] : {},
    ...(stateKey === undefined ? {} : { state_key: stateKey }),
    ...(redacts === undefined ? {} : { redacts }),
  };
}

export function stateEvent(given: unknown): StateEvent | undefined {
  const value = readable(given);
  if (value === undefined) return undefined;
  const type = text(value["type"]);
  const stateKey = text(value["state_key"]);
  const marked = saysEncrypted(value);
  const sender = text(value["sender"]) ?? (marked ? "" : undefined);
  const content = isObject(value["content"]) ? value["content"] : marked ? {} : undefined;
  if (type === undefined || stateKey === undefined || sender === undefined || content === undefined) return undefined;
  if (type.length > longestId || stateKey.length > longestId || (sender.length > longestId && !marked))
    return undefined;
  return {
    type,
    state_key: stateKey,
    sender: sender.slice(0, longestId),
    content,
    ...(isObject(value["unsigned"]) ? { unsigned: value["unsigned"] } : {}),
  };
}

import { integer, object, text, type Json } from "../../json.ts";

/** A verification event of either road, as far as its outer shape says what it is. */
export type Wire = {
  kind: "request" | "ready" | "start" | "done" | "cancel" | "other";
  flowId: string;
  sender: string;
  /** Which device says so: of requests, readies and starts. */
  fromDevice?: string;
  /** Of a request alone: who is asked, and when by the sender's (to-device) or the server's (room) clock. */
  to?: string;
  atMs?: number;
};

const prefix = "m.key.verification.";
const longestId = 255;

/** Undefined where it is no verification event, or none that could belong to a flow. Source: client-server API, "Device verification". */
export function wireOfToDevice(event: unknown): Wire | undefined {
  const one = object(event);
  const type = text(one?.["type"]);
  const sender = text(one?.["sender"]);
  const content = object(one?.["content"]);
  if (type?.startsWith(prefix) !== true || sender === undefined || content === undefined) return undefined;
  const flowId = idOf(content["transaction_id"]);
  if (flowId === undefined) return undefined;
  const kind = kindOf(type);
  const atMs = kind === "request" ? integer(content["timestamp"]) : undefined;
  return { kind, flowId, sender, ...fromOf(content), ...(atMs === undefined ? {} : { atMs }) };
}

export function wireOfRoom(event: {
  type: string;
  sender: string;
  event_id: string;
  origin_server_ts: number;
  content: Json;
}): Wire | undefined {
  const { type, sender, content } = event;
  if (isRoomRequest(type, content)) {
    const to = text(content["to"]) ?? "";
    return { kind: "request", flowId: event.event_id, sender, ...fromOf(content), to, atMs: event.origin_server_ts };
  }
  if (!type.startsWith(prefix)) return undefined;
  const flowId = idOf(object(content["m.relates_to"])?.["event_id"]);
  // a request goes into a room as a message
  if (flowId === undefined || type === `${prefix}request`) return undefined;
  return { kind: kindOf(type), flowId, sender, ...fromOf(content) };
}

export const isRoomRequest = (type: string, content: Json): boolean =>
  type === "m.room.message" && content["msgtype"] === `${prefix}request`;

const fromOf = (content: Json): { fromDevice?: string } => {
  const fromDevice = idOf(content["from_device"]);
  return fromDevice === undefined ? {} : { fromDevice };
};
const idOf = (value: unknown): string | undefined => {
  const id = text(value);
  return id === undefined || id === "" || id.length > longestId ? undefined : id;
};

const kinds = new Map<string, Wire["kind"]>(
  (["request", "ready", "start", "done", "cancel"] as const).map((kind) => [prefix + kind, kind]),
);
const kindOf = (type: string): Wire["kind"] => kinds.get(type) ?? "other";

import type { Json } from "./json.ts";

/** An event as the server sent it, its outer shape checked; `content` may hold anything. */
export type RoomEvent = {
  event_id: string;
  type: string;
  sender: string;
  origin_server_ts: number;
  content: Json;
  state_key?: string;
  unsigned: Json;
  redacts?: string;
};

/** What must be told after a commit: the events whose rows appeared or changed. */
export type Touched = { events: Set<string> };

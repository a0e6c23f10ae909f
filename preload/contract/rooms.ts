import * as v from "valibot";
import { command } from "./define.ts";
import { empty, roomAlias, roomId, userId } from "./ids.ts";
import type { Item } from "./timeline.ts";

export type Membership = "join" | "invite" | "knock" | "leave";
export type UserTrust = {
  userId: string;
  identity: "none" | "pinned" | "verified" | "changed" | "verification-violated";
  sinceMs?: number;
  fingerprint?: string;
};
export type Room = {
  roomId: string;
  kind: "dm" | "group" | "space";
  name: string;
  membership: Membership;
  encrypted: boolean;
  unread: { messages: number; mentions: number };
  lastActivityMs: number;
  latest?: Item;
  inviter?: string;
  members: number;
  muted: boolean;
  favourite: boolean;
  /** The other person of a direct chat. */
  directUserId?: string;
};
export type Member = {
  userId: string;
  name: string;
  membership: Membership | "ban";
  powerLevel: number;
  trust: UserTrust;
};

const nothing = command<Record<string, never>>();
const reason = v.pipe(v.string(), v.maxLength(500));

export const roomsCommands = {
  /** All rooms, newest first; with `roomIds` those alone, so that a change of one room costs one row. */
  "rooms.list": command<Room[]>()(v.strictObject({ roomIds: v.optional(v.pipe(v.array(roomId), v.maxLength(500))) })),
  /** Answers once the room's own state is known here: a message sent right after reaches the invited. */
  "rooms.create": command<{ roomId: string }>()(
    v.strictObject({
      kind: v.picklist(["dm", "group"]),
      name: v.optional(v.pipe(v.string(), v.trim(), v.maxLength(255))),
      invite: v.optional(v.pipe(v.array(userId), v.maxLength(200))),
      encrypted: v.optional(v.boolean()),
      historyVisibility: v.optional(v.picklist(["invited", "joined", "shared", "world_readable"])),
    }),
  ),
  "rooms.join": command<{ roomId: string }>()(
    v.strictObject({
      room: v.union([roomId, roomAlias]),
      via: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(255))), v.maxLength(20))),
    }),
  ),
  "rooms.leave": nothing(v.strictObject({ roomId })),
  "rooms.invite": nothing(v.strictObject({ roomId, userId })),
  "rooms.remove": nothing(v.strictObject({ roomId, userId, reason: v.optional(reason), ban: v.optional(v.boolean()) })),
  "rooms.members": command<Member[]>()(v.strictObject({ roomId })),
  /** The room that was open last; with `roomId`, remembers that one. */
  "rooms.lastOpened": command<{ roomId?: string }>()(v.strictObject({ roomId: v.optional(roomId) })),
  "people.ignore": nothing(v.strictObject({ userId, ignored: v.boolean() })),
  "people.ignored": command<string[]>()(empty),
};

export type RoomsEvents = { "rooms.changed": { roomIds: string[] } };

import * as v from "valibot";
import { command, type Failure } from "./define.ts";
import { itemId, roomId, userId } from "./ids.ts";

/** Closed list: why a message cannot be read. */
export type UndecryptableReason =
  | "missing-key"
  | "withheld"
  | "withheld-unverified"
  | "withheld-unsigned"
  | "key-too-late"
  | "no-backup"
  | "backup-locked"
  | "not-a-member-then"
  | "sender-identity-changed"
  | "sender-unsigned"
  | "sender-unknown-device"
  | "malformed"
  | "other";

/** What a state item says, for a window that words it in its own language. `body` says it in English for scripts. */
export type StateChange =
  | { kind: "created" | "encrypted" }
  | {
      kind: "joined" | "left" | "invited" | "removed" | "banned" | "unbanned" | "knocked" | "declined";
      userId: string;
      name: string;
    }
  | { kind: "renamed-person"; userId: string; name: string; before?: string }
  | { kind: "renamed-room"; name: string }
  | { kind: "topic"; topic: string }
  | { kind: "other"; type: string };

export type Item = {
  itemId: string;
  eventId?: string;
  roomId: string;
  sender: string;
  /** The sender's name in the room, where it is known. */
  senderName?: string;
  sentAtMs: number;
  state: "pending" | "sending" | "sent" | "failed";
  failure?: Failure;
  kind: "text" | "notice" | "emote" | "file" | "image" | "redacted" | "state" | "undecryptable";
  body: string;
  /** As the sender wrote it: hostile until the window has sanitised it. */
  html?: string;
  replyTo?: string;
  threadRoot?: string;
  edited?: boolean;
  reactions: { key: string; senders: string[] }[];
  file?: { name: string; mime: string; sizeBytes: number; width?: number; height?: number };
  encryption: { at: "none" } | { at: "encrypted"; device?: string; shield: "none" | "grey" | "red"; reason?: string };
  undecryptable?: {
    reason: UndecryptableReason;
    sinceMs: number;
    lastTryMs: number;
    nextTryMs?: number;
    tried: ("backup" | "own-devices")[];
    /** From whom the key may still come by itself. */
    awaits?: ("sender" | "own-devices")[];
    /** The sending device, as the message itself says: nobody vouches for it. */
    device?: string;
  };
  /** The same Megolm message index was seen before under another event: somebody sent an old message again. */
  replayed?: boolean;
  change?: StateChange;
  /** Others whose latest read receipt stands on this item. */
  readBy?: string[];
  /** Items of a room sort by it; one that arrives late takes its place between others. Messages still on their way out come last. */
  order: number;
  /** It mentions the person, or matches their keywords. */
  mentionsMe?: boolean;
};

const nothing = command<Record<string, never>>();
const cursor = v.pipe(v.string(), v.minLength(1), v.maxLength(2048));

export const timelineCommands = {
  "timeline.load": command<{ items: Item[]; before?: string; from: "store" | "server" }>()(
    v.strictObject({
      roomId,
      before: v.optional(cursor),
      limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1000))),
    }),
  ),
  "timeline.send": command<{ itemId: string }>()(
    v.strictObject({
      roomId,
      body: v.pipe(v.string(), v.minLength(1)),
      format: v.optional(v.picklist(["plain", "markdown"])),
      replyTo: v.optional(itemId),
      threadRoot: v.optional(itemId),
      mentions: v.optional(v.pipe(v.array(userId), v.maxLength(500))),
      transactionId: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(200))),
    }),
  ),
  "timeline.redact": nothing(
    v.strictObject({ roomId, itemId, reason: v.optional(v.pipe(v.string(), v.maxLength(500))) }),
  ),
  "timeline.retry": nothing(v.strictObject({ itemId })),
  "timeline.discard": nothing(v.strictObject({ itemId })),
  "timeline.markRead": nothing(v.strictObject({ roomId, itemId })),
  /** Tries again to read a message that could not be decrypted. */
  "timeline.retryDecryption": nothing(v.strictObject({ roomId, itemId })),
  /** The unsent text of a room; with `body`, remembers that one (an empty one is forgotten). */
  "timeline.draft": command<{ body: string }>()(
    v.strictObject({ roomId, body: v.optional(v.pipe(v.string(), v.maxLength(100_000))) }),
  ),
};

/**
 * Upserts, by `itemId`. `removed`: items that are gone (discarded before they were sent). `gap`: something is missing between what
 * was there before and these items, so a view that wants to be continuous loads the room again.
 */
export type TimelineEvents = { "timeline.changed": { roomId: string; items: Item[]; removed?: string[]; gap?: true } };

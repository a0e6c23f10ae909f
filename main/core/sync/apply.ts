import { asCoreError, CoreError } from "../errors.ts";
import { log } from "../log.ts";
import type { Crypto } from "../matrix/crypto.ts";
import type { RoomEvent, Touched } from "../room-event.ts";
import type { AccountStore } from "../storage/account-store.ts";
import type { AccountDatabase } from "../storage/database.ts";
import type { RoomRow, RoomStore } from "../storage/room-store.ts";
import type { EventRow, TimelineStore } from "../storage/timeline-store.ts";
import type { RoomBatch, SyncBatch } from "./batch.ts";

type Ingest = {
  store: (
    roomId: string,
    event: RoomEvent,
    at: { segment: number; position: number },
    touched: Touched,
  ) => number | undefined;
  decrypt: (crypto: Crypto, rows: EventRow[]) => Promise<Touched>;
};
export type ApplyParts = {
  db: AccountDatabase;
  account: AccountStore;
  rooms: RoomStore;
  timeline: TimelineStore;
  ingest: Ingest;
  crypto: Crypto;
  /** Gives crypto what is its own of the batch; throws where it could not be taken. */
  receive: (crypto: Crypto, batch: SyncBatch) => Promise<void>;
  /** crypto.db is durable. */
  cryptoBarrier: () => Promise<void>;
  me: string;
  /** In the sync's transaction: the person has joined a room that `inviter` had invited them to. */
  accepted: (roomId: string, inviter: string) => void;
};
/** What the sync changed, for those who tell it to the window and fill holes. */
export type Applied = {
  first: boolean;
  rooms: Set<string>;
  events: Map<string, Touched>;
  /** Rooms in which something is missing before the newest events. */
  gaps: { roomId: string; segment: number }[];
  accountData: Set<string>;
  malformed: number;
  /** Something was committed and not decrypted, for a reason that is not its own. */
  unfinished: boolean;
};

/**
 * crypto → barrier → one transaction with the token → crypto's room events → decrypt. Where crypto throws nothing is saved and the
 * same token is asked again; dying between crypto and the commit is harmless, since Rust crypto knows what it has.
 */
export async function applyBatch(batch: SyncBatch, parts: ApplyParts): Promise<Applied> {
  const { account, crypto } = parts;
  await parts.receive(crypto, batch);
  await parts.cryptoBarrier();
  const { applied, joined, encrypted } = commit(batch, parts);
  try {
    await decryptNew(applied, [...joined], encrypted, parts).finally(() => {
      parts.db.transaction(() => {
        for (const roomId of applied.rooms) refresh(parts, roomId);
      });
    });
  } catch (error) {
    // the token is saved: what was committed is told, and the rest is done after the next sync
    log.error("what a sync brought could not be decrypted yet", error);
    applied.unfinished = true;
  }
  log.debug(`sync ${account.syncNumber()}: ${batch.rooms.length} rooms, ${batch.toDevice.length} to-device`);
  return applied;
}

async function decryptNew(applied: Applied, joined: string[], encrypted: string[], parts: ApplyParts): Promise<void> {
  const { crypto } = parts;
  // users who came into encrypted rooms, so that their devices are known before the next message
  await crypto.track(joined);
  void crypto.processOutgoing().catch((error: unknown) => {
    log.warn("crypto's requests after a sync failed", error);
  });
  const waiting = encrypted
    .flatMap((eventId) => parts.timeline.event(eventId) ?? [])
    .filter((row) => row.undecryptable !== null);
  if (waiting.length === 0) return;
  await crypto.track([...new Set(waiting.map((row) => row.sender))]);
  for (const id of (await parts.ingest.decrypt(crypto, waiting)).events) {
    const roomId = parts.timeline.event(id)?.room_id;
    if (roomId !== undefined) applied.events.get(roomId)?.events.add(id);
  }
}

function commit(batch: SyncBatch, parts: ApplyParts) {
  const { db, account, rooms } = parts;
  const first = account.syncToken() === undefined;
  const applied: Applied = {
    first,
    rooms: new Set(),
    events: new Map(),
    gaps: [],
    accountData: new Set(),
    malformed: batch.malformed,
    unfinished: false,
  };
  const joined = new Set<string>();
  const encrypted: string[] = [];
  db.transaction(() => {
    const number = account.nextSyncNumber();
    for (const { type, content } of batch.accountData) {
      account.syncAccountData(type, content, number);
      applied.accountData.add(type);
    }
    for (const room of batch.rooms) applyRoom(room, batch.nextBatch, number, parts, applied, joined, encrypted);
    // an own message has left the queue for the timeline: the list shows it without a break
    for (const roomId of applied.rooms) refresh(parts, roomId);
    if (first) rooms.dropPreviews();
    const direct = account.accountData("m.direct");
    if (direct !== undefined && (applied.accountData.has("m.direct") || first)) rooms.setDirect(direct);
    account.setSyncNumber(number);
    account.setSyncToken(batch.nextBatch);
  });
  return { applied, joined, encrypted };
}

function applyRoom(
  room: RoomBatch,
  nextBatch: string,
  number: number,
  parts: ApplyParts,
  applied: Applied,
  joined: Set<string>,
  encrypted: string[],
): void {
  const { rooms, timeline, ingest, me } = parts;
  const { roomId } = room;
  const before = rooms.room(roomId);
  rooms.ensure(roomId, room.membership);
  const touched: Touched = { events: new Set() };
  const seen = (change: ReturnType<RoomStore["applyState"]>) => {
    if (change === undefined || change.userId === me) return;
    if (change.change === "joined" || change.change === "invited") joined.add(change.userId);
    if (change.change === "gone") rooms.set(roomId, { rotate_before_send: 1 });
  };

  // state before the timeline first, then the timeline's own; with MSC4222 the given state is already that after it
  for (const event of room.state) seen(rooms.applyState(roomId, event, number));
  if (!room.stateAfter)
    for (const event of room.timeline)
      if (event.state_key !== undefined)
        seen(rooms.applyState(roomId, { ...event, state_key: event.state_key }, number));

  // also where the joining was learned of beside the sync, or invitation and joining came in one
  const inviter = rooms.room(roomId)?.inviter;
  if (room.membership !== "invite" && inviter != null) {
    if (room.membership === "join") parts.accepted(roomId, inviter);
    rooms.set(roomId, { inviter: null });
  }

  const known = timeline.newestSegment(roomId);
  const rejoined = before !== undefined && before.membership !== "join" && room.membership === "join";
  if (room.timeline.length > 0 || (known === undefined && room.membership === "join")) {
    const begins = known === undefined || room.limited || rejoined;
    const atStart = room.timeline[0]?.type === "m.room.create";
    const segment = begins ? timeline.beginSegment(roomId, room.prevBatch, atStart) : known;
    if (begins && known !== undefined && !atStart && room.prevBatch !== undefined)
      applied.gaps.push({ roomId, segment });
    let position = timeline.nextPosition(roomId, segment);
    for (const event of room.timeline) {
      const stored = ingest.store(roomId, event, { segment, position }, touched);
      if (stored === undefined) continue;
      position++;
      if (event.type === "m.room.encrypted" && event.state_key === undefined) encrypted.push(event.event_id);
      if (event.sender === me) readUpTo(parts, roomId, event.event_id);
    }
  }
  const now = rooms.room(roomId);
  // what a gap hid may be a member's coming or going: the list is fetched again before the next encryption
  if (now?.encryption != null && (room.limited || rejoined || (now.members_at === null && now.members_known === 0)))
    rooms.set(roomId, { members_known: 0, members_at: JSON.stringify({ token: nextBatch, number }) });
  if (now?.encryption == null && room.limited) rooms.set(roomId, { members_known: 0, members_at: null });

  applySummary(room, rooms);
  for (const receipt of room.receipts) {
    const moved = timeline.setReceipt(roomId, receipt.userId, receipt.eventId, receipt.atMs);
    if (moved === undefined) continue;
    touched.events.add(receipt.eventId);
    if (moved.before !== undefined) touched.events.add(moved.before);
    if (receipt.userId === me) readUpTo(parts, roomId, receipt.eventId);
  }
  applied.rooms.add(roomId);
  applied.events.set(roomId, touched);
}

function applySummary(room: RoomBatch, rooms: RoomStore): void {
  const activity = room.timeline
    .filter((event) => event.state_key === undefined || event.type === "m.room.create")
    .map((event) => event.origin_server_ts);
  const row = rooms.room(room.roomId);
  const newest = Math.max(
    row?.last_activity_ms ?? 0,
    ...activity,
    row?.last_activity_ms === 0 && room.membership === "invite" ? Date.now() : 0,
  );
  rooms.set(room.roomId, {
    // a clock in the far future would hold a room on top for ever
    last_activity_ms: Math.min(newest, Date.now() + 60_000),
    ...(room.heroes === undefined ? {} : { heroes: JSON.stringify(room.heroes.slice(0, 10)) }),
    ...(room.joined === undefined ? {} : { joined_count: room.joined }),
    ...(room.invited === undefined ? {} : { invited_count: room.invited }),
    ...(room.unread === undefined ? {} : { server_unread: room.unread }),
    ...(room.mentions === undefined ? {} : { server_mentions: room.mentions }),
    ...(room.favourite === undefined ? {} : { favourite: room.favourite ? 1 : 0 }),
  });
}

/** Read positions only move forward. */
export function readUpTo(
  { rooms, timeline }: Pick<ApplyParts, "rooms" | "timeline">,
  roomId: string,
  eventId: string,
): boolean {
  const event = timeline.event(eventId);
  const room = rooms.room(roomId);
  if (event === undefined || room === undefined || event.room_id !== roomId) return false;
  const ahead =
    event.segment > room.read_segment || (event.segment === room.read_segment && event.position > room.read_position);
  if (ahead) rooms.set(roomId, { read_segment: event.segment, read_position: event.position });
  return ahead;
}

/** The columns that the room list reads: the last message and the unread counts. */
export function refresh({ rooms, timeline }: Pick<ApplyParts, "rooms" | "timeline">, roomId: string): void {
  const room = rooms.room(roomId);
  if (room === undefined) return;
  rooms.set(roomId, { latest_event: timeline.latestShown(roomId)?.number ?? null, ...unreadOf(room, timeline) });
}

/** The server counts in clear rooms; what notifies in an encrypted one it cannot know, so there the own rows are counted. */
function unreadOf(room: RoomRow, timeline: TimelineStore): { unread: number; mentions: number } {
  if (room.encryption === null || room.read_segment < 0)
    return { unread: room.server_unread, mentions: room.server_mentions };
  return timeline.countUnread(room.room_id, { segment: room.read_segment, position: room.read_position });
}

/** A sync that cannot be taken stops the loop's turn; the token stays where it was. */
export function asSyncFailure(error: unknown): CoreError {
  const known = asCoreError(error);
  return known.code === "unexpected" ? new CoreError("unexpected", { cause: error, retryable: true }) : known;
}

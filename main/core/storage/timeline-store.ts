import type { AccountDatabase } from "./database.ts";

export type EventRow = {
  number: number;
  event_id: string;
  room_id: string;
  segment: number;
  position: number;
  item_id: string;
  sender: string;
  sent_at_ms: number;
  type: string;
  event: string;
  clear: string | null;
  session_id: string | null;
  trust: string | null;
  undecryptable: string | null;
  replayed: number;
  redacted: number;
  shown: number;
  notify: number;
};
export type NewEvent = Omit<
  EventRow,
  "number" | "clear" | "trust" | "replayed" | "redacted" | "notify" | "undecryptable"
> & {
  undecryptable: string | null;
};
export type Place = { segment: number; position: number };
export type RelationRow = {
  event_id: string;
  target_id: string;
  room_id: string;
  kind: string;
  sender: string;
  key: string | null;
  sent_at_ms: number;
};

export type TimelineStore = ReturnType<typeof createTimelineStore>;

/** Events in their order (segment, position), what relates to them, and who has read up to where. */
export function createTimelineStore(db: AccountDatabase) {
  const newest = (roomId: string) =>
    db.get<{ segment: number }>(
      "select max(segment) segment from segments where room_id = ? having max(segment) is not null",
      roomId,
    )?.segment;
  const edge = (roomId: string, segment: number, which: "min" | "max") =>
    db.get<{ p: number | null }>(
      `select ${which}(position) p from events where room_id = ? and segment = ?`,
      roomId,
      segment,
    )?.p ?? undefined;

  return {
    event: (eventId: string) => db.get<EventRow>("select * from events where event_id = ?", eventId),
    eventByNumber: (number: number) => db.get<EventRow>("select * from events where number = ?", number),
    eventByItem: (itemId: string) => db.get<EventRow>("select * from events where item_id = ?", itemId),
    newestSegment: newest,
    beginSegment: (roomId: string, gapToken: string | undefined, atStart: boolean): number => {
      const segment = (newest(roomId) ?? -1) + 1;
      db.run(
        "insert into segments(room_id, segment, gap_token, at_start) values(?, ?, ?, ?)",
        roomId,
        segment,
        atStart ? null : (gapToken ?? null),
        atStart || gapToken === undefined ? 1 : 0,
      );
      return segment;
    },
    segment: (roomId: string, segment: number) =>
      db.get<{ gap_token: string | null; at_start: number }>(
        "select gap_token, at_start from segments where room_id = ? and segment = ?",
        roomId,
        segment,
      ),
    /** The nearest segment, from the given one downwards, before which something is missing; 0 where nothing is. */
    floor: (roomId: string, from: number) =>
      db.get<{ segment: number | null }>(
        "select max(segment) segment from segments where room_id = ? and segment <= ? and gap_token is not null",
        roomId,
        from,
      )?.segment ?? 0,
    /** Holes between what is here; the beginning of a room is fetched when somebody reads that far. */
    holes: () =>
      db
        .all<{ room_id: string; segment: number }>(
          "select room_id, segment from segments where gap_token is not null and segment > 0",
        )
        .map((row) => ({ roomId: row.room_id, segment: row.segment })),
    setGap: (roomId: string, segment: number, gapToken: string | null, atStart: boolean) =>
      db.run(
        "update segments set gap_token = ?, at_start = ? where room_id = ? and segment = ?",
        gapToken,
        atStart ? 1 : 0,
        roomId,
        segment,
      ),
    nextPosition: (roomId: string, segment: number) => (edge(roomId, segment, "max") ?? -1) + 1,
    firstPosition: (roomId: string, segment: number) => edge(roomId, segment, "min") ?? 0,
    /** The row's number, or undefined where the event is there already. */
    insert: (event: NewEvent): number | undefined =>
      db.get<{ number: number }>(
        `insert into events(event_id, room_id, segment, position, item_id, sender, sent_at_ms, type, event, session_id, undecryptable, shown)
         values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing returning number`,
        event.event_id,
        event.room_id,
        event.segment,
        event.position,
        event.item_id,
        event.sender,
        event.sent_at_ms,
        event.type,
        event.event,
        event.session_id,
        event.undecryptable,
        event.shown,
      )?.number,
    setDecrypted: (
      number: number,
      values: { clear: string; type: string; trust: string; shown: number; replayed: number },
    ) =>
      db.run(
        "update events set clear = ?, type = ?, trust = ?, shown = ?, replayed = ?, undecryptable = null where number = ?",
        values.clear,
        values.type,
        values.trust,
        values.shown,
        values.replayed,
        number,
      ),
    /** Messages that are marked for what was not known of their device, or not yet there; newest first. */
    markedFor: (sender: string | undefined, limit: number) =>
      db.all<EventRow>(
        `select * from events where trust ->> '$.reason' in ('unknown-device', 'unsigned-device', 'no-identity')
         ${sender === undefined ? "" : "and sender = ?"} order by sent_at_ms desc limit ?`,
        ...(sender === undefined ? [] : [sender]),
        limit,
      ),
    setTrust: (number: number, trust: string) => db.run("update events set trust = ? where number = ?", trust, number),
    setUndecryptable: (number: number, value: string) =>
      db.run("update events set undecryptable = ? where number = ?", value, number),
    setNotify: (number: number, notify: number) =>
      db.run("update events set notify = ? where number = ?", notify, number),
    setShown: (number: number, shown: number) => db.run("update events set shown = ? where number = ?", shown, number),
    setRedacted: (number: number, event: string) =>
      db.run(
        "update events set redacted = 1, clear = null, undecryptable = null, notify = 0, event = ? where number = ?",
        event,
        number,
      ),
    waitingFor: (roomId: string, sessionId: string) =>
      db.all<EventRow>(
        "select * from events where room_id = ? and session_id = ? and undecryptable is not null order by number",
        roomId,
        sessionId,
      ),
    waiting: (limit: number) =>
      db.all<EventRow>("select * from events where undecryptable is not null order by sent_at_ms desc limit ?", limit),
    /** Shown events before a place and not below a segment; newest first. */
    page: (roomId: string, before: Place, floor: number, limit: number) =>
      db.all<EventRow>(
        `select * from events where room_id = ? and shown = 1 and segment >= ? and (segment, position) < (?, ?)
         order by segment desc, position desc limit ?`,
        roomId,
        floor,
        before.segment,
        before.position,
        limit,
      ),
    latestShown: (roomId: string) =>
      db.get<EventRow>(
        `select * from events where room_id = ? and shown = 1 and type in ('m.room.message', 'm.sticker', 'm.room.encrypted')
           and (undecryptable is null or json_extract(undecryptable, '$.lastTryMs') > 0)
         order by segment desc, position desc limit 1`,
        roomId,
      ),
    /** The message index of a Megolm session belongs to the first event that showed it. */
    claimIndex: (sessionId: string, index: number, eventId: string): "first" | "replayed" => {
      db.run(
        "insert into megolm_indexes(session_id, message_index, event_id) values(?, ?, ?) on conflict do nothing",
        sessionId,
        index,
        eventId,
      );
      const row = db.get<{ event_id: string }>(
        "select event_id from megolm_indexes where session_id = ? and message_index = ?",
        sessionId,
        index,
      );
      return row?.event_id === eventId ? "first" : "replayed";
    },
    addRelation: (relation: RelationRow) =>
      db.run(
        "insert into relations(event_id, target_id, room_id, kind, sender, key, sent_at_ms) values(?, ?, ?, ?, ?, ?, ?) on conflict do nothing",
        relation.event_id,
        relation.target_id,
        relation.room_id,
        relation.kind,
        relation.sender,
        relation.key,
        relation.sent_at_ms,
      ),
    removeRelation: (eventId: string): RelationRow | undefined => {
      const row = db.get<RelationRow>("select * from relations where event_id = ?", eventId);
      if (row !== undefined) db.run("delete from relations where event_id = ?", eventId);
      return row;
    },
    relationsOf: (eventIds: string[]) =>
      db.all<RelationRow>(
        "select * from relations where target_id in (select value from json_each(?)) order by sent_at_ms, event_id",
        JSON.stringify(eventIds),
      ),
    /** Returns the event on which the person's receipt stood before, or undefined where nothing changed. */
    setReceipt: (
      roomId: string,
      userId: string,
      eventId: string,
      atMs: number,
    ): { before: string | undefined } | undefined => {
      const before = db.get<{ event_id: string }>(
        "select event_id from receipts where room_id = ? and user_id = ?",
        roomId,
        userId,
      )?.event_id;
      if (before === eventId) return undefined;
      db.run(
        "insert into receipts(room_id, user_id, event_id, at_ms) values(?, ?, ?, ?) on conflict do update set event_id = excluded.event_id, at_ms = excluded.at_ms",
        roomId,
        userId,
        eventId,
        atMs,
      );
      return { before };
    },
    receiptsOn: (roomId: string, eventIds: string[]) =>
      db.all<{ user_id: string; event_id: string }>(
        "select user_id, event_id from receipts where event_id in (select value from json_each(?)) and room_id = ? limit 2000",
        JSON.stringify(eventIds),
        roomId,
      ),
    countUnread: (roomId: string, read: Place) =>
      db.get<{ unread: number; mentions: number }>(
        "select count(*) unread, coalesce(sum(notify = 2), 0) mentions from events where room_id = ? and notify > 0 and (segment, position) > (?, ?)",
        roomId,
        read.segment,
        read.position,
      ) ?? { unread: 0, mentions: 0 },
  };
}

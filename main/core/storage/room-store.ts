import { integer, isObject, list, object, text, texts, type Json } from "../json.ts";
import type { AccountDatabase } from "./database.ts";

export type RoomRow = {
  room_id: string;
  membership: "join" | "invite" | "knock" | "leave";
  name: string | null;
  alias: string | null;
  room_type: string | null;
  heroes: string | null;
  joined_count: number | null;
  invited_count: number | null;
  encryption: string | null;
  history_visibility: string | null;
  inviter: string | null;
  direct_user: string | null;
  favourite: number;
  server_unread: number;
  server_mentions: number;
  unread: number;
  mentions: number;
  read_segment: number;
  read_position: number;
  last_activity_ms: number;
  latest_event: number | null;
  members_known: number;
  members_at: string | null;
  rotate_before_send: number;
  draft: string | null;
  pending_receipt: string | null;
  /** 1: shown before the first sync named it. */
  preview: number;
};
export type MemberRow = {
  user_id: string;
  membership: "join" | "invite" | "knock" | "leave" | "ban";
  name: string | null;
};
type State = { type: string; state_key: string; sender: string; content: Json; unsigned?: Json };
/** `gone`: left, was removed or banned. */
export type MemberChange = { userId: string; change: "joined" | "invited" | "gone" | "same" };

export type RoomStore = ReturnType<typeof createRoomStore>;
const memberships = new Set(["join", "invite", "knock", "leave", "ban"]);
const visibilities = new Set(["invited", "joined", "shared", "world_readable"]);
const longestNameChars = 255;

/** Rooms, their state and their members as rows; nothing of a room is kept in memory. */
export function createRoomStore(db: AccountDatabase, me: string) {
  const room = (roomId: string) => db.get<RoomRow>("select * from rooms where room_id = ?", roomId);

  const setMember = (roomId: string, userId: string, content: Json, syncNumber: number): MemberChange["change"] => {
    const membership = text(content["membership"]);
    if (membership === undefined || !memberships.has(membership) || !/^@[^:]*:\S+$/.test(userId)) return "same";
    const before = db.get<MemberRow>(
      "select user_id, membership, name from members where room_id = ? and user_id = ?",
      roomId,
      userId,
    );
    const name = text(content["displayname"])?.slice(0, longestNameChars) ?? null;
    db.run(
      `insert into members(room_id, user_id, membership, name, sync_number) values(?, ?, ?, ?, ?)
       on conflict do update set membership = excluded.membership, name = coalesce(excluded.name, case when excluded.membership = 'join' then null else name end), sync_number = excluded.sync_number`,
      roomId,
      userId,
      membership,
      name,
      syncNumber,
    );
    if (before?.membership === membership) return "same";
    if (membership === "join") return "joined";
    if (membership === "invite") return "invited";
    return membership === "knock" ? "same" : "gone";
  };

  const set = (roomId: string, column: string, value: string | number | null) =>
    db.run(`update rooms set ${column} = ? where room_id = ?`, value, roomId);

  /** One state event into the rows that are read of it. */
  const applyState = (roomId: string, event: State, syncNumber: number): MemberChange | undefined => {
    const { content } = event;
    if (event.type === "m.room.member") {
      if (event.state_key === me && content["membership"] === "invite") {
        set(roomId, "inviter", event.sender);
        if (content["is_direct"] === true)
          db.run("update rooms set direct_user = coalesce(direct_user, ?) where room_id = ?", event.sender, roomId);
      }
      return { userId: event.state_key, change: setMember(roomId, event.state_key, content, syncNumber) };
    }
    db.run(
      `insert into state(room_id, type, state_key, event, sync_number) values(?, ?, ?, ?, ?)
       on conflict do update set event = excluded.event, sync_number = excluded.sync_number`,
      roomId,
      event.type,
      event.state_key,
      JSON.stringify({ sender: event.sender, content }),
      syncNumber,
    );
    if (event.state_key !== "") return undefined;
    if (event.type === "m.room.name") set(roomId, "name", cleanName(content["name"]));
    else if (event.type === "m.room.canonical_alias") set(roomId, "alias", cleanName(content["alias"]));
    else if (event.type === "m.room.create") set(roomId, "room_type", text(content["type"]) ?? null);
    else if (event.type === "m.room.history_visibility") {
      const visibility = text(content["history_visibility"]);
      if (visibility !== undefined && visibilities.has(visibility)) set(roomId, "history_visibility", visibility);
    } else if (event.type === "m.room.encryption")
      // once set it is never unset nor changed, whatever state the server sends
      db.run("update rooms set encryption = coalesce(encryption, ?) where room_id = ?", encryptionOf(content), roomId);
    return undefined;
  };

  return {
    room,
    applyState,
    setMember,
    ensure: (roomId: string, membership: RoomRow["membership"]) =>
      db.run(
        "insert into rooms(room_id, membership) values(?, ?) on conflict do update set membership = excluded.membership, preview = 0 where membership <> excluded.membership or preview = 1",
        roomId,
        membership,
      ),
    set: (roomId: string, values: Partial<Record<keyof RoomRow, string | number | null>>) => {
      for (const [column, value] of Object.entries(values)) set(roomId, column, value);
    },
    list: (roomIds: string[] | undefined) => {
      const present = "membership in ('join', 'invite', 'knock')";
      return roomIds === undefined
        ? db.all<RoomRow>(`select * from rooms where ${present} order by last_activity_ms desc, room_id`)
        : db.all<RoomRow>(
            `select * from rooms where ${present} and room_id in (select value from json_each(?)) order by last_activity_ms desc, room_id`,
            JSON.stringify(roomIds),
          );
    },
    state: (roomId: string, type: string, stateKey = ""): { sender: string; content: Json } | undefined => {
      const row = db.get<{ event: string }>(
        "select event from state where room_id = ? and type = ? and state_key = ?",
        roomId,
        type,
        stateKey,
      );
      const parsed = row === undefined ? undefined : (JSON.parse(row.event) as unknown);
      return isObject(parsed)
        ? { sender: text(parsed["sender"]) ?? "", content: object(parsed["content"]) ?? {} }
        : undefined;
    },
    member: (roomId: string, userId: string) =>
      db.get<MemberRow>(
        "select user_id, membership, name from members where room_id = ? and user_id = ?",
        roomId,
        userId,
      ),
    members: (roomId: string) =>
      db.all<MemberRow>("select user_id, membership, name from members where room_id = ?", roomId),
    /** Who shares a room with the given name: for telling namesakes apart. */
    namesakes: (roomId: string, name: string) =>
      db.get<{ n: number }>(
        "select count(*) n from members where room_id = ? and name = ? and membership in ('join','invite')",
        roomId,
        name,
      )?.n ?? 0,
    /** The whole member list as of a sync: rows that this sync, a later one or the device itself since then wrote stay as they are. */
    replaceMembers: (roomId: string, members: { userId: string; content: Json }[], asOf: number): MemberChange[] => {
      const listed = new Set(members.map((member) => member.userId));
      const changes: MemberChange[] = [];
      const newer = new Set(
        db
          .all<{ user_id: string }>("select user_id from members where room_id = ? and sync_number >= ?", roomId, asOf)
          .map((row) => row.user_id),
      );
      for (const { userId, content } of members)
        if (!newer.has(userId)) changes.push({ userId, change: setMember(roomId, userId, content, asOf) });
      for (const row of db.all<MemberRow>(
        "select user_id, membership, name from members where room_id = ? and membership in ('join','invite') and sync_number < ?",
        roomId,
        asOf,
      ))
        if (!listed.has(row.user_id)) {
          db.run("update members set membership = 'leave' where room_id = ? and user_id = ?", roomId, row.user_id);
          changes.push({ userId: row.user_id, change: "gone" });
        }
      return changes;
    },
    /** A member event of the past: says who somebody was, and changes nothing that is known. */
    addPastMember: (roomId: string, userId: string, content: Json) => {
      if (db.get("select 1 from members where room_id = ? and user_id = ?", roomId, userId) === undefined) {
        setMember(roomId, userId, content, 0);
        // present or not is for the present state to say
        db.run("update members set membership = 'leave' where room_id = ? and user_id = ?", roomId, userId);
      }
    },
    /** Marks the direct chats as the account data `m.direct` names them. */
    setDirect: (content: Json) => {
      db.run("update rooms set direct_user = null where direct_user is not null and membership <> 'invite'");
      for (const [userId, roomIds] of Object.entries(content))
        for (const roomId of texts(list(roomIds)))
          db.run("update rooms set direct_user = ? where room_id = ?", userId, roomId);
    },
    heroNames: (roomId: string, heroes: string[]) =>
      db.all<{ user_id: string; name: string | null }>(
        "select user_id, name from members where room_id = ? and user_id in (select value from json_each(?))",
        roomId,
        JSON.stringify(heroes),
      ),
    /** The people to name a room after, where the server named none. */
    others: (roomId: string) =>
      db.all<MemberRow>(
        "select user_id, membership, name from members where room_id = ? and user_id <> ? order by membership not in ('join','invite'), user_id limit 5",
        roomId,
        me,
      ),
    countMembers: (roomId: string) =>
      db.get<{ n: number }>("select count(*) n from members where room_id = ? and membership = 'join'", roomId)?.n ?? 0,
    /** Rooms that were only shown before the first sync (first-rooms.ts), and that it did not name. */
    dropPreviews: () => {
      for (const { room_id: roomId } of db.all<{ room_id: string }>("select room_id from rooms where preview = 1"))
        for (const table of ["rooms", "state", "members"]) db.run(`delete from ${table} where room_id = ?`, roomId);
    },
  };
}

function cleanName(value: unknown): string | null {
  const name = text(value)?.trim().slice(0, longestNameChars);
  return name === undefined || name === "" ? null : name;
}

/** An algorithm that is not known here still means encrypted: such a room cannot be written to, but never in clear. */
function encryptionOf(content: Json): string {
  const periodMs = integer(content["rotation_period_ms"]);
  const periodMessages = integer(content["rotation_period_msgs"]);
  return JSON.stringify({
    algorithm: text(content["algorithm"]) ?? "unknown",
    ...(periodMs === undefined || periodMs <= 0 ? {} : { rotationPeriodMs: periodMs }),
    ...(periodMessages === undefined || periodMessages <= 0 ? {} : { rotationPeriodMessages: periodMessages }),
  });
}

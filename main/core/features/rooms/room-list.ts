import type { Member, Room, UserTrust } from "../../../../preload/contract/rooms.ts";
import type { Item } from "../../../../preload/contract/timeline.ts";
import { list, object, texts, integer, type Json } from "../../json.ts";
import type { RoomRow, RoomStore } from "../../storage/room-store.ts";
import { localpart, roomName } from "./names.ts";

type Parts = {
  rooms: RoomStore;
  me: string;
  latestOf: (rows: RoomRow[]) => Map<string, Item>;
  isMuted: (roomId: string) => boolean;
};

/** Rooms as the list shows them, newest first. One query for the rooms, one for their last messages. */
export function roomList({ rooms, me, latestOf, isMuted }: Parts, roomIds: string[] | undefined): Room[] {
  const rows = rooms.list(roomIds);
  const latest = latestOf(rows);
  return rows.map((row) => {
    const item = latest.get(row.room_id);
    return {
      roomId: row.room_id,
      kind: row.room_type === "m.space" ? "space" : row.direct_user === null ? "group" : "dm",
      name: nameOf(rooms, row, me),
      membership: row.membership,
      encrypted: row.encryption !== null,
      unread: { messages: row.membership === "invite" ? 0 : row.unread, mentions: row.mentions },
      lastActivityMs: row.last_activity_ms,
      ...(item === undefined ? {} : { latest: item }),
      ...(row.membership === "invite" && row.inviter !== null ? { inviter: row.inviter } : {}),
      members: row.joined_count ?? rooms.countMembers(row.room_id),
      muted: isMuted(row.room_id),
      favourite: row.favourite === 1,
      ...(row.direct_user === null ? {} : { directUserId: row.direct_user }),
    };
  });
}

function nameOf(rooms: RoomStore, row: RoomRow, me: string): string {
  if (row.name !== null || row.alias !== null) return roomName(row, [], 0);
  const heroes = row.heroes === null ? [] : texts(JSON.parse(row.heroes) as unknown);
  const others = Math.max((row.joined_count ?? 1) + (row.invited_count ?? 0) - 1, 0);
  if (heroes.length > 0) {
    const names = new Map(rooms.heroNames(row.room_id, heroes).map((hero) => [hero.user_id, hero.name]));
    return roomName(
      row,
      heroes.filter((userId) => userId !== me).map((userId) => ({ userId, name: names.get(userId) ?? undefined })),
      others,
    );
  }
  const known = rooms.others(row.room_id).map((member) => ({ userId: member.user_id, name: member.name ?? undefined }));
  return roomName(row, known, Math.max(others, known.length));
}

/** Members, the most powerful first. Source: client-server API, "m.room.power_levels". */
export function memberList(rooms: RoomStore, roomId: string, trust: Map<string, UserTrust>): Member[] {
  const levels = powerLevels(rooms, roomId);
  return rooms
    .members(roomId)
    .filter((member) => member.membership !== "leave")
    .map((member) => ({
      userId: member.user_id,
      name: member.name ?? localpart(member.user_id),
      membership: member.membership,
      powerLevel: levels(member.user_id),
      trust: trust.get(member.user_id) ?? { userId: member.user_id, identity: "none" as const },
    }))
    .sort((a, b) => b.powerLevel - a.powerLevel || a.name.localeCompare(b.name));
}

/** Room version 12 gives creators more power than any number says. */
function powerLevels(rooms: RoomStore, roomId: string): (userId: string) => number {
  const content: Json = rooms.state(roomId, "m.room.power_levels")?.content ?? {};
  const users = object(content["users"]) ?? {};
  const fallback = integer(content["users_default"]) ?? 0;
  const create = rooms.state(roomId, "m.room.create");
  const version = Number(create?.content["room_version"] ?? 1);
  const creators =
    version >= 12 ? new Set([create?.sender, ...texts(list(create?.content["additional_creators"]))]) : new Set();
  return (userId) => (creators.has(userId) ? Number.MAX_SAFE_INTEGER : (integer(users[userId]) ?? fallback));
}

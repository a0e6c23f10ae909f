import type { Handlers } from "../../../../preload/contract/index.ts";
import { asCoreError } from "../../errors.ts";
import { integer, object, text, texts, type Json } from "../../json.ts";
import { log } from "../../log.ts";
import type { Http } from "../../matrix/http.ts";
import type { RoomRow, RoomStore } from "../../storage/room-store.ts";
import { serverOf } from "./link.ts";
import type { RoomPort } from "./ports.ts";

export type RoomCommands = Handlers<"rooms.create" | "rooms.join" | "rooms.leave" | "rooms.invite" | "rooms.members">;
type Parts = {
  me: string;
  http: Http;
  rooms: RoomStore;
  commands: RoomCommands;
  changeAccountData: (type: string, next: (now: Json) => Json) => Promise<Json>;
  /** Something of one's own waits to be sent there. */
  hasQueued: (roomId: string) => boolean;
  /** Resolves after a sync that began after the call; at once where one was completed since the start. */
  synced: () => Promise<void>;
};
const mostServers = 4;

/** What the handshake does in rooms: each of it looks first, so that doing it twice leaves one result. */
export function createInviteRooms({
  me,
  http,
  rooms,
  commands,
  changeAccountData,
  hasQueued,
  synced,
}: Parts): RoomPort {
  const joinRule = (roomId: string) => text(rooms.state(roomId, "m.room.join_rules")?.content["join_rule"]);
  const isIn = (roomId: string) => rooms.room(roomId)?.membership === "join";
  /** Encrypted, by invitation alone: nobody reads along, and nobody comes by themselves. */
  const isPrivate = (room: RoomRow) => room.encryption !== null && joinRule(room.room_id) === "invite";
  const present = (roomId: string) =>
    rooms
      .members(roomId)
      .filter(({ membership }) => membership === "join" || membership === "invite")
      .map((member) => member.user_id);
  const serversOf = (roomId: string): string[] => {
    const joined = rooms.members(roomId).filter(({ membership }) => membership === "join");
    return [...new Set([me, ...joined.map((member) => member.user_id)].map(serverOf))].slice(0, mostServers);
  };

  const setDirect = async (userId: string, roomId: string): Promise<void> => {
    await changeAccountData("m.direct", (direct) => ({
      ...direct,
      [userId]: [...new Set([...texts(direct[userId]), roomId])],
    }));
    rooms.set(roomId, { direct_user: userId });
  };

  /**
   * Two people who scanned each other have each made a chat: the one of the smaller user id stays, the other is left where nobody wrote.
   * Both come to the same by themselves, whichever of them leaves first.
   */
  const tidy = async (userId: string): Promise<void> => {
    const chats = rooms
      .list(undefined)
      .filter((room) => room.membership === "join" && room.direct_user === userId)
      .map((room) => ({ room, who: present(room.room_id) }))
      .filter(({ who }) => who.every((one) => one === me || one === userId));
    const madeBy = (maker: string) =>
      chats.filter(({ room }) => rooms.state(room.room_id, "m.room.create")?.sender === maker);
    const [first, second] = me < userId ? [me, userId] : [userId, me];
    const [kept] = madeBy(first);
    const [spare] = madeBy(second);
    if (chats.length !== 2 || kept?.who.length !== 2 || spare === undefined) return;
    if (spare.room.latest_event === null && !hasQueued(spare.room.room_id))
      await commands["rooms.leave"]({ roomId: spare.room.room_id });
  };

  return {
    isIn,
    tidy,
    findChat: (userId) => {
      const chats = rooms
        .list(undefined)
        .filter((room) => room.membership === "join" && room.direct_user === userId && room.encryption !== null);
      const where = (membership: string) =>
        chats.find((room) => rooms.member(room.room_id, userId)?.membership === membership)?.room_id;
      return where("join") ?? where("invite");
    },
    adoptChat: async (userId) => {
      await synced();
      const found = rooms.list(undefined).find((room) => {
        if (room.membership !== "join" || room.encryption === null || room.name !== null) return false;
        if (room.direct_user !== null && room.direct_user !== userId) return false;
        if (rooms.state(room.room_id, "m.room.create")?.sender !== me || joinRule(room.room_id) !== "invite")
          return false;
        const who = present(room.room_id);
        return who.length === 2 && who.includes(me) && who.includes(userId);
      });
      if (found === undefined) return undefined;
      log.info("a chat that an interrupted try had made was found");
      await setDirect(userId, found.room_id);
      return found.room_id;
    },
    createChat: async (userId) => (await commands["rooms.create"]({ kind: "dm", invite: [userId] })).roomId,

    enterChat: async (roomId, userId, entering, joining) => {
      const room = rooms.room(roomId);
      if (room === undefined || room.membership === "leave" || room.membership === "knock") return "not-yet";
      // a chat that we were in before is left as it is
      if (room.membership === "join" && !entering) return "in";
      if (room.membership === "invite") {
        if (room.inviter !== userId || !isPrivate(room)) return "refused";
        joining();
        try {
          await commands["rooms.join"]({ room: roomId });
        } catch (error) {
          // they left it, or took the invitation back
          if (["forbidden", "not-found"].includes(asCoreError(error).code)) return "refused";
          throw error;
        }
      }
      const members = await commands["rooms.members"]({ roomId });
      const inside = members.filter(({ membership }) => membership === "join" || membership === "invite");
      const alone = inside.every((member) => member.userId === me || member.userId === userId);
      const joined = rooms.room(roomId);
      if (joined !== undefined && alone && isPrivate(joined)) {
        await tidy(userId);
        return "in";
      }
      log.warn("a chat was left again: it was not what its invitation said");
      await commands["rooms.leave"]({ roomId });
      return "refused";
    },

    invite: async (roomId, userId) => {
      if (!isIn(roomId)) return { result: "gone", room: "", via: [] };
      await commands["rooms.members"]({ roomId });
      const membership = rooms.member(roomId, userId)?.membership;
      const named = { room: roomId, via: serversOf(roomId) };
      if (membership === "join") return { result: "already", ...named };
      if (membership === "invite") return { result: "ok", ...named };
      const refused = () =>
        ["knock", "knock_restricted"].includes(joinRule(roomId) ?? "")
          ? { result: "no_permission" as const, ...named }
          : { result: "no_permission" as const, room: "", via: [] };
      if (membership === "ban" || !mayInvite(rooms, roomId, me)) return refused();
      try {
        await commands["rooms.invite"]({ roomId, userId });
        return { result: "ok", ...named };
      } catch (error) {
        if (asCoreError(error).code === "forbidden") return refused();
        throw error;
      }
    },

    enterGroup: async (roomId, inviter, via) => {
      if (isIn(roomId)) return "in";
      const room = rooms.room(roomId);
      if (room?.membership !== "invite" || room.inviter !== inviter) return "not-yet";
      await commands["rooms.join"]({ room: roomId, via });
      return "in";
    },

    knock: async (roomId, via) => {
      if (isIn(roomId)) return "in";
      if (["knock", "invite"].includes(rooms.room(roomId)?.membership ?? "")) return "asked";
      const servers = via
        .map((server) => `server_name=${encodeURIComponent(server)}&via=${encodeURIComponent(server)}`)
        .join("&");
      try {
        const path = `/_matrix/client/v3/knock/${encodeURIComponent(roomId)}${servers === "" ? "" : `?${servers}`}`;
        await http.request("POST", path, { timeoutMs: 60_000, body: {} });
        return "asked";
      } catch (error) {
        if (["forbidden", "not-found", "bad-request", "unsupported"].includes(asCoreError(error).code))
          return "refused";
        throw error;
      }
    },
  };
}

/** Source: client-server API, "m.room.power_levels"; from room version 12 on a room's creators stand above all levels. */
export function mayInvite(rooms: Pick<RoomStore, "state">, roomId: string, userId: string): boolean {
  const create = rooms.state(roomId, "m.room.create");
  const version = Number(text(create?.content["room_version"]) ?? "1");
  const creators = [create?.sender, ...texts(create?.content["additional_creators"])];
  if (version >= 12 && creators.includes(userId)) return true;
  const levels = rooms.state(roomId, "m.room.power_levels")?.content;
  if (levels === undefined) return create?.sender === userId;
  const mine = integer(object(levels["users"])?.[userId]) ?? integer(levels["users_default"]) ?? 0;
  return mine >= (integer(levels["invite"]) ?? 0);
}

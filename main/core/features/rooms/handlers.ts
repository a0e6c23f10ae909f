import type { CoreCommandName, Handlers } from "../../../../preload/contract/index.ts";
import type { Room, roomsCommands, UserTrust } from "../../../../preload/contract/rooms.ts";
import { asCoreError, CoreError } from "../../errors.ts";
import { isObject, object, text, texts, type Json } from "../../json.ts";
import { log } from "../../log.ts";
import type { Http } from "../../matrix/http.ts";
import type { AccountStore } from "../../storage/account-store.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import { memberList } from "./room-list.ts";

type Names = Extract<keyof typeof roomsCommands, CoreCommandName>;
type Parts = {
  me: string;
  db: AccountDatabase;
  http: Http;
  rooms: RoomStore;
  account: AccountStore;
  list: (roomIds: string[] | undefined) => Room[];
  loadMembers: (roomId: string) => Promise<void>;
  /** Writes account data on the server and here. */
  changeAccountData: (type: string, next: (now: Json) => Json) => Promise<Json>;
  /** Around a request that invites somebody, and when they are known here as invited: earlier messages are shared with them. */
  history: {
    inviting: (roomId: string, userId: string, invite: () => Promise<unknown>) => Promise<void>;
    invited: () => void;
  };
  /** Resolves after a sync that began after the call. */
  syncNow: (timeoutMs: number) => Promise<number>;
  changed: (roomIds: string[]) => void;
  /** What is known of the identities of a room's members. */
  trustIn: (roomId: string) => Map<string, UserTrust>;
};

const encryption = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };
const syncsToArrive = 3;
const arrivalMs = 10_000;
const at = (roomId: string, rest: string) => `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}${rest}`;

export function createRoomsHandlers({
  me,
  db,
  http,
  rooms,
  account,
  list,
  loadMembers,
  changeAccountData,
  history,
  syncNow,
  changed,
  trustIn,
}: Parts): Handlers<Names> {
  /** The server's present state of a room that this device has just made or joined, so that nobody acts on less. */
  const learn = async (roomId: string): Promise<void> => {
    const state = await http.request("GET", at(roomId, "/state"));
    if (!Array.isArray(state))
      throw new CoreError("unreachable", {
        message: "The server's answer is no room state.",
        details: { kind: "bad-answer" },
      });
    db.transaction(() => {
      const number = account.nextSyncNumber();
      rooms.ensure(roomId, "join");
      for (const event of state as unknown[]) {
        const type = text(object(event)?.["type"]);
        const stateKey = text(object(event)?.["state_key"]);
        const content = object(object(event)?.["content"]);
        const sender = text(object(event)?.["sender"]);
        if (type !== undefined && stateKey !== undefined && content !== undefined && sender !== undefined)
          rooms.applyState(roomId, { type, state_key: stateKey, sender, content }, number);
      }
      const present = rooms.room(roomId);
      rooms.set(roomId, { members_known: 1, last_activity_ms: Math.max(present?.last_activity_ms ?? 0, Date.now()) });
    });
    changed([roomId]);
  };

  /** A room that was joined comes by sync, with its state and without its thousands of members; asking for its state is the second way. */
  const arrive = async (roomId: string): Promise<void> => {
    for (let tries = 0; tries < syncsToArrive; tries++) {
      await syncNow(arrivalMs).catch((error: unknown) => {
        log.info(`a sync after joining failed: ${asCoreError(error).code}`);
      });
      if (rooms.room(roomId)?.membership === "join") return;
    }
    await learn(roomId);
  };

  /** Direct chats are account data. Source: client-server API, "m.direct". */
  const addDirect = async (userId: string, roomId: string): Promise<void> => {
    const known = (direct: Json) => texts(direct[userId]);
    if (!known(account.accountData("m.direct") ?? {}).includes(roomId))
      await changeAccountData("m.direct", (direct) => ({
        ...direct,
        [userId]: [...new Set([...known(direct), roomId])],
      }));
    rooms.set(roomId, { direct_user: userId });
  };

  const present = (roomId: string) => {
    const room = rooms.room(roomId);
    if (room === undefined) throw new CoreError("not-found", { message: "No such room." });
    return room;
  };

  return {
    "rooms.list": ({ roomIds }) => list(roomIds),

    "rooms.create": async ({ kind, name, invite = [], encrypted = true, historyVisibility }) => {
      const invited = [...new Set(invite)];
      if (invited.includes(me))
        throw new CoreError("bad-request", { details: { path: "invite" }, message: "Nobody invites themselves." });
      if (kind === "dm" && invited.length !== 1)
        throw new CoreError("bad-request", {
          details: { path: "invite" },
          message: "A direct chat is with one person.",
        });
      const answer = object(
        await http.request("POST", "/_matrix/client/v3/createRoom", {
          timeoutMs: 60_000,
          body: {
            preset: kind === "dm" ? "trusted_private_chat" : "private_chat",
            visibility: "private",
            is_direct: kind === "dm",
            invite: invited,
            ...(name === undefined || name === "" ? {} : { name }),
            initial_state: [
              ...(encrypted ? [encryption] : []),
              ...(historyVisibility === undefined
                ? []
                : [
                    {
                      type: "m.room.history_visibility",
                      state_key: "",
                      content: { history_visibility: historyVisibility },
                    },
                  ]),
            ],
          },
        }),
      );
      const roomId = text(answer?.["room_id"]);
      if (roomId === undefined)
        throw new CoreError("unreachable", {
          message: "The server did not name the room.",
          details: { kind: "bad-answer" },
        });
      // what was asked for holds: a server that keeps quiet about it would get the messages in clear
      if (encrypted)
        db.transaction(() => {
          rooms.ensure(roomId, "join");
          rooms.applyState(roomId, { ...encryption, sender: me }, account.nextSyncNumber());
        });
      await learn(roomId);
      const other = invited[0];
      if (kind === "dm" && other !== undefined) await addDirect(other, roomId);
      changed([roomId]);
      return { roomId };
    },

    "rooms.join": async ({ room, via = [] }) => {
      const invitation = rooms.room(room);
      const direct = invitation?.membership === "invite" ? invitation.direct_user : null;
      const servers = via
        .map((server) => `server_name=${encodeURIComponent(server)}&via=${encodeURIComponent(server)}`)
        .join("&");
      const answer = object(
        await http.request(
          "POST",
          `/_matrix/client/v3/join/${encodeURIComponent(room)}${servers === "" ? "" : `?${servers}`}`,
          { timeoutMs: 120_000, body: {} },
        ),
      );
      const roomId = text(answer?.["room_id"]);
      if (roomId === undefined)
        throw new CoreError("unreachable", {
          message: "The server did not name the room.",
          details: { kind: "bad-answer" },
        });
      await arrive(roomId);
      if (direct !== null) await addDirect(direct, roomId);
      changed([roomId]);
      return { roomId };
    },

    "rooms.leave": async ({ roomId }) => {
      present(roomId);
      await http.request("POST", at(roomId, "/leave"), { body: {} });
      rooms.set(roomId, { membership: "leave" });
      changed([roomId]);
      return {};
    },

    "rooms.invite": async ({ roomId, userId }) => {
      present(roomId);
      await history.inviting(roomId, userId, () =>
        http.request("POST", at(roomId, "/invite"), { body: { user_id: userId } }),
      );
      // known here at once, so that a message sent right after reaches them
      rooms.setMember(roomId, userId, { membership: "invite" }, account.nextSyncNumber());
      history.invited();
      changed([roomId]);
      return {};
    },

    "rooms.remove": async ({ roomId, userId, reason, ban = false }) => {
      present(roomId);
      await http.request("POST", at(roomId, ban ? "/ban" : "/kick"), {
        body: { user_id: userId, ...(reason === undefined ? {} : { reason }) },
      });
      db.transaction(() => {
        rooms.setMember(roomId, userId, { membership: ban ? "ban" : "leave" }, account.nextSyncNumber());
        rooms.set(roomId, { rotate_before_send: 1 });
      });
      changed([roomId]);
      return {};
    },

    "rooms.members": async ({ roomId }) => {
      if (present(roomId).membership === "join") await loadMembers(roomId);
      return memberList(rooms, roomId, trustIn(roomId));
    },

    "rooms.lastOpened": ({ roomId }) => {
      if (roomId !== undefined) account.setMeta("last_room", roomId);
      const last = account.meta("last_room");
      return last === undefined ? {} : { roomId: last };
    },

    "people.ignore": async ({ userId, ignored }) => {
      if (userId === me) throw new CoreError("bad-request", { details: { path: "userId" } });
      await changeAccountData("m.ignored_user_list", (now) => {
        const others = Object.entries(ignoredUsers(now)).filter(([other]) => other !== userId);
        return { ...now, ignored_users: Object.fromEntries(ignored ? [...others, [userId, {}]] : others) };
      });
      return {};
    },

    "people.ignored": () => Object.keys(ignoredUsers(account.accountData("m.ignored_user_list"))),
  };
}

/** Source: client-server API, "Ignoring Users". */
const ignoredUsers = (content: Json | undefined): Json => {
  const users = content?.["ignored_users"];
  return isObject(users) ? users : {};
};

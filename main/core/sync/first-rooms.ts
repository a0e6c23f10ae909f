import { integer, list, object, text } from "../json.ts";
import type { Http } from "../matrix/http.ts";
import type { AccountStore } from "../storage/account-store.ts";
import type { AccountDatabase } from "../storage/database.ts";
import type { RoomStore } from "../storage/room-store.ts";
import { stateEvent } from "./batch.ts";

type Parts = { db: AccountDatabase; http: Http; account: AccountStore; rooms: RoomStore; me: string };

const newestRooms = 20;
const wantedState = [
  ["m.room.create", ""],
  ["m.room.name", ""],
  ["m.room.canonical_alias", ""],
  ["m.room.encryption", ""],
  ["m.room.history_visibility", ""],
  ["m.room.member", "$ME"],
];

/**
 * The newest rooms of an account that signs in for the first time, while the first answer of sync v2 is still being made
 * (seconds a hundred rooms). Names and times alone, by simplified sliding sync (MSC4186) without extensions, once; what v2
 * brings afterwards replaces it. Returns the rooms written; none where v2 was quicker.
 */
export async function fetchFirstRooms({ db, http, account, rooms, me }: Parts): Promise<string[]> {
  const answer = object(
    await http.request("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", {
      query: { timeout: 0 },
      body: {
        conn_id: "first",
        lists: { newest: { ranges: [[0, newestRooms - 1]], timeline_limit: 1, required_state: wantedState } },
      },
    }),
  );
  const found = Object.entries(object(answer?.["rooms"]) ?? {});
  return db.transaction(() => {
    if (account.syncToken() !== undefined) return [];
    const written: string[] = [];
    for (const [roomId, value] of found) {
      const room = object(value);
      if (room === undefined || !/^!\S+$/.test(roomId)) continue;
      const invited = list(room["invite_state"] ?? room["stripped_state"]);
      const state = (invited.length > 0 ? invited : list(room["required_state"]))
        .map(stateEvent)
        .filter((event) => event !== undefined);
      const own = state.find((event) => event.type === "m.room.member" && event.state_key === me)?.content[
        "membership"
      ];
      if (invited.length === 0 && own !== "join") continue;
      if (rooms.room(roomId) !== undefined) continue;
      rooms.ensure(roomId, invited.length > 0 ? "invite" : "join");
      for (const event of state) rooms.applyState(roomId, event, 0);
      const heroes = list(room["heroes"]).flatMap((hero) => {
        const userId = text(object(hero)?.["user_id"]);
        if (userId === undefined) return [];
        rooms.addPastMember(roomId, userId, { membership: "join", displayname: object(hero)?.["displayname"] });
        return [userId];
      });
      const newest = list(room["timeline"]).map((event) => integer(object(event)?.["origin_server_ts"]) ?? 0);
      rooms.set(roomId, {
        preview: 1,
        heroes: heroes.length === 0 ? null : JSON.stringify(heroes),
        joined_count: integer(room["joined_count"]) ?? null,
        invited_count: integer(room["invited_count"]) ?? null,
        last_activity_ms: Math.max(0, Math.min(Math.max(...newest, 0), Date.now())),
      });
      written.push(roomId);
    }
    return written;
  });
}

import { CoreError } from "../errors.ts";
import { integer, list, object, text, type Json } from "../json.ts";
import type { Http } from "../matrix/http.ts";
import type { AccountStore } from "../storage/account-store.ts";
import type { AccountDatabase } from "../storage/database.ts";
import type { RoomStore } from "../storage/room-store.ts";

type Parts = { db: AccountDatabase; http: Http; rooms: RoomStore; account: AccountStore };

/**
 * Loads a room's whole member list where it is not known, as of the sync that made it unknown: a change that came later
 * stays. Source: client-server API, `/rooms/{roomId}/members`, `at`.
 */
export function createMemberLoader({ db, http, rooms, account }: Parts) {
  const running = new Map<string, Promise<void>>();

  const load = async (roomId: string): Promise<void> => {
    const stored = rooms.room(roomId)?.members_at;
    const marker = object(stored == null ? undefined : (JSON.parse(stored) as unknown));
    const token = text(marker?.["token"]) ?? account.syncToken();
    const asOf = integer(marker?.["number"]) ?? account.syncNumber();
    const ask = (at: string | undefined) =>
      http.request("GET", `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/members`, {
        query: { at, not_membership: "leave" },
        timeoutMs: 60_000,
      });
    const answer = await ask(token).catch((error: unknown) => {
      // a server that does not take this token answers for the present instead
      if (error instanceof CoreError && error.code === "bad-request") return ask(undefined);
      throw error;
    });
    const chunk = object(answer)?.["chunk"];
    if (!Array.isArray(chunk))
      throw new CoreError("unreachable", {
        message: "The server's answer is no member list.",
        details: { kind: "bad-answer" },
      });
    const members = list(chunk).flatMap((value): { userId: string; content: Json }[] => {
      const event = object(value);
      const userId = text(event?.["state_key"]);
      const content = object(event?.["content"]);
      return userId === undefined || content === undefined ? [] : [{ userId, content }];
    });
    db.transaction(() => {
      // a sync that came in between may have opened another gap
      if (rooms.room(roomId)?.members_at !== stored) return;
      const changes = rooms.replaceMembers(roomId, members, asOf);
      rooms.set(roomId, {
        members_known: 1,
        members_at: null,
        ...(changes.some((c) => c.change === "gone") ? { rotate_before_send: 1 } : {}),
      });
    });
  };

  return async (roomId: string): Promise<void> => {
    for (let tries = 0; tries < 3 && rooms.room(roomId)?.members_known === 0; tries++) {
      const current = running.get(roomId) ?? load(roomId).finally(() => running.delete(roomId));
      running.set(roomId, current);
      await current;
    }
  };
}

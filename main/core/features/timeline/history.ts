import { CoreError } from "../../errors.ts";
import { list, object, text } from "../../json.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import type { RoomEvent, Touched } from "../../room-event.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { TimelineStore } from "../../storage/timeline-store.ts";
import type { Ingest } from "./ingest.ts";

export type History = ReturnType<typeof createHistory>;
type Parts = {
  db: AccountDatabase;
  http: Http;
  rooms: RoomStore;
  timeline: TimelineStore;
  ingest: Ingest;
  /** Resolves once crypto has started. */
  crypto: () => Promise<Crypto>;
  readEvent: (value: unknown) => RoomEvent | undefined;
};

const eventsARequest = 100;
const filter = JSON.stringify({ lazy_load_members: true });

/** Fills the hole before a segment, one request at a time. Source: client-server API, "Syncing", `limited`; `/messages`. */
export function createHistory({ db, http, rooms, timeline, ingest, crypto, readEvent }: Parts) {
  const running = new Map<string, Promise<Touched>>();

  const fetchBefore = async (roomId: string, segment: number): Promise<Touched> => {
    const token = timeline.segment(roomId, segment)?.gap_token;
    if (token == null) return { events: new Set() };
    const answer = object(
      await http.request("GET", `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages`, {
        query: { dir: "b", from: token, limit: eventsARequest, filter },
      }),
    );
    if (answer === undefined || !Array.isArray(answer["chunk"]))
      throw new CoreError("unreachable", {
        message: "The server's answer is no page of messages.",
        details: { kind: "bad-answer" },
      });
    const touched: Touched = { events: new Set() };
    const numbers = db.transaction(() => {
      // another fill of the same hole was quicker
      if (timeline.segment(roomId, segment)?.gap_token !== token) return [];
      for (const value of list(answer["state"])) {
        const event = readEvent(value);
        if (event?.type === "m.room.member" && event.state_key !== undefined)
          rooms.addPastMember(roomId, event.state_key, event.content);
      }
      const added: number[] = [];
      let position = timeline.firstPosition(roomId, segment);
      let met = false;
      for (const value of list(answer["chunk"])) {
        const event = readEvent(value);
        if (event === undefined) continue;
        const known = timeline.event(event.event_id);
        if (known !== undefined && known.room_id === roomId && known.segment < segment) {
          met = true;
          // what is older than all of that segment lies in the hole before it: its place is there, not here
          if (known.position === timeline.firstPosition(roomId, known.segment)) break;
        }
        if (known !== undefined) continue;
        const number = ingest.store(roomId, event, { segment, position: --position }, touched);
        if (number !== undefined) added.push(number);
      }
      const end = text(answer["end"]);
      const atStart = end === undefined || end === token;
      timeline.setGap(roomId, segment, met || atStart ? null : end, atStart);
      return added;
    });
    const encrypted = numbers
      .flatMap((number) => timeline.eventByNumber(number) ?? [])
      .filter((row) => row.undecryptable !== null);
    if (encrypted.length > 0)
      for (const id of (await ingest.decrypt(await crypto(), encrypted)).events) touched.events.add(id);
    return touched;
  };

  return {
    /** One page; those who ask for the same hole at once share it. */
    fillOnce: (roomId: string, segment: number): Promise<Touched> => {
      const key = `${roomId} ${segment}`;
      const current = running.get(key);
      if (current !== undefined) return current;
      const fill = fetchBefore(roomId, segment).finally(() => running.delete(key));
      running.set(key, fill);
      return fill;
    },
  };
}

import { asCoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Http } from "../../matrix/http.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { Place, TimelineStore } from "../../storage/timeline-store.ts";

type Parts = {
  db: AccountDatabase;
  http: Http;
  rooms: RoomStore;
  timeline: TimelineStore;
  me: string;
  changed: (roomId: string) => void;
};

/** The own read position: moved at once, told to the server when it can be told. Source: client-server API, "Read and unread markers". */
export function createReadMarkers({ db, http, rooms, timeline, me, changed }: Parts) {
  const telling = new Set<string>();

  const tell = async (roomId: string): Promise<void> => {
    const eventId = rooms.room(roomId)?.pending_receipt;
    if (eventId == null || telling.has(roomId)) return;
    telling.add(roomId);
    try {
      await http.request("POST", `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/read_markers`, {
        body: { "m.fully_read": eventId, "m.read": eventId },
      });
      if (rooms.room(roomId)?.pending_receipt === eventId) rooms.set(roomId, { pending_receipt: null });
    } catch (error) {
      const known = asCoreError(error);
      // refused for good (we left the room): asking again would not help
      if (!known.retryable && known.code !== "not-signed-in" && known.code !== "cancelled")
        rooms.set(roomId, { pending_receipt: null });
      log.info(`a read marker was not sent: ${known.code}`);
    } finally {
      telling.delete(roomId);
    }
  };

  return {
    mark: (roomId: string, eventId: string, place: Place): void => {
      const room = rooms.room(roomId);
      if (room === undefined) return;
      const ahead =
        place.segment > room.read_segment ||
        (place.segment === room.read_segment && place.position > room.read_position);
      if (!ahead) return;
      db.transaction(() => {
        rooms.set(roomId, {
          read_segment: place.segment,
          read_position: place.position,
          pending_receipt: eventId,
          server_unread: 0,
          server_mentions: 0,
        });
        timeline.setReceipt(roomId, me, eventId, Date.now());
      });
      changed(roomId);
      void tell(roomId);
    },
    /** Tells what could not be told before. */
    flush: (): void => {
      for (const row of db.all<{ room_id: string }>("select room_id from rooms where pending_receipt is not null"))
        void tell(row.room_id);
    },
  };
}

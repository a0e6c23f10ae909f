import { CoreError } from "../errors.ts";
import { isObject, type Json } from "../json.ts";
import type { Crypto, HistoryVisibility, RoomEncryption, Sharing } from "../matrix/crypto.ts";
import type { RoomRow, RoomStore } from "../storage/room-store.ts";

type Parts = {
  rooms: RoomStore;
  loadMembers: (roomId: string) => Promise<void>;
  crypto: () => Promise<Crypto>;
  /** Whom the room's key goes to among its members. */
  sharing: (roomId: string) => Promise<Sharing>;
};

/** Everything of a room that its encryption depends on, read from the rows at the moment of sending. */
export function createEncrypt({ rooms, loadMembers, crypto, sharing }: Parts) {
  return async (roomId: string, type: string, content: Json): Promise<Json> => {
    const core = await crypto();
    await loadMembers(roomId);
    const room = rooms.room(roomId);
    // a message queued for an encrypted room whose encryption is not known here is not sent in clear, nor guessed at
    if (room?.encryption == null)
      throw new CoreError("unsupported", { message: "This room's encryption is not known here." });
    if (room.rotate_before_send === 1) {
      await core.rotate(roomId);
      rooms.set(roomId, { rotate_before_send: 0 });
    }
    return core.encrypt({
      roomId,
      members: readersOf(rooms, roomId),
      encryption: encryptionFrom(room.encryption),
      historyVisibility: visibilityOf(room),
      sharing: await sharing(roomId),
      type,
      content,
    });
  };
}

/** Who is to read the next message, by membership alone: the invited too, unless history begins for each at their joining. */
export function readersOf(rooms: RoomStore, roomId: string): string[] {
  const invitedToo = visibilityOf(rooms.room(roomId)) !== "joined";
  return rooms
    .members(roomId)
    .filter((member) => member.membership === "join" || (member.membership === "invite" && invitedToo))
    .map((member) => member.user_id);
}

const visibilityOf = (room: RoomRow | undefined) => (room?.history_visibility ?? "shared") as HistoryVisibility;

function encryptionFrom(stored: string): RoomEncryption {
  const value = JSON.parse(stored) as unknown;
  return isObject(value) && typeof value["algorithm"] === "string"
    ? (value as RoomEncryption)
    : { algorithm: "unknown" };
}

import { CoreError } from "../errors.ts";
import { isObject, type Json } from "../json.ts";
import type { Crypto, HistoryVisibility, RoomEncryption } from "../matrix/crypto.ts";
import type { RoomStore } from "../storage/room-store.ts";

type Parts = { rooms: RoomStore; loadMembers: (roomId: string) => Promise<void>; crypto: () => Promise<Crypto> };

/** Everything of a room that its encryption depends on, read from the rows at the moment of sending. */
export function createEncrypt({ rooms, loadMembers, crypto }: Parts) {
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
    const visibility = (room.history_visibility ?? "shared") as HistoryVisibility;
    const members = rooms
      .members(roomId)
      .filter((member) => member.membership === "join" || (member.membership === "invite" && visibility !== "joined"))
      .map((member) => member.user_id);
    return core.encrypt({
      roomId,
      members,
      encryption: encryptionFrom(room.encryption),
      historyVisibility: visibility,
      type,
      content,
    });
  };
}

function encryptionFrom(stored: string): RoomEncryption {
  const value = JSON.parse(stored) as unknown;
  return isObject(value) && typeof value["algorithm"] === "string"
    ? (value as RoomEncryption)
    : { algorithm: "unknown" };
}

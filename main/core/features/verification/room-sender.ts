import type { Device } from "../../../../preload/contract/devices.ts";
import type { Recipients, WithheldReason } from "../../../../preload/contract/trust.ts";
import { CoreError } from "../../errors.ts";
import { object, text, type Json } from "../../json.ts";
import type { Http } from "../../matrix/http.ts";
import type { RoomStore } from "../../storage/room-store.ts";

type Parts = {
  http: Http;
  rooms: RoomStore;
  /** Resolves when a sync has completed lately, so that nobody who left meanwhile still gets a key. */
  fresh: () => Promise<void>;
  encrypt: (roomId: string, type: string, content: Json) => Promise<Json>;
  /** Who could read the room's next message, as its policy stands. */
  recipients: (roomId: string) => Promise<Recipients> | Recipients;
};
type To = { roomId: string; userId: string; deviceId?: string | undefined };
export type SendToRoom = (to: To, message: { type: string; content: Json; transactionId: string }) => Promise<string>;

const byPolicy = new Set<WithheldReason>(["unsigned-device", "unverified-user", "identity-changed"]);

/**
 * Puts a verification event into a room, encrypted where the room is. There is one exception: whom the policy shuts out until they
 * are verified could not read the verification itself. Then it goes in clear, as other clients send it always: it holds nothing
 * secret, its protection is its own (client-server API, "Device verification").
 */
export function createRoomSender({ http, rooms, fresh, encrypt, recipients }: Parts): SendToRoom {
  /** The device of the flow, or as long as none has answered some device of the user. */
  const isShutOut = async ({ roomId, userId, deviceId }: To): Promise<boolean> => {
    const { receives, withheld } = await recipients(roomId);
    const isOne = (device: Device) =>
      device.userId === userId && (deviceId === undefined || device.deviceId === deviceId);
    return !receives.some(isOne) && withheld.some(({ device, reason }) => isOne(device) && byPolicy.has(reason));
  };

  const wireOf = async (to: To, type: string, content: Json) => {
    const { roomId } = to;
    if (rooms.room(roomId)?.encryption == null) return { type, content };
    await fresh();
    if (await isShutOut(to)) return { type, content };
    try {
      return { type: "m.room.encrypted", content: await encrypt(roomId, type, content) };
    } catch (error) {
      const shutOut =
        error instanceof CoreError && (error.code === "identity-changed" || error.code === "recipients-blocked");
      if (shutOut) return { type, content };
      throw error;
    }
  };

  return async (to, { type, content, transactionId }) => {
    const wire = await wireOf(to, type, content);
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(to.roomId)}/send/${encodeURIComponent(wire.type)}/${encodeURIComponent(transactionId)}`;
    const eventId = text(object(await http.request("PUT", path, { body: wire.content }))?.["event_id"]);
    if (eventId?.startsWith("$") !== true)
      throw new CoreError("unreachable", {
        message: "The server did not name the event.",
        details: { kind: "bad-answer" },
      });
    return eventId;
  };
}

import type { SendTo, TrustPolicy } from "../../../../preload/contract/trust.ts";
import { CoreError } from "../../errors.ts";
import type { Identity } from "../../matrix/user-identity.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { TrustStore } from "../../storage/trust-store.ts";

type Parts = { me: string; store: TrustStore; rooms: RoomStore; nowMs: () => number };
export type Policy = ReturnType<typeof createPolicy>;

const byDefault: SendTo = "signed-devices";
const strictness: Record<SendTo, number> = { everyone: 0, "signed-devices": 1, "verified-users": 2 };

/** Whose devices get keys: one choice for all rooms, and exceptions. */
export function createPolicy({ me, store, rooms, nowMs }: Parts) {
  const chosen = (roomId?: string): SendTo =>
    (roomId === undefined ? undefined : store.sendTo(roomId)) ?? store.sendTo() ?? byDefault;

  /**
   * What is really done. Until this device has once been part of an identity of its own there is nothing to measure others by, and
   * everybody gets keys. Once it has been, that stays: an identity that a server swapped must not loosen anything.
   */
  const effective = (own: Identity | undefined, roomId?: string): SendTo =>
    own === undefined || !(own.verified || own.violated) ? "everyone" : chosen(roomId);

  return {
    chosen,
    effective,
    read: (own: Identity | undefined, roomId?: string): TrustPolicy => {
      const override = roomId === undefined ? undefined : store.sendTo(roomId);
      return {
        sendTo: store.sendTo() ?? byDefault,
        ...(override === undefined ? {} : { roomOverride: override }),
        effective: effective(own, roomId),
      };
    },
    /** A stricter choice takes hold at the next message, and voids what was encrypted ahead. */
    choose: (sendTo: SendTo | null, roomId?: string): void => {
      if (roomId !== undefined && rooms.room(roomId) === undefined)
        throw new CoreError("not-found", { message: "No such room." });
      const before = chosen(roomId);
      store.transaction(() => {
        if (sendTo === null) store.clearSendTo(roomId ?? "");
        else store.setSendTo(roomId ?? "", sendTo);
        store.append(nowMs(), "policy", me, [sendTo ?? "as-everywhere", roomId ?? []].flat().join(" "));
        if (strictness[chosen(roomId)] <= strictness[before]) return;
        if (roomId === undefined) store.rotateRooms();
        else store.rotateRoom(roomId);
      });
    },
  };
}

import {
  CollectStrategy,
  RoomId,
  UserId,
  type EncryptionSettings,
  type ToDeviceRequest,
} from "@matrix-org/matrix-sdk-crypto-wasm";
import { CoreError } from "../errors.ts";
import { object } from "../json.ts";
import { log } from "../log.ts";
import { isUser, type Crypto } from "./crypto.ts";
import type { DeviceList, Mark } from "./device-list.ts";

/**
 * How Rust crypto picks a session's recipients. `all`: every device that is not marked as blocked. `signed`: those that their owner
 * signed, whatever their mark. `marked`: those marked as allowed, and those of verified people.
 */
export type Strategy = "all" | "signed" | "marked";
export type Decision = {
  strategy: Strategy;
  /** Marks to set before the sharing, since they differ from what this room wants. */
  marks: { userId: string; deviceId: string; mark: Mark }[];
  /** Whether this device may have the key. */
  allows: (userId: string, deviceId: string) => boolean;
};
const tries = 3;
const strategies = {
  all: () => CollectStrategy.allDevices(),
  signed: () => CollectStrategy.identityBasedStrategy(),
  marked: () => CollectStrategy.onlyTrustedDevices(),
} as const;

/**
 * The one adapter around the machine's sharing. Its identity-based strategy passes over marks, so a signed device that is blocked
 * would get the key: where one is among the members, the marks decide alone. What comes out is held against the decision once more
 * before it leaves: Rust crypto may have learned of a change between the decision and the sharing.
 */
export function createSharing(crypto: Crypto, devices: DeviceList) {
  const { machine } = crypto.inner;
  return async (
    settings: EncryptionSettings,
    room: { roomId: string; members: string[]; decide: () => Promise<Decision> },
  ): Promise<ToDeviceRequest[]> => {
    for (let attempt = 0; attempt < tries; attempt++) {
      const decision = await room.decide();
      for (const { userId, deviceId, mark } of decision.marks) await devices.mark(userId, deviceId, mark);
      settings.sharingStrategy = strategies[decision.strategy]();
      const users = room.members.filter(isUser).map((userId) => new UserId(userId));
      const requests = await machine
        .shareRoomKey(new RoomId(room.roomId), users, settings)
        .catch((error: unknown): never => {
          throw refusal(error);
        });
      const recipients = requests.flatMap(recipientsOf);
      // the marked way believes marks, which were set from what was known before: so that is looked at anew
      if (decision.strategy === "marked") devices.forget([...new Set(recipients.map(({ userId }) => userId))]);
      const { allows } = decision.strategy === "marked" && recipients.length > 0 ? await room.decide() : decision;
      if (recipients.every(({ userId, deviceId }) => allows(userId, deviceId))) return requests;
      log.warn("a room key was made anew, since its recipients changed while it was shared");
      devices.forget(room.members);
      await machine.invalidateGroupSession(new RoomId(room.roomId));
    }
    throw new CoreError("recipients-blocked", {
      message: "Whom this room's key goes to could not be settled.",
      details: { kind: "unsettled" },
    });
  };
}

/** Those who get the key itself; a notice that it is withheld is none. */
function recipientsOf(request: ToDeviceRequest): { userId: string; deviceId: string }[] {
  if (request.event_type !== "m.room.encrypted") return [];
  const messages = object(object(JSON.parse(request.body))?.["messages"]) ?? {};
  return Object.entries(messages).flatMap(([userId, devices]) =>
    Object.keys(object(devices) ?? {}).map((deviceId) => ({ userId, deviceId })),
  );
}

/** The binding tells these by their sentence alone; they come where something changed after our own look at it. */
function refusal(error: unknown): unknown {
  if (!(error instanceof Error) || !error.message.includes("collecting the recipient devices")) return error;
  const identity = /identit|cross-signing|unverified device/i.test(error.message);
  return new CoreError(identity ? "identity-changed" : "recipients-blocked", { cause: error });
}

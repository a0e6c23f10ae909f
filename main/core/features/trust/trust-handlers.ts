import type { Device } from "../../../../preload/contract/devices.ts";
import type { Emit, Handlers } from "../../../../preload/contract/index.ts";
import type { Feature } from "../../feature.ts";
import { object, text } from "../../json.ts";
import { log } from "../../log.ts";
import type { Crypto, Sharing } from "../../matrix/crypto.ts";
import { createDeviceList, type DeviceList, type KnownDevice } from "../../matrix/device-list.ts";
import type { OlmSessions } from "../../storage/olm-sessions.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { TrustStore } from "../../storage/trust-store.ts";
import { createPins } from "./pins.ts";
import { createPolicy } from "./policy.ts";
import { createRecipients } from "./recipients.ts";
import { createShields } from "./shields.ts";

type Names =
  | "trust.user"
  | "trust.acceptIdentity"
  | "trust.withdrawVerification"
  | "trust.policy"
  | "trust.recipients"
  | "trust.simulate"
  | "trust.ledger";
type Parts = {
  me: string;
  deviceId: string;
  store: TrustStore;
  rooms: RoomStore;
  crypto: () => Promise<Crypto>;
  olmSessions: OlmSessions;
  loadMembers: (roomId: string) => Promise<void>;
  membersOf: (roomId: string) => string[];
  shown: (device: KnownDevice, ownerVerified: boolean) => Device;
  emit: Emit;
  nowMs: () => number;
};

const ledgerPage = 200;

/** Whom to trust: pins, policy, recipients, ledger. Setting up one's own identity is beside it, in set-up.ts and its neighbours. */
export function createTrust(parts: Parts) {
  const { me, store, rooms, crypto, emit, nowMs } = parts;
  const current = parts.deviceId;
  type Running = { devices: DeviceList; recipients: ReturnType<typeof createRecipients> };
  const running = new WeakMap<Crypto, Running>();
  const now = async (): Promise<Running> => {
    const core = await crypto();
    const found = running.get(core) ?? begin(core);
    return found;
  };
  const devices = async () => (await now()).devices;
  const pins = createPins({
    me,
    current,
    store,
    devices,
    learn: async (userIds) => (await crypto()).learn(userIds),
    emit,
    nowMs,
  });
  const policy = createPolicy({ me, store, rooms, nowMs });
  const shields = createShields({ store, pins });

  const begin = (core: Crypto): Running => {
    const list = createDeviceList(core);
    const made = {
      devices: list,
      recipients: createRecipients({ ...parts, current, crypto: core, devices: list, pins, policy }),
    };
    running.set(core, made);
    core.onDevices(pins.look);
    core.onIdentities(pins.look);
    // what changed while nobody listened, for those of whom it matters most
    pins.look([me, ...store.unsettled().map((pin) => pin.user_id)]);
    return made;
  };

  const feature: Feature = {
    cryptoStarted: (core) => {
      if (!running.has(core)) begin(core);
    },
    stop: pins.stop,
  };

  const handlers: Handlers<Names> = {
    "trust.user": ({ userId }) => pins.user(userId),
    "trust.acceptIdentity": ({ userId, fingerprint }) => pins.accept(userId, fingerprint),
    "trust.withdrawVerification": ({ userId }) => pins.withdraw(userId),
    "trust.policy": async ({ sendTo, roomId }) => {
      const { identity } = await (await devices()).user(me);
      if (sendTo !== undefined) {
        policy.choose(sendTo, roomId);
        emit("trust.changed", { own: true });
      }
      return policy.read(identity, roomId);
    },
    "trust.recipients": async ({ roomId }) => (await now()).recipients.recipients(roomId),
    "trust.simulate": async ({ sendTo, roomId }) => (await now()).recipients.simulate(sendTo, roomId),
    "trust.ledger": ({ userId, limit = ledgerPage }) => store.ledger(userId, limit),
  };

  return {
    feature,
    handlers,
    pins,
    shields,
    devices,
    /** Whom the room's key goes to. */
    sharing: async (roomId: string): Promise<Sharing> => (await now()).recipients.sharingIn(roomId),
    /** A verification that ended well counts anew, also where an earlier one of the same identity was taken back. */
    heard: (event: string, payload: unknown): void => {
      const flow = event === "verification.changed" ? object(object(payload)?.["flow"]) : undefined;
      const userId = text(flow?.["userId"]);
      if (userId === undefined || userId === me || object(flow?.["state"])?.["at"] !== "done") return;
      pins.verified(userId).catch((error: unknown) => {
        log.warn("a verification was not taken note of", error);
      });
    },
    /** Nothing is sent to a room with this person until it is taken back, over restarts too; `undefined` takes it back. */
    setSendBlock: (userId: string, reason: string | undefined): void => {
      store.transaction(() => {
        if (!store.setSendBlock(userId, reason, nowMs())) return;
        store.append(nowMs(), reason === undefined ? "send-unblocked" : "send-blocked", userId, reason ?? "");
        store.rotateRooms([userId]);
      });
      emit("trust.changed", { userIds: [userId] });
    },
  };
}

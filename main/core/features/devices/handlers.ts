import type { Device, devicesCommands } from "../../../../preload/contract/devices.ts";
import type { Emit, Handlers } from "../../../../preload/contract/index.ts";
import { CoreError, toFailure } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { DeviceList, KnownUser } from "../../matrix/device-list.ts";
import type { Http } from "../../matrix/http.ts";
import type { TrustStore } from "../../storage/trust-store.ts";
import type { DeviceFacts } from "./device-facts.ts";
import { signOutDevices } from "./sign-out.ts";

type Parts = {
  me: string;
  deviceId: string;
  http: Http;
  store: TrustStore;
  facts: DeviceFacts;
  crypto: () => Promise<Crypto>;
  devices: () => Promise<DeviceList>;
  /** Whether their owner's identity is verified here. */
  isVerified: (user: KnownUser) => boolean;
  emit: Emit;
  nowMs: () => number;
};

/** Devices: one's own to look after, others' to look at, and any to block. */
export function createDevicesHandlers(parts: Parts): Handlers<keyof typeof devicesCommands> {
  const { me, http, store, facts, crypto, devices, emit, nowMs } = parts;

  const listed = async (): Promise<string[]> =>
    facts.takeList(await http.request("GET", "/_matrix/client/v3/devices", { timeoutMs: 20_000 }));

  /** As the server has their keys now; as they are known here where it cannot be asked. */
  const learned = async (userId: string): Promise<KnownUser> => {
    const isKnown = await (await crypto()).learn([userId]).catch((error: unknown) => {
      log.info(`a person's devices could not be asked for: ${toFailure(error).code}`);
      return false;
    });
    const user = await (await devices()).user(userId);
    if (!isKnown && user.devices.length === 0)
      throw new CoreError("unreachable", { message: "Their devices could not be asked for." });
    return user;
  };

  const own = async (): Promise<Device[]> => {
    const ids = await listed().catch((error: unknown) => {
      const { code } = toFailure(error);
      if (code === "not-signed-in") throw error;
      log.info(`the server's list of devices was not had: ${code}`);
      return undefined;
    });
    const user = await learned(me);
    const withKeys = new Set(user.devices.map((device) => device.deviceId));
    const verified = parts.isVerified(user);
    return [
      // keys may outlive their device for a moment: the server's list says which are signed in, dehydrated ones aside
      ...user.devices
        .filter((device) => ids === undefined || device.dehydrated || ids.includes(device.deviceId))
        .map((device) => facts.shown(device, verified)),
      ...(ids ?? facts.listed()).filter((deviceId) => !withKeys.has(deviceId)).map(facts.withoutKeys),
    ].sort(
      (a, b) =>
        Number(b.current) - Number(a.current) ||
        (b.lastSeenMs ?? 0) - (a.lastSeenMs ?? 0) ||
        (a.deviceId < b.deviceId ? -1 : 1),
    );
  };

  return {
    "devices.list": async ({ userId = me }) => {
      if (userId === me) return await own();
      const user = await learned(userId);
      const verified = parts.isVerified(user);
      return user.devices.map((device) => facts.shown(device, verified));
    },

    "devices.rename": async ({ deviceId, name }) => {
      await http.request("PUT", `/_matrix/client/v3/devices/${encodeURIComponent(deviceId)}`, {
        body: { display_name: name },
      });
      emit("devices.changed", { userIds: [me] });
      return {};
    },

    "devices.signOut": async ({ deviceIds, password }) => {
      const wanted = [...new Set(deviceIds)];
      if (wanted.includes(parts.deviceId))
        throw new CoreError("bad-request", {
          details: { path: "deviceIds" },
          message: "This device signs out by signing out of the account.",
        });
      const result = await signOutDevices({ http, me, listed }, wanted, password);
      if (result.signedOut.length > 0) {
        // known before the next message, so that its key is a new one which they never had
        store.rotateRooms();
        await (await devices()).identities.query([me]).catch((error: unknown) => {
          log.info(`own devices were not asked for after a sign-out: ${toFailure(error).code}`);
        });
        emit("devices.changed", { userIds: [me] });
      }
      return result;
    },

    "devices.block": async ({ userId, deviceId, blocked }) => {
      if (userId === me && deviceId === parts.deviceId)
        throw new CoreError("bad-request", {
          details: { path: "deviceId" },
          message: "This device cannot block itself.",
        });
      const device = (await learned(userId)).devices.find((one) => one.deviceId === deviceId);
      if (device === undefined && blocked) throw new CoreError("not-found", { message: "No such device." });
      const atMs = nowMs();
      const changed = store.transaction(() => {
        if (!store.setBlocked(userId, deviceId, blocked, atMs)) return false;
        store.append(atMs, blocked ? "blocked" : "unblocked", userId, device?.fingerprint ?? "", deviceId);
        store.rotateRooms([userId]);
        return true;
      });
      if (!changed) return {};
      if (device !== undefined) {
        const list = await devices();
        await (await crypto()).inner.inTurn(() => list.mark(userId, deviceId, blocked ? "blocked" : "none"));
      }
      emit("devices.changed", { userIds: [userId] });
      return {};
    },
  };
}

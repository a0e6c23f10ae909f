import type { Device } from "../../../../preload/contract/devices.ts";
import { integer, list, object, text } from "../../json.ts";
import type { KnownDevice } from "../../matrix/device-list.ts";
import type { TrustStore } from "../../storage/trust-store.ts";

type Parts = { me: string; current: string; store: TrustStore; nowMs: () => number };
type Seen = { name?: string; lastSeenMs?: number; lastSeenIp?: string };
export type DeviceFacts = ReturnType<typeof createDeviceFacts>;

const staleAfterMs = 90 * 24 * 60 * 60_000;
const longestNameChars = 255;

/** What a device is shown as: crypto's knowledge of its keys, the server's of when it was last there, and our own of it. */
export function createDeviceFacts({ me, current, store, nowMs }: Parts) {
  /** One's own devices, as the server listed them last. */
  let seen = new Map<string, Seen>();

  const factsOf = (userId: string, deviceId: string) => {
    const mine = userId === me ? seen.get(deviceId) : undefined;
    return {
      blocked: store.isBlocked(userId, deviceId),
      current: userId === me && deviceId === current,
      stale: mine?.lastSeenMs !== undefined && nowMs() - mine.lastSeenMs > staleAfterMs,
      ...mine,
    };
  };

  return {
    /** Takes the server's list in; answers the ids on it. Source: client-server API, "Device Management". */
    takeList: (answer: unknown): string[] => {
      const entries = list(object(answer)?.["devices"]).flatMap((value): [string, Seen][] => {
        const entry = object(value);
        const deviceId = text(entry?.["device_id"]);
        const name = text(entry?.["display_name"])?.slice(0, longestNameChars);
        const lastSeenMs = integer(entry?.["last_seen_ts"]);
        const lastSeenIp = text(entry?.["last_seen_ip"])?.slice(0, 64);
        if (deviceId === undefined) return [];
        return [
          [
            deviceId,
            {
              ...(name === undefined || name === "" ? {} : { name }),
              ...(lastSeenMs === undefined || lastSeenMs <= 0 ? {} : { lastSeenMs }),
              ...(lastSeenIp === undefined || lastSeenIp === "" || lastSeenIp === "-" ? {} : { lastSeenIp }),
            },
          ],
        ];
      });
      seen = new Map(entries);
      return [...seen.keys()];
    },
    listed: (): string[] => [...seen.keys()],
    shown: (device: KnownDevice, ownerVerified: boolean): Device => ({
      userId: device.userId,
      deviceId: device.deviceId,
      ...(device.name === undefined ? {} : { name: device.name }),
      ...factsOf(device.userId, device.deviceId),
      signedByOwner: device.signedByOwner,
      verified: device.signedByOwner && ownerVerified,
      ...(device.fingerprint === undefined ? {} : { fingerprint: device.fingerprint }),
      dehydrated: device.dehydrated,
    }),
    /** One of one's own that has no keys: a script's, or one that never got so far. */
    withoutKeys: (deviceId: string): Device => ({
      userId: me,
      deviceId,
      ...factsOf(me, deviceId),
      signedByOwner: false,
      verified: false,
      dehydrated: false,
    }),
  };
}

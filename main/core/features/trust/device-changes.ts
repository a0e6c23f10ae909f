import { isObject } from "../../json.ts";
import type { KnownUser } from "../../matrix/device-list.ts";

/** Above this many devices of one person they are counted, not listed: such a list is an attack or an accident, and no news. */
const mostListed = 500;
/** More changes of one person at once are told as one. */
const mostTold = 20;

export type DeviceChange = { kind: "device-added" | "device-removed"; detail: string; deviceId?: string };

/**
 * What became of a person's devices since `stored` was written; undefined where nothing did. The first sight of a person tells no
 * devices: they are not new. A device that comes back under its id with another key is another device.
 */
export function deviceChanges(
  user: KnownUser,
  stored: string | undefined,
): { stored: string; entries: DeviceChange[] } | undefined {
  const count = user.devices.length;
  const now = new Map(user.devices.map((device) => [device.deviceId, device.fingerprint ?? ""]));
  const next = JSON.stringify(count > mostListed ? { count } : Object.fromEntries(sorted(now)));
  if (next === stored || (stored === undefined && count === 0)) return undefined;
  if (stored === undefined) return { stored: next, entries: [] };
  const before = listed(stored);
  if (before === undefined || count > mostListed)
    return { stored: next, entries: [{ kind: "device-added", detail: `${count} devices` }] };
  const added = [...now].filter(([deviceId, key]) => before.get(deviceId) !== key);
  const removed = [...before].filter(([deviceId, key]) => now.get(deviceId) !== key);
  return { stored: next, entries: [...told("device-removed", removed), ...told("device-added", added)] };
}

const told = (kind: DeviceChange["kind"], devices: [string, string][]): DeviceChange[] =>
  devices.length > mostTold
    ? [{ kind, detail: `${devices.length} devices` }]
    : devices.map(([deviceId, fingerprint]) => ({ kind, deviceId, detail: fingerprint }));

/** Undefined where they were only counted. */
function listed(stored: string): Map<string, string> | undefined {
  const value = JSON.parse(stored) as unknown;
  if (!isObject(value) || typeof value["count"] === "number") return undefined;
  return new Map(Object.entries(value).map(([deviceId, key]) => [deviceId, typeof key === "string" ? key : ""]));
}

const sorted = (devices: Map<string, string>): [string, string][] =>
  [...devices].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

import * as v from "valibot";
import { command, type Failure } from "./define.ts";
import { deviceId, deviceName, password, userId } from "./ids.ts";

export type Device = {
  userId: string;
  deviceId: string;
  /** By hand, on this computer alone: gets no room keys, its messages carry the red shield. */
  blocked: boolean;
  name?: string;
  /** The device that this app is. */
  current: boolean;
  /** Signed by its owner's self-signing key. */
  signedByOwner: boolean;
  /** Signed by its owner, and the owner's identity is verified here. */
  verified: boolean;
  lastSeenMs?: number;
  lastSeenIp?: string;
  /** Ed25519, unpadded base64. */
  fingerprint?: string;
  /** Not seen for 90 days. */
  stale: boolean;
  dehydrated: boolean;
};

const nothing = command<Record<string, never>>();

export const devicesCommands = {
  /** One's own devices, or another person's as far as the server tells them. */
  "devices.list": command<Device[]>()(v.strictObject({ userId: v.optional(userId) })),
  "devices.rename": nothing(v.strictObject({ deviceId, name: deviceName })),
  /** `authentication-required` as a whole where the server wants a password and none is given. */
  "devices.signOut": command<{ signedOut: string[]; failed: { deviceId: string; error: Failure }[] }>()(
    v.strictObject({
      deviceIds: v.pipe(v.array(deviceId), v.minLength(1), v.maxLength(500)),
      password: v.optional(password),
    }),
  ),
  "devices.block": nothing(v.strictObject({ userId, deviceId, blocked: v.boolean() })),
};

export type DevicesEvents = { "devices.changed": { userIds: string[] } };

import { command } from "./define.ts";
import { empty } from "./ids.ts";

/** The part of a key's id after `signed_curve25519:`. */
type KeyId = string;
export type DeviceKeysProblem = {
  /** `cloned-profile`: this profile was copied or set back, and the copy ran too. */
  code: "server-drops-fallback-keys" | "one-time-key-conflict" | "upload-failing" | "clock-skew" | "cloned-profile";
  sinceMs: number;
  count: number;
};
export type DeviceKeysLogEntry = {
  atMs: number;
  kind: "uploaded" | "reported-used" | "rotated" | "forgotten" | "rejected" | "recovered";
  keyId?: KeyId;
  detail?: string;
};
export type DeviceKeysStatus = {
  oneTime: { onServer: number | null; target: number; uploadedTotal: number; atMs: number };
  fallback: {
    /** `unknown` until a sync has said something. */
    support: "unknown" | "supported" | "unsupported";
    current?: { keyId: KeyId; uploadedAtMs: number; usedReportedAtMs?: number };
    previous?: { keyId: KeyId; forgetAfterMs?: number };
    unusedOnServer: boolean | null;
  };
  problems: DeviceKeysProblem[];
  /** Newest first, at most 200. */
  log: DeviceKeysLogEntry[];
};

/** One-time and fallback keys. Source: client-server API, "One-time and fallback keys"; MSC2732. */
export const deviceKeysCommands = {
  "deviceKeys.status": command<DeviceKeysStatus>()(empty),
};

export type DeviceKeysEvents = { "deviceKeys.changed": { status: DeviceKeysStatus } };

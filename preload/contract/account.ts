import * as v from "valibot";
import { command, type FailureCode } from "./define.ts";
import { deviceName, empty, timeoutMs } from "./ids.ts";

export type SyncState =
  | { at: "starting" }
  | { at: "live"; lastMs: number }
  | { at: "offline"; sinceMs: number; nextTryMs: number; code: FailureCode }
  | { at: "stopped"; code: FailureCode };

/** `fingerprint`: the device's Ed25519 key, unpadded base64, once crypto has started. `name`: the profile's display name. */
export type SignedIn = {
  at: "signed-in";
  userId: string;
  deviceId: string;
  homeserver: string;
  sync: SyncState;
  fingerprint?: string;
  name?: string;
};
export type AccountStatus = { at: "signed-out" } | SignedIn;
export type LoginFlow = "password" | "sso" | "oauth";

const server = v.pipe(v.string(), v.trim(), v.minLength(1), v.maxLength(500));
const credentials = v.strictObject({
  homeserver: server,
  user: v.pipe(v.string(), v.trim(), v.minLength(1), v.maxBytes(255)),
  password: v.pipe(v.string(), v.minLength(1), v.maxLength(4096)),
  deviceName: v.optional(deviceName),
});

/** Answered by the host, which knows the accounts of the profile. */
export const accountCommands = {
  "account.discover": command<{ homeserver: string; flows: LoginFlow[]; versions: string[]; registration: boolean }>()(
    v.strictObject({ server }),
  ),
  "account.register": command<{ userId: string; deviceId: string }>()(credentials),
  "account.login": command<{ userId: string; deviceId: string }>()(credentials),
  "account.list": command<{ userId: string; deviceId: string; homeserver: string; sync: SyncState }[]>()(empty),
  "account.status": command<AccountStatus>()(empty),
  /** `history-at-risk` with `{ unbackedUp, total }` unless forced; wipes the account's files after the server agreed, or after force. */
  "account.logout": command<{ serverTold: boolean }>()(v.strictObject({ force: v.optional(v.boolean()) })),
};

/** Answered by the account's core. */
export const accountCoreCommands = {
  /** Resolves after the next completed sync that began after the call. */
  "account.sync": command<{ at: number }>()(v.strictObject({ timeoutMs: v.optional(timeoutMs) })),
};

export type AccountEvents = { "account.changed": { status: AccountStatus } };

import * as v from "valibot";
import { command, type FailureCode } from "./define.ts";
import { deviceName, empty, password, timeoutMs } from "./ids.ts";

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
/** What of a damaged account could be taken to its next device. */
export type Rescued = {
  roomKeys: number;
  /** False where a part of the file that held them did not read; what the backup has comes back from there. */
  roomKeysComplete: boolean;
  secrets: ("master" | "selfSigning" | "userSigning" | "backup")[];
  /** `fetched-again`: the file of rooms and messages was damaged too; they come from the server anew. */
  messages: "kept" | "fetched-again";
};
export type LoginFlow = "password" | "sso" | "oauth";

const server = v.pipe(v.string(), v.trim(), v.minLength(1), v.maxLength(500));
const credentials = v.strictObject({
  homeserver: server,
  user: v.pipe(v.string(), v.trim(), v.minLength(1), v.maxBytes(255)),
  password,
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
  /**
   * The account goes on here as another device, with its history: for a profile that was copied, whose two copies share one device.
   * The device that was stays on the server, since the other copy is it. `forbidden`: the wrong password, and nothing has changed.
   */
  "account.renew": command<{ userId: string; deviceId: string }>()(
    v.strictObject({ password, deviceName: v.optional(deviceName) }),
  ),
  /**
   * Only where the account stopped with `database-corrupt`, else `conflict`: what of its files still reads goes into a new device of
   * the account. The old device is never run again; its files are put aside, not deleted. `forbidden`: the wrong password, and
   * nothing has changed.
   */
  "account.rescue": command<{ userId: string; deviceId: string; saved: Rescued }>()(
    v.strictObject({ password, deviceName: v.optional(deviceName) }),
  ),
  /** `history-at-risk` with `{ unbackedUp, total, conversations }` unless forced; wipes the account's files after the server agreed, or after force. */
  "account.logout": command<{ serverTold: boolean }>()(v.strictObject({ force: v.optional(v.boolean()) })),
};

/** Answered by the account's core. */
export const accountCoreCommands = {
  /** Resolves after the next completed sync that began after the call. */
  "account.sync": command<{ at: number }>()(v.strictObject({ timeoutMs: v.optional(timeoutMs) })),
};

export type AccountEvents = { "account.changed": { status: AccountStatus } };

import * as v from "valibot";
import { command } from "./define.ts";
import type { Device } from "./devices.ts";
import { empty, passphrase, password, recoveryKey, roomId, userId } from "./ids.ts";
import type { UserTrust } from "./rooms.ts";

export type Secret = "master" | "selfSigning" | "userSigning" | "backup";
export type TrustStatus = {
  identity: "none" | "this-device-unverified" | "verified";
  /** Which secrets this device holds. */
  secrets: Record<Secret, boolean>;
  recovery: "none" | "ready" | "incomplete";
  /** What is wrong and with what, in codes that the window puts into words. */
  problems: string[];
};
/**
 * What helps against a problem that is left: the recovery key or passphrase · another device of the account, which holds what is
 * missing · a new recovery (`trust.setUp`) · a new identity (`trust.reset`) · the server, later.
 */
export type RepairNeed = "recovery-key" | "other-device" | "set-up" | "reset" | "server";
/** Codes of `TrustStatus.problems`. `tried`: something was done against it, and it is still there. */
export type Repaired = { repaired: string[]; left: { problem: string; needs: RepairNeed; tried: boolean }[] };
/** `lastDrill`: the last time that somebody practised. `due`: nobody has used, made or practised the way back for half a year. */
export type Practice = { lastDrill?: { atMs: number; ok: boolean }; due: boolean };
export type SendTo = "everyone" | "signed-devices" | "verified-users";
export type WithheldReason =
  "unsigned-device" | "unverified-user" | "identity-changed" | "blocked" | "no-keys" | "keys-unreachable";
/** Why nothing would be sent at all, and on whose account: the failure that the message would bear. */
export type RecipientsRefused = { code: "identity-changed" | "recipients-blocked"; userIds: string[] };
export type Recipients = {
  receives: Device[];
  withheld: { device: Device; reason: WithheldReason }[];
  /** As things stand a message would fail with this; `receives` is then who would get it if it did not. */
  refused?: RecipientsRefused;
  /** Devices that can read the next message and could not read one's last; absent where none was sent yet. */
  grewSince?: Device[];
  /** People whose devices could not be learned, since their server is away. */
  unreachable?: string[];
};
/** Rooms where a choice would cut somebody off who reads now. */
export type Simulated = {
  rooms: { roomId: string; withheld: Recipients["withheld"]; refused?: RecipientsRefused }[];
};
export type TrustPolicy = { sendTo: SendTo; roomOverride?: SendTo; effective: SendTo };
export type LedgerEntry = { atMs: number; kind: string; userId: string; deviceId?: string; detail: string };

const key = { recoveryKey: v.optional(recoveryKey), passphrase: v.optional(passphrase) };
const oneUser = v.strictObject({ userId });
const sendTo = v.picklist(["everyone", "signed-devices", "verified-users"]);

export const trustCommands = {
  /** Identity, secret storage and backup as one operation: all, or a remainder that the next call finishes. `conflict` where the account has an identity already. */
  "trust.setUp": command<{ recoveryKey: string }>()(
    v.strictObject({
      password: v.optional(password),
      recovery: v.variant("kind", [
        v.strictObject({ kind: v.literal("key") }),
        v.strictObject({ kind: v.literal("passphrase"), passphrase }),
      ]),
    }),
  ),
  /** This device becomes verified from secret storage. `wrong-key` with `details.kind`: `malformed`, `recovery-key`, `passphrase`. */
  "trust.recover": command<{ missing: Secret[] }>()(v.strictObject(key)),
  "trust.status": command<TrustStatus>()(empty),
  "trust.user": command<UserTrust>()(oneUser),
  /** "I know, it is still them": pins the identity that is there now; with `fingerprint` only that one, `conflict` where it changed again. */
  "trust.acceptIdentity": command<UserTrust>()(
    v.strictObject({ userId, fingerprint: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{43}$/))) }),
  ),
  "trust.withdrawVerification": command<UserTrust>()(oneUser),
  "trust.reset": command<{ recoveryKey: string }>()(
    v.strictObject({ password: v.optional(password), keepHistory: v.literal(true) }),
  ),
  /**
   * The least that mends what `trust.status` names, each looked at again afterwards. Without a way in: what this device can do by
   * itself, and its other devices are asked.
   */
  "trust.repair": command<Repaired>()(v.strictObject(key)),
  /** When recovery was last practised. */
  "trust.practice": command<Practice>()(empty),
  /** The recovery drill: changes nothing. */
  "trust.checkRecovery": command<{ ok: boolean; opens: Secret[]; sampleKeysDecrypted: number }>()(v.strictObject(key)),
  /** Without `sendTo`: reads; with null: the room has no choice of its own any more. `effective` is `everyone` until set-up. */
  "trust.policy": command<TrustPolicy>()(
    v.union([
      v.strictObject({ sendTo: v.optional(sendTo), roomId: v.optional(roomId) }),
      v.strictObject({ sendTo: v.null(), roomId }),
    ]),
  ),
  /** Which devices the next message of the room would be readable on. */
  "trust.recipients": command<Recipients>()(v.strictObject({ roomId })),
  /** What the choice would change, in one room or in all: nothing is set, nobody is asked. */
  "trust.simulate": command<Simulated>()(v.strictObject({ sendTo, roomId: v.optional(roomId) })),
  "trust.ledger": command<LedgerEntry[]>()(
    v.strictObject({
      userId: v.optional(userId),
      limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10_000))),
    }),
  ),
};

export type TrustEvents = { "trust.changed": { own?: true; userIds?: string[] } };

import type { Item, UndecryptableReason } from "../../../../preload/contract/timeline.ts";
import { object, text, type Json } from "../../json.ts";

type Undecryptable = NonNullable<Item["undecryptable"]>;
type Awaits = NonNullable<Undecryptable["awaits"]>;
/** As it lies in the row. `tries` counts those of the schedule alone. */
export type UndecryptableRecord = {
  reason: UndecryptableReason;
  sinceMs: number;
  lastTryMs: number;
  tries?: number;
  nextTryMs?: number;
  tried?: Undecryptable["tried"];
  awaits?: Awaits;
};

const secondMs = 1_000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
/** A key that comes is tried at once; this is for what comes without notice. The last wait repeats. */
const waitsMs = [10 * secondMs, minuteMs, 10 * minuteMs, hourMs, 6 * hourMs, 24 * hourMs];
/** The key is on its way, or may be: everything else changes only with something that is told. */
const scheduled: ReadonlySet<UndecryptableReason> = new Set(["missing-key", "sender-unknown-device", "other"]);
/** The sender's device may still send the key itself. */
const fromSender: ReadonlySet<UndecryptableReason> = new Set(["missing-key"]);
/** A device that has the key would do. */
const wantsKey: ReadonlySet<UndecryptableReason> = new Set([
  "missing-key",
  "withheld",
  "withheld-unverified",
  "withheld-unsigned",
  "key-too-late",
  "no-backup",
  "backup-locked",
  "not-a-member-then",
]);

export const firstRecord = (nowMs: number): UndecryptableRecord => ({
  reason: "missing-key",
  sinceMs: nowMs,
  lastTryMs: 0,
});

/** What is known after a try that failed. `asksOwnDevices`: another own device is there that would answer a request for the key. */
export function afterTry(
  before: UndecryptableRecord,
  reason: UndecryptableReason,
  asksOwnDevices: boolean,
  nowMs: number,
): UndecryptableRecord {
  // a try by hand, or for a key that did not help, leaves the schedule as it is
  const wasDue = before.nextTryMs === undefined || before.nextTryMs <= nowMs;
  const tries = (before.reason === reason ? (before.tries ?? 0) : 0) + (wasDue ? 1 : 0);
  const waitMs = waitsMs[Math.min(Math.max(tries, 1), waitsMs.length) - 1] ?? hourMs;
  const keepsPlan = !wasDue && before.reason === reason && before.nextTryMs !== undefined;
  const nextTryMs = scheduled.has(reason) ? (keepsPlan ? before.nextTryMs : nowMs + waitMs) : undefined;
  const asks = asksOwnDevices && wantsKey.has(reason);
  const awaits: Awaits = [
    ...(fromSender.has(reason) ? (["sender"] as const) : []),
    ...(asks ? (["own-devices"] as const) : []),
  ];
  return {
    reason,
    sinceMs: before.sinceMs,
    lastTryMs: nowMs,
    tries,
    ...(nextTryMs === undefined ? {} : { nextTryMs }),
    ...(before.tried === undefined ? {} : { tried: before.tried }),
    awaits,
  };
}

/** Noted once the request has reached the server. */
export const asked = (record: UndecryptableRecord, whom: Undecryptable["tried"][number]): UndecryptableRecord => ({
  ...record,
  tried: [...new Set([...(record.tried ?? []), whom])],
});
/** A key of this message's session, from wherever, would help. */
export const keyWouldHelp = (record: UndecryptableRecord): boolean => wantsKey.has(record.reason);

/** For the window. The device is what the message itself says in clear: nobody vouches for it. */
export function undecryptableFrom(stored: string, event: Json): Undecryptable {
  const { reason, sinceMs, lastTryMs, nextTryMs, tried = [], awaits } = readRecord(stored);
  const device = text(object(event["content"])?.["device_id"])?.slice(0, 255);
  return {
    reason,
    sinceMs,
    lastTryMs,
    ...(nextTryMs === undefined ? {} : { nextTryMs }),
    tried,
    awaits: awaits ?? (fromSender.has(reason) ? ["sender"] : []),
    ...(device === undefined || device === "" ? {} : { device }),
  };
}

export const readRecord = (stored: string): UndecryptableRecord => JSON.parse(stored) as UndecryptableRecord;

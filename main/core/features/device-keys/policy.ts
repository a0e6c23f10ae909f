import { algorithm, dayMs, hourMs, type KeyHistory, type KeyReport } from "./history.ts";

export type Decision =
  /** Nothing to do. */
  | { kind: "keep" }
  /** We know of no key of ours: Rust crypto makes its first. */
  | { kind: "upload" }
  | { kind: "rotate" }
  /** A further rotation, by which Rust crypto drops the private half of the key before. */
  | { kind: "forget-previous" }
  /** A key is wanted, and not at this sync. */
  | { kind: "wait" }
  | { kind: "unsupported" };

/** How long after a rotation the next waits: an hour, doubled to a day where the server accepts keys and never shows them. */
export const intervalMs = (refusals: number): number =>
  Math.min(hourMs * 2 ** Math.min(Math.max(refusals - 1, 0), 5), dayMs);

/** A clock that was set back makes no interval endless. */
const hasPassed = (sinceMs: number, waitMs: number, nowMs: number) => Math.abs(nowMs - sinceMs) >= waitMs;

/**
 * What to do with the fallback key, by a history that has taken in the report. Source: client-server API, "One-time and fallback
 * keys"; MSC2732: a key that was used is replaced, the one before it is kept for what is under way and then forgotten.
 */
export function decide({ fallback, unsettled }: KeyHistory, report: KeyReport, nowMs: number): Decision {
  const types = report.unusedFallbackKeyTypes;
  // an absent field says nothing where it was there before: servers differ by endpoint
  if (types === undefined && !fallback.everReported) return { kind: "unsupported" };
  const isNewKeyOnItsWay =
    unsettled?.fallbackKeyId !== undefined &&
    !unsettled.acknowledged &&
    unsettled.fallbackKeyId !== fallback.current?.keyId;
  if (isNewKeyOnItsWay) return { kind: "wait" };
  // none was ever there: a report of before says that as well as one of now
  if (types?.includes(algorithm) === false && fallback.current === undefined && !fallback.asked)
    return { kind: "upload" };
  if (report.stale) return { kind: "wait" };
  if (types === undefined || types.includes(algorithm))
    return mayForget(fallback, report, nowMs) ? { kind: "forget-previous" } : { kind: "keep" };
  // served from a cache, it may be of before our last upload: the next one tells
  if (report.initial) return { kind: "wait" };
  // what waits on the server may be for the key that a rotation would drop
  if (fallback.previous !== undefined && report.moreToDevice) return { kind: "wait" };
  if (fallback.rotatedAtMs !== undefined && !hasPassed(fallback.rotatedAtMs, intervalMs(fallback.refusals), nowMs))
    return { kind: "wait" };
  return { kind: "rotate" };
}

function mayForget({ previous, rotatedAtMs }: KeyHistory["fallback"], report: KeyReport, nowMs: number): boolean {
  const afterMs = previous?.forgetAfterMs;
  if (afterMs === undefined || report.moreToDevice || report.initial) return false;
  const sinceRotation = rotatedAtMs === undefined || hasPassed(rotatedAtMs, hourMs, nowMs);
  return sinceRotation && (nowMs >= afterMs || afterMs - nowMs > hourMs);
}

export type CountDecision =
  /** Rust crypto makes as many as are missing. */
  | { kind: "take"; count: number }
  /** The sync gives no count though the server had keys: an upload of nothing answers it. */
  | { kind: "ask" }
  | { kind: "ignore" };

/** What to make of the count of one-time keys. Source: client-server API, "Syncing": with v2 a missing count is zero. */
export function decideCount({ oneTime, conflicts }: KeyHistory, report: KeyReport, nowMs: number): CountDecision {
  if (report.stale || (report.initial && oneTime.uploadedAtMs !== undefined)) return { kind: "ignore" };
  if (conflicts !== undefined && nowMs < conflicts.nextTopUpMs && conflicts.nextTopUpMs - nowMs <= hourMs)
    return { kind: "ignore" };
  if (report.oneTimeKeys !== undefined) return { kind: "take", count: report.oneTimeKeys };
  if (oneTime.uploadedAtMs === undefined || oneTime.countedSinceUpload) return { kind: "take", count: 0 };
  const sinceMs = Math.max(oneTime.uploadedAtMs, oneTime.askedAtMs ?? 0);
  return hasPassed(sinceMs, intervalMs(oneTime.uncounted), nowMs) ? { kind: "ask" } : { kind: "ignore" };
}

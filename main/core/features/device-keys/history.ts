import type { DeviceKeysLogEntry, DeviceKeysProblem } from "../../../../preload/contract/device-keys.ts";

export const hourMs = 3_600_000;
export const dayMs = 24 * hourMs;
export const algorithm = "signed_curve25519";

type ProblemCode = DeviceKeysProblem["code"];
export type LogRow = Omit<DeviceKeysLogEntry, "atMs">;

/** Ids without the algorithm. */
export type Upload = { fallbackKeyId?: string; oneTimeKeyIds: string[] };

/** All that the decisions need to know of the past: kept in one row, so that a kill keeps the intervals. */
export type KeyHistory = {
  fallback: {
    /** Some sync carried the field. */
    everReported: boolean;
    unusedOnServer: boolean | null;
    current?: {
      keyId: string;
      uploadedAtMs: number;
      usedReportedAtMs?: number;
      /** By Rust crypto's own reading; unknown where a kill came between its making it and our noting it. */
      madeAtMs?: number;
      seenUnused: boolean;
      refused: boolean;
    };
    /** When Rust crypto made the key that is not up yet. */
    madeAtMs?: number;
    /** `forgetAfterMs` only where it was reported used: nothing is known against one that was replaced for its age. */
    previous?: { keyId: string; forgetAfterMs?: number };
    rotatedAtMs?: number;
    /** Uploads in a row that the server accepted and never reported as there. */
    refusals: number;
    /** Rust crypto was told of a missing key while we knew of none. */
    asked: boolean;
  };
  oneTime: {
    onServer: number | null;
    atMs: number;
    uploadedTotal: number;
    uploadedAtMs?: number;
    /** A sync has given a count since. */
    countedSinceUpload: boolean;
    /** Uploads in a row after which no sync gave a count. */
    uncounted: number;
    askedAtMs?: number;
  };
  /** Has left, or is about to: where the answer is lost, the keys may be on the server or not. */
  unsettled?: Upload & { atMs: number; countBefore: number | null; acknowledged: boolean };
  failing?: { tries: number; sinceMs: number; nextTryMs: number };
  conflicts?: { count: number; nextTopUpMs: number };
  skewed: number;
  run: { number: number; marks: string[]; foreign?: { mark: string; atMs: number } };
  problems: DeviceKeysProblem[];
};
/** A history and what happened on the way to it. */
export type Change = { history: KeyHistory; rows: LogRow[] };

export const blankHistory: KeyHistory = {
  fallback: { everReported: false, unusedOnServer: null, refusals: 0, asked: false },
  oneTime: { onServer: null, atMs: 0, uploadedTotal: 0, countedSinceUpload: false, uncounted: 0 },
  skewed: 0,
  run: { number: 0, marks: [] },
  problems: [],
};

export function raised(history: KeyHistory, code: ProblemCode, nowMs: number, count?: number): KeyHistory {
  const known = history.problems.find((problem) => problem.code === code);
  const problem = { code, sinceMs: known?.sinceMs ?? nowMs, count: count ?? (known?.count ?? 0) + 1 };
  return { ...history, problems: [...history.problems.filter((one) => one.code !== code), problem] };
}

export function solved({ history, rows }: Change, code: ProblemCode): Change {
  if (!history.problems.some((problem) => problem.code === code)) return { history, rows };
  return {
    history: { ...history, problems: history.problems.filter((problem) => problem.code !== code) },
    rows: [...rows, { kind: "recovered", detail: code }],
  };
}

/** What one sync said of our keys. */
export type KeyReport = {
  unusedFallbackKeyTypes: string[] | undefined;
  /** Undefined where the sync does not say. */
  oneTimeKeys: number | undefined;
  /** An upload was under way when the sync was asked for, or since: what it says may be of before. */
  stale: boolean;
  /** Answer to a sync without a token, which a server may serve from a cache. */
  initial: boolean;
  /** More to-device messages may be waiting on the server than this sync brought. */
  moreToDevice: boolean;
};

/** Takes in a report. Of a stale one only that the server knows the field. */
export function reported(history: KeyHistory, report: KeyReport, nowMs: number): Change {
  const types = report.unusedFallbackKeyTypes;
  let next: KeyHistory =
    types === undefined ? history : { ...history, fallback: { ...history.fallback, everReported: true } };
  if (report.stale || (report.initial && history.oneTime.uploadedAtMs !== undefined))
    return { history: next, rows: [] };
  if (report.oneTimeKeys !== undefined)
    next = {
      ...next,
      oneTime: { ...next.oneTime, onServer: report.oneTimeKeys, atMs: nowMs, countedSinceUpload: true, uncounted: 0 },
    };
  if (types === undefined) return { history: next, rows: [] };
  return types.includes(algorithm) ? unusedReported(next) : usedReported(next, nowMs);
}

function unusedReported(history: KeyHistory): Change {
  const { current, ...others } = history.fallback;
  const next = {
    ...history,
    fallback: {
      ...others,
      unusedOnServer: true,
      asked: false,
      ...(current === undefined ? {} : { current: { ...current, seenUnused: true } }),
      refusals: 0,
    },
  };
  return solved({ history: next, rows: [] }, "server-drops-fallback-keys");
}

function usedReported(history: KeyHistory, nowMs: number): Change {
  const { fallback } = history;
  const { current } = fallback;
  const next: KeyHistory = { ...history, fallback: { ...fallback, unusedOnServer: false } };
  if (current === undefined) return { history: next, rows: [] };
  // the first key may really have been used at once; one that replaced it and is never seen either was dropped
  const dropped = fallback.rotatedAtMs !== undefined && !current.seenUnused;
  next.fallback.current = { ...current, usedReportedAtMs: nowMs, refused: current.refused || dropped };
  const rows: LogRow[] =
    current.usedReportedAtMs === undefined ? [{ kind: "reported-used", keyId: current.keyId }] : [];
  if (!dropped || current.refused) return { history: next, rows };
  next.fallback.refusals = fallback.refusals + 1;
  return { history: raised(next, "server-drops-fallback-keys", nowMs, next.fallback.refusals), rows };
}

/** Before the request leaves: after a kill it is known that these ids may be on the server. */
export function leaving(history: KeyHistory, upload: Upload, nowMs: number): KeyHistory {
  const before = history.unsettled;
  const again = before !== undefined && upload.oneTimeKeyIds.some((id) => before.oneTimeKeyIds.includes(id));
  const countBefore = again ? before.countBefore : history.oneTime.onServer;
  return { ...history, unsettled: { ...upload, atMs: nowMs, countBefore, acknowledged: false } };
}

/** Nothing of the upload was taken: only of what was in doubt before it is it still unknown. */
export function refused(history: KeyHistory, before: KeyHistory["unsettled"]): KeyHistory {
  if (history.unsettled === undefined) return history;
  const doubtful = before?.acknowledged === false ? before : { oneTimeKeyIds: [], countBefore: null };
  const { oneTimeKeyIds, countBefore } = doubtful;
  return { ...history, unsettled: { ...history.unsettled, oneTimeKeyIds, countBefore } };
}

/** The server has it. `onServer` is the answer's count: an algorithm that it leaves out counts as none. */
export function acknowledged(history: KeyHistory, upload: Upload, onServer: number, nowMs: number): Change {
  const { fallbackKeyId } = upload;
  const count = upload.oneTimeKeyIds.length;
  const rows: LogRow[] = [];
  const next: KeyHistory = {
    ...history,
    oneTime: {
      ...history.oneTime,
      onServer,
      atMs: nowMs,
      uploadedTotal: history.oneTime.uploadedTotal + count,
      uploadedAtMs: nowMs,
      countedSinceUpload: count === 0 && history.oneTime.countedSinceUpload,
      uncounted: history.oneTime.uncounted + (count > 0 ? 1 : 0),
    },
  };
  delete next.failing;
  if (next.unsettled !== undefined) next.unsettled = { ...next.unsettled, acknowledged: true };
  if (count > 0) rows.push({ kind: "uploaded", detail: `${count} one-time keys` });
  const { current, previous } = history.fallback;
  if (fallbackKeyId !== undefined && fallbackKeyId !== current?.keyId) {
    const { madeAtMs, ...fallback } = history.fallback;
    next.fallback = {
      ...fallback,
      current: {
        keyId: fallbackKeyId,
        uploadedAtMs: nowMs,
        seenUnused: false,
        refused: false,
        ...(madeAtMs === undefined ? {} : { madeAtMs }),
      },
      unusedOnServer: true,
      asked: false,
    };
    if (current === undefined) rows.push({ kind: "uploaded", keyId: fallbackKeyId, detail: "fallback key" });
    else {
      next.fallback.rotatedAtMs = nowMs;
      const usedMs = current.usedReportedAtMs;
      next.fallback.previous = {
        keyId: current.keyId,
        ...(usedMs === undefined ? {} : { forgetAfterMs: usedMs + hourMs }),
      };
      // Rust crypto keeps exactly one previous key
      if (previous !== undefined) rows.push({ kind: "forgotten", keyId: previous.keyId });
      rows.push({ kind: "rotated", keyId: fallbackKeyId });
    }
  }
  return solved({ history: next, rows }, "upload-failing");
}

/** After which wait a failed upload is tried again: five tries in the first minute at most. */
const firstWaitsMs = [2_000, 5_000, 10_000, 20_000];
const longestWaitMs = 600_000;
/** A network that is back is soon used again. */
const longestUnreachableMs = 60_000;
/** A refusal is not over as soon as a network's failure, and a key conflict has cost further requests already. */
const afterRejectionMs = 30_000;

export type UploadFailure = {
  kind: "unreachable" | "rejected";
  detail: string;
  retryAfterMs?: number;
};
export function failed(history: KeyHistory, failure: UploadFailure, nowMs: number): Change {
  const tries = (history.failing?.tries ?? 0) + 1;
  const waitMs =
    failure.kind === "unreachable"
      ? (firstWaitsMs[tries - 1] ?? longestUnreachableMs)
      : Math.min(afterRejectionMs * 2 ** Math.min(tries - 1, 10), longestWaitMs);
  const failing = {
    tries,
    sinceMs: history.failing?.sinceMs ?? nowMs,
    nextTryMs: nowMs + Math.max(waitMs, failure.retryAfterMs ?? 0),
  };
  const rows: LogRow[] = failure.kind === "rejected" ? [{ kind: "rejected", detail: failure.detail }] : [];
  const next = { ...history, failing };
  // one lost request is no problem yet; one refused is
  if (tries < 2 && failure.kind === "unreachable") return { history: next, rows };
  return { history: raised(next, "upload-failing", nowMs, tries), rows };
}

/** May an upload leave? A clock that was set back does not hold it for long. */
export const mayLeave = ({ failing }: KeyHistory, nowMs: number): boolean =>
  failing === undefined || nowMs >= failing.nextTryMs || failing.nextTryMs - nowMs > hourMs;

/** The server has other keys under these ids: whoever claims one of them writes what we cannot read. */
export function conflicted(history: KeyHistory, keyIds: string[], nowMs: number): Change {
  const count = (history.conflicts?.count ?? 0) + 1;
  const conflicts = { count, nextTopUpMs: nowMs + Math.min(60_000 * 2 ** Math.min(count - 1, 10), hourMs) };
  return {
    history: raised({ ...history, conflicts }, "one-time-key-conflict", nowMs),
    rows: keyIds.slice(0, 5).map((keyId) => ({ kind: "rejected", keyId, detail: "another key of this id is there" })),
  };
}

/** A top-up that met no conflict ends the problem. */
export function withoutConflict(change: Change): Change {
  const { conflicts: _over, ...history } = change.history;
  return solved({ history, rows: change.rows }, "one-time-key-conflict");
}

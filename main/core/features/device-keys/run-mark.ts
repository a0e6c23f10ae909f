import { randomBytes } from "node:crypto";
import { integer, text, type Json } from "../../json.ts";
import { dayMs, raised, solved, type Change, type KeyHistory } from "./history.ts";

/**
 * A profile that was copied, or set back to an older state, and run beside its original: both would move the same ratchets. Each run
 * leaves a number and a random mark in this device's own account data; one that neither this run nor an earlier run of this profile
 * left is another copy's.
 */
export const runMarkType = (deviceId: string): string => `chat.tessera.device_run.${deviceId}`;

const keptMarks = 8;
/** Without a sign of the other copy for so long, it is taken to be gone. */
const forgottenAfterMs = 7 * dayMs;

export type RunMark = { run: number; mark: string };

/** The mark of a new run. It is part of the history before it is sent, so that a kill between the two blames nobody. */
export function newRun(history: KeyHistory): { history: KeyHistory; mark: RunMark } {
  const mark = randomBytes(12).toString("base64url");
  const number = history.run.number + 1;
  return {
    history: { ...history, run: { ...history.run, number, marks: [...history.run.marks, mark].slice(-keptMarks) } },
    mark: { run: number, mark },
  };
}

/** Takes in what the server says is this device's last run. */
export function seenRun(history: KeyHistory, content: Json, nowMs: number): Change {
  const mark = text(content["mark"]);
  const run = integer(content["run"]);
  if (mark === undefined || run === undefined || mark.length > 64 || history.run.marks.includes(mark))
    return quiet(history, nowMs);
  // the same once more says nothing of the other copy's present
  if (history.run.foreign?.mark === mark) return quiet(history, nowMs);
  const next = { ...history, run: { ...history.run, foreign: { mark, atMs: nowMs } } };
  return { history: raised(next, "cloned-profile", nowMs), rows: [{ kind: "rejected", detail: "another copy ran" }] };
}

/** Also after each start, so that the problem ends by itself where the copy is gone. */
export function quiet(history: KeyHistory, nowMs: number): Change {
  const { foreign } = history.run;
  if (foreign === undefined || nowMs - foreign.atMs < forgottenAfterMs) return { history, rows: [] };
  return solved({ history, rows: [] }, "cloned-profile");
}

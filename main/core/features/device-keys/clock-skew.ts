import { raised, solved, type Change, type KeyHistory } from "./history.ts";

const muchMs = 5 * 60_000;
/** One answer may come out of somebody's cache. */
const inARow = 3;

/** Compares the server's clock with ours: message times, and the age of keys, are judged by it. */
export function clockSeen(history: KeyHistory, serverMs: number, nowMs: number): Change {
  const skewed = Math.abs(serverMs - nowMs) > muchMs ? Math.min(history.skewed + 1, inARow) : 0;
  if (skewed === history.skewed) return { history, rows: [] };
  const next = { ...history, skewed };
  if (skewed === 0) return solved({ history: next, rows: [] }, "clock-skew");
  if (skewed < inARow) return { history: next, rows: [] };
  return { history: raised(next, "clock-skew", nowMs), rows: [] };
}

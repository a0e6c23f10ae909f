import type { Practice } from "../../../../preload/contract/trust.ts";

/** A key on paper gets lost within a move; half a year is often enough to notice and seldom enough not to nag. */
const practiceEveryMs = 182 * 86_400_000;

/** `lastGoodMs`: when the way back was last known to work; undefined where there is none to practise. */
export function practiceOf(lastDrill: Practice["lastDrill"], lastGoodMs: number | undefined, nowMs: number): Practice {
  const due = lastGoodMs !== undefined && nowMs - lastGoodMs > practiceEveryMs;
  return lastDrill === undefined ? { due } : { lastDrill, due };
}

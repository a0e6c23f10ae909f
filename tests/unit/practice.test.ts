import { expect, test } from "vitest";
import { practiceOf } from "../../main/core/features/trust/practice.ts";

const day = 86_400_000;
const now = 1_000 * day;

test.each([
  ["nothing to practise", undefined, false],
  ["made today", now, false],
  ["made half a year ago", now - 182 * day, false],
  ["a day longer", now - 183 * day, true],
  ["of a clock that was ahead", now + 400 * day, false],
])("%s", (_, lastGoodMs, due) => {
  expect(practiceOf(undefined, lastGoodMs, now)).toEqual({ due });
});

test("the last drill is told, also one that failed", () => {
  const lastDrill = { atMs: now - day, ok: false };
  expect(practiceOf(lastDrill, now - 200 * day, now)).toEqual({ lastDrill, due: true });
});

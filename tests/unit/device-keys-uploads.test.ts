import fc from "fast-check";
import { expect, test } from "vitest";
import { clockSeen } from "../../main/core/features/device-keys/clock-skew.ts";
import { blankHistory, dayMs } from "../../main/core/features/device-keys/history.ts";
import { newRun, quiet, seenRun } from "../../main/core/features/device-keys/run-mark.ts";
import { conflictIn, inOrder, uploadOf, without } from "../../main/core/features/device-keys/uploads.ts";

const nowMs = 1_700_000_000_000;
const key = (text: string) => ({ key: text, signatures: {} });
const body = {
  device_keys: { device_id: "D" },
  one_time_keys: { "signed_curve25519:AAAAAQ": key("a"), "signed_curve25519:AAAAAg": key("b") },
  fallback_keys: { "signed_curve25519:AAAAAw": key("c") },
};

test("an upload is known by the ids of its keys", () => {
  expect(uploadOf(body)).toEqual({ fallbackKeyId: "AAAAAw", oneTimeKeyIds: ["AAAAAQ", "AAAAAg"] });
  expect(uploadOf({ one_time_keys: null, fallback_keys: [] })).toEqual({ oneTimeKeyIds: [] });
});

test("keys that are left out leave no empty part behind", () => {
  expect(without(body, () => true)).toEqual({ device_keys: { device_id: "D" } });
  expect(without(body, (id, kind) => kind === "one-time" && id === "AAAAAQ")).toEqual({
    ...body,
    one_time_keys: { "signed_curve25519:AAAAAg": key("b") },
  });
  expect(without({ fallback_keys: {}, one_time_keys: null }, () => false)).toEqual({});
});

test("a conflict names ids that were sent, or else stands for all of them", () => {
  const sent = ["AAAAAQ", "AAAAAg"];
  const refusal = (error: unknown) => ({ errcode: "M_UNKNOWN", error });
  expect(conflictIn(400, refusal("One time key signed_curve25519:AAAAAg already exists. Old key: x"), sent)).toEqual([
    "AAAAAg",
  ]);
  // without a code, as Dendrite's, and with an id that we never sent
  expect(conflictIn(400, { error: "a key with this ID already exists" }, sent)).toEqual(sent);
  expect(conflictIn(400, refusal("One time key signed_curve25519:zzzz already exists"), sent)).toEqual(sent);
  expect(conflictIn(400, refusal("Bad JSON"), sent)).toBeUndefined();
  expect(conflictIn(500, refusal("One time key already exists"), sent)).toBeUndefined();
  expect(conflictIn(400, refusal({}), sent)).toBeUndefined();
  expect(conflictIn(400, refusal("already exists"), [])).toBeUndefined();
});

test("in order: the same value, its members sorted at every depth", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const sorted = inOrder(value);
      expect(sorted).toEqual(value);
      const check = (part: unknown): void => {
        if (typeof part !== "object" || part === null) return;
        const names = Object.keys(part).filter((name) => !/^(0|[1-9]\d*)$/.test(name));
        if (!Array.isArray(part)) expect(names).toEqual(names.toSorted());
        Object.values(part).forEach(check);
      };
      check(sorted);
    }),
  );
});

test("a run knows its own marks and those of the runs before, and no others", () => {
  const first = newRun(blankHistory);
  const second = newRun(first.history);
  expect(second.mark.run).toBe(2);
  for (const { mark } of [first, second]) expect(seenRun(second.history, mark, nowMs).history.problems).toEqual([]);
  const copy = newRun(first.history);
  const seen = seenRun(second.history, copy.mark, nowMs);
  expect(seen.history.problems).toEqual([{ code: "cloned-profile", sinceMs: nowMs, count: 1 }]);
  // the same again is no further sign
  const again = seenRun(seen.history, copy.mark, nowMs + dayMs);
  expect(again).toEqual({ history: seen.history, rows: [] });
  const later = quiet(seen.history, nowMs + 8 * dayMs);
  expect(later.history.problems).toEqual([]);
  expect(later.rows).toEqual([{ kind: "recovered", detail: "cloned-profile" }]);
});

test("what is no mark accuses nobody", () => {
  const { history } = newRun(blankHistory);
  for (const content of [{}, { mark: 5, run: 1 }, { mark: "x".repeat(65), run: 1 }, { mark: "x", run: "1" }])
    expect(seenRun(history, content, nowMs).history.problems).toEqual([]);
});

test("one answer with another time is none of the clock's, three in a row are", () => {
  const far = nowMs + 600_000;
  let change = clockSeen(blankHistory, far, nowMs);
  expect(change.history.problems).toEqual([]);
  change = clockSeen(clockSeen(change.history, far, nowMs).history, far, nowMs);
  expect(change.history.problems.map((problem) => problem.code)).toEqual(["clock-skew"]);
  change = clockSeen(change.history, nowMs + 1_000, nowMs);
  expect(change).toMatchObject({ history: { problems: [] }, rows: [{ kind: "recovered", detail: "clock-skew" }] });
});

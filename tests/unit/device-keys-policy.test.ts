import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  acknowledged,
  algorithm,
  blankHistory,
  dayMs,
  failed,
  hourMs,
  leaving,
  mayLeave,
  refused,
  reported,
  type KeyHistory,
  type KeyReport,
} from "../../main/core/features/device-keys/history.ts";
import { decide, decideCount, intervalMs } from "../../main/core/features/device-keys/policy.ts";

const startMs = 1_700_000_000_000;
const report = (unused: string[] | undefined, more: Partial<KeyReport> = {}): KeyReport => ({
  unusedFallbackKeyTypes: unused,
  oneTimeKeys: 50,
  stale: false,
  initial: false,
  moreToDevice: false,
  ...more,
});
const uploaded = (history: KeyHistory, fallbackKeyId: string, atMs: number): KeyHistory =>
  acknowledged(history, { fallbackKeyId, oneTimeKeyIds: [] }, 50, atMs).history;
const told = (history: KeyHistory, given: KeyReport, atMs: number): KeyHistory =>
  reported(history, given, atMs).history;
const decided = (history: KeyHistory, given: KeyReport, atMs: number) => {
  const next = told(history, given, atMs);
  return { next, kind: decide(next, given, atMs).kind };
};

describe("the fallback key", () => {
  const first = uploaded(blankHistory, "one", startMs);

  test("none known and none there: Rust crypto makes its first", () => {
    expect(decided(blankHistory, report([]), startMs).kind).toBe("upload");
    expect(decided(blankHistory, report([], { stale: true }), startMs).kind).toBe("upload");
  });
  test("made by an earlier version, of which nothing is known: asked for once, then replaced", () => {
    const asked = { ...blankHistory, fallback: { ...blankHistory.fallback, asked: true } };
    expect(decided(asked, report([]), startMs).kind).toBe("rotate");
  });
  test("reported there: kept", () => {
    expect(decided(first, report([algorithm]), startMs).kind).toBe("keep");
  });
  test("reported used seconds after its upload: replaced", () => {
    expect(decided(first, report([]), startMs + 2_000).kind).toBe("rotate");
  });
  test("the field never seen: unsupported; seen once and then absent: kept", () => {
    expect(decided(first, report(undefined), startMs).kind).toBe("unsupported");
    expect(decided(told(first, report([algorithm]), startMs), report(undefined), startMs).kind).toBe("keep");
  });
  test("a stale report, or one after an initial sync, replaces nothing", () => {
    expect(decided(first, report([], { stale: true }), startMs).kind).toBe("wait");
    expect(decided(first, report([], { initial: true }), startMs).kind).toBe("wait");
  });
  test("while a newer key is on its way none is made", () => {
    const underway = leaving(first, { fallbackKeyId: "two", oneTimeKeyIds: [] }, startMs);
    expect(decided(underway, report([]), startMs + dayMs).kind).toBe("wait");
  });
  test("refused uploads leave the key on its way, and nothing else in doubt", () => {
    const underway = leaving(first, { fallbackKeyId: "two", oneTimeKeyIds: ["a", "b"] }, startMs);
    expect(refused(underway, undefined).unsettled).toMatchObject({ fallbackKeyId: "two", oneTimeKeyIds: [] });
    const again = leaving(underway, { fallbackKeyId: "two", oneTimeKeyIds: ["b", "c"] }, startMs + 1);
    expect(refused(again, underway.unsettled).unsettled?.oneTimeKeyIds).toEqual(["a", "b"]);
  });
  test("another algorithm among the unused is none of ours", () => {
    expect(decided(first, report(["signed_other"]), startMs + 1).kind).toBe("rotate");
  });

  test("the interval is an hour, and doubles to a day", () => {
    expect([0, 1, 2, 3, 4, 5, 6, 60].map((refusals) => intervalMs(refusals) / hourMs)).toEqual([
      1, 1, 2, 4, 8, 16, 24, 24,
    ]);
  });

  test("the key before is due an hour after it was last reported used, and only while no message may be waiting", () => {
    const rotated = uploaded(told(first, report([]), startMs), "two", startMs + 1_000);
    expect(rotated.fallback.previous).toEqual({ keyId: "one", forgetAfterMs: startMs + hourMs });
    const there = report([algorithm]);
    expect(decided(rotated, there, startMs + hourMs - 1).kind).toBe("keep");
    expect(decided(rotated, there, startMs + hourMs + 1_000).kind).toBe("forget-previous");
    expect(decided(rotated, report([algorithm], { moreToDevice: true }), startMs + dayMs).kind).toBe("keep");
    const forgotten = acknowledged(rotated, { fallbackKeyId: "three", oneTimeKeyIds: [] }, 50, startMs + dayMs);
    expect(forgotten.rows).toContainEqual({ kind: "forgotten", keyId: "one" });
    expect(forgotten.history.fallback.previous).toEqual({ keyId: "two" });
    expect(decided(forgotten.history, there, startMs + 30 * dayMs).kind).toBe("keep");
  });
});

describe("for any server and any clock", () => {
  type Step = {
    waitMs: number;
    unused: string[] | undefined;
    stale: boolean;
    initial: boolean;
    acks: boolean;
  };
  const step = fc.record<Step>({
    waitMs: fc.oneof(
      fc.integer({ min: 0, max: 60_000 }),
      fc.integer({ min: 0, max: 3 * hourMs }),
      fc.integer({ min: -2 * dayMs, max: 3 * dayMs }),
    ),
    unused: fc.constantFrom([], [], [algorithm], ["other"], undefined),
    stale: fc.boolean(),
    initial: fc.boolean(),
    acks: fc.boolean(),
  });

  /** Plays the steps as the feature does, with a Rust crypto that makes keys when told to; what was made, when, and for what reason. */
  function play(steps: Step[]) {
    let history = uploaded(blankHistory, "key-0", startMs);
    let nowMs = startMs;
    let number = 0;
    const made: { atMs: number; kind: string; before: KeyHistory }[] = [];
    for (const one of steps) {
      nowMs += one.waitMs;
      const given = report(one.unused, { stale: one.stale, initial: one.initial });
      history = told(history, given, nowMs);
      const { kind } = decide(history, given, nowMs);
      if (kind === "rotate" || kind === "forget-previous") {
        made.push({ atMs: nowMs, kind, before: history });
        const upload = { fallbackKeyId: `key-${++number}`, oneTimeKeyIds: [] };
        history = leaving(history, upload, nowMs);
      }
      const { unsettled } = history;
      if (unsettled !== undefined && one.acks) {
        history = acknowledged(history, unsettled, 50, nowMs).history;
        const { unsettled: _done, ...settled } = history;
        history = settled;
      }
      // a kill at any place: what was saved is all there is
      history = JSON.parse(JSON.stringify(history)) as KeyHistory;
    }
    return { history, made };
  }

  test("no two rotations within an hour, beside the first; no key twice; at most one new key under way", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { made } = play(steps);
        for (const [index, one] of made.entries()) {
          const last = one.before.fallback.rotatedAtMs;
          if (last !== undefined) expect(Math.abs(one.atMs - last)).toBeGreaterThanOrEqual(hourMs);
          else expect(index).toBe(0);
          expect(one.before.unsettled).toBeUndefined();
        }
      }),
    );
  });

  test("what was reported used is never forgotten within the hour after that", () => {
    fc.assert(
      fc.property(
        fc.array(
          step.filter((one) => one.waitMs >= 0),
          { maxLength: 60 },
        ),
        (steps) => {
          for (const { atMs, before } of play(steps).made) {
            const { previous } = before.fallback;
            if (previous?.forgetAfterMs !== undefined) expect(atMs).toBeGreaterThanOrEqual(previous.forgetAfterMs);
          }
        },
      ),
    );
  });

  test("a server that takes keys and never shows them sees at most eight of them in three days", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1_000, max: hourMs }), { minLength: 10, maxLength: 300 }), (waits) => {
        const steps = waits.map((waitMs) => ({
          waitMs,
          unused: [],
          stale: false,
          initial: false,
          acks: true,
        }));
        const { made } = play(steps);
        const { atMs: fromMs } = made[0] ?? { atMs: startMs };
        expect(made.filter((one) => one.atMs < fromMs + 3 * dayMs).length).toBeLessThanOrEqual(8);
      }),
    );
  });
});

describe("one-time keys", () => {
  const withKeys = acknowledged(blankHistory, { oneTimeKeyIds: ["a"] }, 50, startMs).history;

  test("a count is taken, a missing one is zero before anything was uploaded", () => {
    expect(decideCount(withKeys, report([], { oneTimeKeys: 7 }), startMs)).toEqual({ kind: "take", count: 7 });
    expect(decideCount(blankHistory, report([], { oneTimeKeys: undefined }), startMs)).toEqual({
      kind: "take",
      count: 0,
    });
  });
  test("a server that leaves it out after an upload is asked, once an interval", () => {
    const missing = report([], { oneTimeKeys: undefined });
    expect(decideCount(withKeys, missing, startMs + 1_000).kind).toBe("ignore");
    expect(decideCount(withKeys, missing, startMs + hourMs).kind).toBe("ask");
    const asked = { ...withKeys, oneTime: { ...withKeys.oneTime, askedAtMs: startMs + hourMs } };
    expect(decideCount(asked, missing, startMs + hourMs + 1_000).kind).toBe("ignore");
  });
  test("one that leaves it out where it is zero, and gave it before, is believed", () => {
    const counted = told(withKeys, report([]), startMs);
    expect(decideCount(counted, report([], { oneTimeKeys: undefined }), startMs)).toEqual({ kind: "take", count: 0 });
  });
  test("a stale count is ignored, and the one after a repeated initial sync", () => {
    expect(decideCount(withKeys, report([], { stale: true, oneTimeKeys: 0 }), startMs).kind).toBe("ignore");
    expect(decideCount(withKeys, report([], { initial: true, oneTimeKeys: 0 }), startMs).kind).toBe("ignore");
  });
});

describe("failures", () => {
  const failure = fc.record({
    kind: fc.constantFrom("unreachable" as const, "rejected" as const),
    detail: fc.constant("x"),
  });
  test("five tries in the first minute at most, whatever they fail of, and one an hour at least", () => {
    fc.assert(
      fc.property(fc.array(failure, { minLength: 40, maxLength: 40 }), (failures) => {
        let history = blankHistory;
        const tries: number[] = [];
        let nowMs = startMs;
        for (const one of failures) {
          while (!mayLeave(history, nowMs)) nowMs += 500;
          tries.push(nowMs - startMs);
          history = failed(history, one, nowMs).history;
          expect((history.failing?.nextTryMs ?? 0) - nowMs).toBeLessThanOrEqual(hourMs);
        }
        expect(tries.filter((at) => at < 60_000).length).toBeLessThanOrEqual(5);
        expect(history.problems.map((problem) => problem.code)).toEqual(["upload-failing"]);
      }),
    );
  });
  test("a clock that was set back does not hold uploads for days", () => {
    const { history } = failed(blankHistory, { kind: "unreachable", detail: "x" }, startMs);
    expect(mayLeave(history, startMs)).toBe(false);
    expect(mayLeave(history, startMs - 2 * dayMs)).toBe(true);
  });
});

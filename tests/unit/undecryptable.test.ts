import fc from "fast-check";
import { expect, test } from "vitest";
import type { UndecryptableReason } from "../../preload/contract/timeline.ts";
import {
  afterTry,
  asked,
  firstRecord,
  undecryptableFrom,
  type UndecryptableRecord,
} from "../../main/core/features/timeline/undecryptable.ts";

const secondMs = 1000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
const waiting: UndecryptableReason[] = ["missing-key", "sender-unknown-device", "other"];
const settled: UndecryptableReason[] = [
  "withheld",
  "withheld-unverified",
  "withheld-unsigned",
  "key-too-late",
  "no-backup",
  "backup-locked",
  "not-a-member-then",
  "sender-identity-changed",
  "sender-unsigned",
  "malformed",
];

/** Tries at each planned moment; answers the waits. */
function waits(reason: UndecryptableReason, count: number): number[] {
  let nowMs = 1_000_000;
  let record = firstRecord(nowMs);
  return Array.from({ length: count }, () => {
    record = afterTry(record, reason, false, nowMs);
    const waitMs = (record.nextTryMs ?? Number.NaN) - nowMs;
    nowMs = record.nextTryMs ?? nowMs;
    return waitMs;
  });
}

test("what may come without notice is tried again after 10 s, a minute, 10 minutes, an hour, six, and then once a day", () => {
  const wanted = [10 * secondMs, minuteMs, 10 * minuteMs, hourMs, 6 * hourMs, 24 * hourMs, 24 * hourMs];
  for (const reason of waiting) expect(waits(reason, 7)).toEqual(wanted);
});

test.each(settled)("%s changes only with something that is told: no next try is planned", (reason) => {
  expect(afterTry(firstRecord(5), reason, true, 10).nextTryMs).toBeUndefined();
});

test("a try by hand, or for a key that did not help, leaves the plan as it is", () => {
  const planned = afterTry(firstRecord(0), "missing-key", false, 0);
  const byHand = afterTry(planned, "missing-key", false, 3 * secondMs);
  expect(byHand).toMatchObject({ nextTryMs: planned.nextTryMs, lastTryMs: 3 * secondMs, tries: planned.tries });
});

test("another reason begins the plan anew, and the first sight of it is kept", () => {
  let record = firstRecord(7);
  for (const nowMs of [10, 20_000, 90_000]) record = afterTry(record, "missing-key", false, nowMs);
  const other = afterTry(record, "other", false, 100_000);
  expect(other).toMatchObject({ reason: "other", sinceMs: 7, nextTryMs: 100_000 + 10 * secondMs });
});

test("own devices are awaited where one would answer and a key is what is wanted", () => {
  expect(afterTry(firstRecord(0), "missing-key", true, 0).awaits).toEqual(["sender", "own-devices"]);
  expect(afterTry(firstRecord(0), "no-backup", true, 0).awaits).toEqual(["own-devices"]);
  expect(afterTry(firstRecord(0), "no-backup", false, 0).awaits).toEqual([]);
  expect(afterTry(firstRecord(0), "malformed", true, 0).awaits).toEqual([]);
});

test("that own devices were asked is noted once, and survives further tries", () => {
  const record = asked(asked(afterTry(firstRecord(0), "missing-key", true, 0), "own-devices"), "own-devices");
  expect(record.tried).toEqual(["own-devices"]);
  expect(afterTry(record, "missing-key", true, minuteMs).tried).toEqual(["own-devices"]);
});

test("the window is told the device that the message names, as a word nobody vouches for, and nothing that is no text", () => {
  const stored = JSON.stringify(firstRecord(3));
  expect(undecryptableFrom(stored, { content: { device_id: "ABC" } })).toEqual({
    reason: "missing-key",
    sinceMs: 3,
    lastTryMs: 0,
    tried: [],
    awaits: ["sender"],
    device: "ABC",
  });
  for (const content of [undefined, 5, [], {}, { device_id: 7 }, { device_id: "" }, { device_id: { a: 1 } }])
    expect(undecryptableFrom(stored, { content })).not.toHaveProperty("device");
  expect(undecryptableFrom(stored, { content: { device_id: "x".repeat(9000) } }).device).toHaveLength(255);
});

test("however tries fall, the next one lies ahead, never more than a day away, and reading back what was stored is exact", () => {
  const reasons = fc.constantFrom<UndecryptableReason>(...waiting, ...settled);
  const step = fc.record({ reason: reasons, asks: fc.boolean(), laterMs: fc.integer({ min: 0, max: 40 * hourMs }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let nowMs = 0;
      let record: UndecryptableRecord = firstRecord(nowMs);
      for (const { reason, asks, laterMs } of steps) {
        nowMs += laterMs;
        record = JSON.parse(JSON.stringify(afterTry(record, reason, asks, nowMs))) as UndecryptableRecord;
        expect(record.reason).toBe(reason);
        expect(record.lastTryMs).toBe(nowMs);
        expect(record.sinceMs).toBe(0);
        if (record.nextTryMs !== undefined) {
          expect(record.nextTryMs).toBeGreaterThan(nowMs);
          expect(record.nextTryMs).toBeLessThanOrEqual(nowMs + 24 * hourMs);
        }
        expect(record.nextTryMs !== undefined).toBe(waiting.includes(reason));
      }
    }),
  );
});

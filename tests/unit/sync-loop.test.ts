import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { SyncState } from "../../preload/contract/account.ts";
import { CoreError } from "../../main/core/errors.ts";
import { createSyncLoop } from "../../main/core/sync/loop.ts";
import type { Applied } from "../../main/core/sync/apply.ts";
import { batchFrom } from "../../main/core/sync/v2.ts";

const batch = batchFrom({ next_batch: "t" });
const nothing: Applied = {
  first: false,
  rooms: new Set(),
  events: new Map(),
  gaps: [],
  accountData: new Set(),
  malformed: 0,
  unfinished: false,
};
type Outcome = CoreError | "answered" | "hangs";

let loop: ReturnType<typeof createSyncLoop>;
let polls: { atMs: number; timeoutMs: number }[];
let states: SyncState[];
let sendingMuch = false;

function start(outcomes: Outcome[], apply = () => Promise.resolve(nothing)) {
  polls = [];
  states = [];
  loop = createSyncLoop({
    nowMs: () => Date.now(),
    poll: (timeoutMs, signal) => {
      polls.push({ atMs: Date.now(), timeoutMs });
      const outcome = outcomes.shift() ?? "hangs";
      if (outcome === "answered") return Promise.resolve(batch);
      if (outcome !== "hangs") return Promise.reject(outcome);
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          reject(new CoreError("cancelled"));
        });
      });
    },
    apply,
    applied: () => undefined,
    stateChanged: (state) => states.push(state),
    isSendingMuch: () => sendingMuch,
  });
  loop.start();
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
});
afterEach(async () => {
  sendingMuch = false;
  await loop.stop();
  vi.useRealTimers();
});
const waits = () => polls.slice(1).map((poll, n) => poll.atMs - (polls[n]?.atMs ?? 0));
const down = () => new CoreError("unreachable");

test("a server that stays away is asked after 1, 2, 4 … seconds, at most every minute", async () => {
  start(Array.from({ length: 9 }, down));
  await vi.advanceTimersByTimeAsync(600_000);
  expect(waits()).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  const since = states.map((state) => (state.at === "offline" ? state.sinceMs : 0));
  expect(new Set(since)).toEqual(new Set([1_000_000]));
});

test("after a success the waits begin anew", async () => {
  start([down(), down(), down(), "answered", down(), "answered"]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(waits()).toEqual([1000, 2000, 4000, 0, 1000, 0]);
  expect(states.map((state) => state.at)).toEqual(["offline", "offline", "offline", "live", "offline", "live"]);
});

test("Retry-After takes the place of the own wait", async () => {
  start([new CoreError("rate-limited", { retryAfterMs: 7000 }), "answered"]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(waits()[0]).toBe(7000);
  expect(states[0]).toEqual({ at: "offline", sinceMs: 1_000_000, nextTryMs: 1_007_000, code: "rate-limited" });
});

test("a token that is not known ends it, for those who wait too", async () => {
  start(["answered", "hangs", new CoreError("not-signed-in"), "answered"]);
  await vi.advanceTimersByTimeAsync(10);
  const waiting = loop.syncNow(undefined);
  const seen = expect(waiting).rejects.toMatchObject({ code: "not-signed-in" });
  await vi.advanceTimersByTimeAsync(100_000);
  await seen;
  expect(polls).toHaveLength(3);
  expect(loop.state()).toEqual({ at: "stopped", code: "not-signed-in" });
  await expect(loop.syncNow(undefined)).rejects.toMatchObject({ code: "not-signed-in" });
});

test("syncNow ends the long poll, asks without waiting, and tells nobody offline", async () => {
  start(["answered", "hangs", "answered"]);
  await vi.advanceTimersByTimeAsync(5000);
  expect(polls.map((poll) => poll.timeoutMs)).toEqual([0, 30_000]);
  const wanted = loop.syncNow(undefined);
  await vi.advanceTimersByTimeAsync(1);
  await expect(wanted).resolves.toBe(1_005_000);
  expect(polls.map((poll) => poll.timeoutMs)).toEqual([0, 30_000, 0, 30_000]);
  expect(states.map((state) => state.at)).toEqual(["live"]);
});

test("while much goes out, polls keep a short distance, and somebody who wants to know now does not wait for it", async () => {
  sendingMuch = true;
  start(["answered", "answered", "answered", "answered"]);
  await vi.advanceTimersByTimeAsync(399);
  expect(waits()).toEqual([200]);
  await vi.advanceTimersByTimeAsync(50);
  const wanted = loop.syncNow(undefined);
  await vi.advanceTimersByTimeAsync(1);
  await expect(wanted).resolves.toBe(1_000_449);
  sendingMuch = false;
  await vi.advanceTimersByTimeAsync(1000);
  expect(waits().slice(0, 3)).toEqual([200, 200, 49]);
});

test("a burst of answers is taken some at a time, until it is quiet again", async () => {
  start([...Array.from({ length: 25 }, () => "answered" as const)]);
  await vi.advanceTimersByTimeAsync(1000);
  expect(waits()).toEqual([...Array.from({ length: 20 }, () => 0), 200, 200, 200, 200, 200]);
});

test("syncNow does not begin a first sync anew that the server is still making", async () => {
  start(["hangs"]);
  await vi.advanceTimersByTimeAsync(5000);
  const wanted = [1, 2, 3].map((ms) => expect(loop.syncNow(ms)).rejects.toMatchObject({ code: "timeout" }));
  await vi.advanceTimersByTimeAsync(10);
  await Promise.all(wanted);
  expect(polls.map((poll) => poll.timeoutMs)).toEqual([0]);
});

test("syncNow ends the wait after a failure", async () => {
  start([down(), down(), down(), "answered"]);
  await vi.advanceTimersByTimeAsync(3500);
  expect(polls).toHaveLength(3);
  const wanted = loop.syncNow(undefined);
  await vi.advanceTimersByTimeAsync(1);
  await expect(wanted).resolves.toBe(1_003_500);
});

test("a sync that began before the call does not count", async () => {
  const applying = Promise.withResolvers<Applied>();
  let calls = 0;
  start(["answered", "answered"], () => (++calls === 1 ? applying.promise : Promise.resolve(nothing)));
  await vi.advanceTimersByTimeAsync(10);
  let resolved = false;
  const wanted = loop.syncNow(undefined).then(() => (resolved = true));
  await vi.advanceTimersByTimeAsync(10);
  expect(resolved).toBe(false);
  applying.resolve(nothing);
  await vi.advanceTimersByTimeAsync(10);
  await wanted;
  expect(calls).toBe(2);
});

test("syncNow says timeout when it takes longer than the caller waits", async () => {
  start(["hangs", "hangs"]);
  const seen = expect(loop.syncNow(300)).rejects.toMatchObject({ code: "timeout", retryable: true });
  await vi.advanceTimersByTimeAsync(301);
  await seen;
});

test("a sleeping machine: what was live hours ago is not fresh, and is asked at once", async () => {
  start(["answered", "hangs", "answered"]);
  await vi.advanceTimersByTimeAsync(1000);
  let fresh = false;
  await loop.fresh();
  vi.setSystemTime(Date.now() + 8 * 3_600_000);
  const waiting = loop.fresh().then(() => (fresh = true));
  expect(fresh).toBe(false);
  await vi.advanceTimersByTimeAsync(10);
  await waiting;
  expect(polls).toHaveLength(4);
});

test.each([
  ["forward", 3_600_000],
  ["back", -900_000],
])("a clock that jumps %s makes no old sync a fresh one, and is asked about at once", async (_, jumpMs) => {
  start(["answered", "hangs", "answered"]);
  await vi.advanceTimersByTimeAsync(10);
  vi.setSystemTime(Date.now() + jumpMs);
  const before = polls.length;
  let fresh = false;
  const waiting = loop.fresh().then(() => (fresh = true));
  await Promise.resolve();
  expect(fresh).toBe(false);
  await vi.advanceTimersByTimeAsync(10);
  await waiting;
  expect(polls.length).toBeGreaterThan(before);
  expect(states.map((state) => state.at)).not.toContain("offline");
});

test("a sync that cannot be taken is asked again, with the same patience", async () => {
  let failures = 2;
  start(["answered", "answered", "answered"], () =>
    failures-- > 0 ? Promise.reject(new Error("no")) : Promise.resolve(nothing),
  );
  await vi.advanceTimersByTimeAsync(10_000);
  expect(waits().slice(0, 2)).toEqual([1000, 2000]);
  expect(states.map((state) => (state.at === "offline" ? state.code : state.at))).toEqual([
    "unexpected",
    "unexpected",
    "live",
  ]);
});

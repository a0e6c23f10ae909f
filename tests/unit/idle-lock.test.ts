import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createIdleLock } from "../../main/host/idle-lock.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());
const minute = 60_000;

function idle(limit: number) {
  const state = { limit, open: true, locks: 0 };
  const one = createIdleLock({
    minutes: () => state.limit,
    isOpen: () => state.open,
    lock: () => {
      state.locks += 1;
      state.open = false;
      return Promise.resolve();
    },
    log: { write: () => undefined, error: () => undefined, close: () => undefined },
  });
  return { state, ...one };
}

test("locks once after the time without a touch, and not before", () => {
  const { state, active, stop } = idle(5);
  vi.advanceTimersByTime(4 * minute);
  active();
  vi.advanceTimersByTime(4 * minute);
  expect(state.locks).toBe(0);
  vi.advanceTimersByTime(2 * minute);
  expect(state.locks).toBe(1);
  vi.advanceTimersByTime(60 * minute);
  expect(state.locks).toBe(1);
  stop();
});

test("opened again, it counts from there", () => {
  const { state, stop } = idle(5);
  vi.advanceTimersByTime(6 * minute);
  expect(state.locks).toBe(1);
  vi.advanceTimersByTime(30 * minute);
  state.open = true;
  vi.advanceTimersByTime(4 * minute);
  expect(state.locks).toBe(1);
  vi.advanceTimersByTime(2 * minute);
  expect(state.locks).toBe(2);
  stop();
});

test("never where it is off; a choice holds at once", () => {
  const { state, stop } = idle(0);
  vi.advanceTimersByTime(600 * minute);
  expect(state.locks).toBe(0);
  state.limit = 1;
  vi.advanceTimersByTime(minute);
  expect(state.locks).toBe(1);
  stop();
});

test("a sleep that was longer than the time locks at the first look after it, a clock set back does not", () => {
  const { state, stop } = idle(10);
  vi.advanceTimersByTime(minute);
  vi.setSystemTime(Date.now() - 600 * minute);
  vi.advanceTimersByTime(9 * minute);
  expect(state.locks).toBe(0);
  vi.setSystemTime(Date.now() + 60 * minute);
  vi.advanceTimersByTime(5000);
  expect(state.locks).toBe(1);
  stop();
});

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { afterFirstAnswers } from "../../main/core/first-answers.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("begins after a moment in which nobody asks", () => {
  const begin = vi.fn();
  afterFirstAnswers(begin);
  expect(begin).not.toHaveBeenCalled();
  vi.advanceTimersByTime(30);
  expect(begin).toHaveBeenCalledOnce();
});

test("each answer puts it off, but not for ever, and what is asked later changes nothing", () => {
  const begin = vi.fn();
  const first = afterFirstAnswers(begin);
  for (let passedMs = 0; passedMs < 290; passedMs += 10) {
    vi.advanceTimersByTime(10);
    first.answered();
    expect(begin).not.toHaveBeenCalled();
  }
  vi.advanceTimersByTime(10);
  expect(begin).toHaveBeenCalledOnce();
  first.answered();
  vi.advanceTimersByTime(1_000);
  expect(begin).toHaveBeenCalledOnce();
});

test("what was stopped before does not begin", () => {
  const begin = vi.fn();
  const first = afterFirstAnswers(begin);
  first.cancel();
  first.answered();
  vi.advanceTimersByTime(1_000);
  expect(begin).not.toHaveBeenCalled();
});

import type { Log } from "./log.ts";

type Options = {
  /** After so many without a touch; 0: never. Read at each look, so that a change holds at once. */
  minutes: () => number;
  isOpen: () => boolean;
  lock: () => Promise<void>;
  log: Log;
  nowMs?: () => number;
};

/** Short beside a minute, and long beside what a look costs. */
const lookEveryMs = 5000;

/**
 * Locks the vault when nobody has touched the window for long enough. The window says only that somebody is there: where it hangs, is
 * gone or was tampered with, nothing is said, and the lock comes. A computer that slept longer than that is locked when it wakes.
 */
export function createIdleLock({ minutes, isOpen, lock, log, nowMs = Date.now }: Options): {
  active: () => void;
  stop: () => void;
} {
  let lastMs = nowMs();
  let wasOpen = false;
  const timer = setInterval(() => {
    const open = isOpen();
    // whoever unlocked it was there just now; a clock that was set back counts from where it is
    if ((open && !wasOpen) || nowMs() < lastMs) lastMs = nowMs();
    wasOpen = open;
    const limit = minutes();
    if (!open || limit === 0 || nowMs() - lastMs < limit * 60_000) return;
    log.write("info", `locked after ${limit} minutes without anybody`);
    lock().catch((error: unknown) => {
      log.error("the vault could not be locked", error);
    });
  }, lookEveryMs);
  timer.unref();
  return {
    active: () => {
      lastMs = nowMs();
    },
    stop: () => {
      clearInterval(timer);
    },
  };
}

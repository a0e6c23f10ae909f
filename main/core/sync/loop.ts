import type { SyncState } from "../../../preload/contract/account.ts";
import { CoreError } from "../errors.ts";
import { log } from "../log.ts";
import { asSyncFailure, type Applied } from "./apply.ts";
import type { SyncBatch } from "./batch.ts";

type Parts = {
  /** One poll from the saved token. */
  poll: (timeoutMs: number, signal: AbortSignal) => Promise<SyncBatch>;
  apply: (batch: SyncBatch) => Promise<Applied>;
  /** After the commit. */
  applied: (applied: Applied) => void;
  stateChanged: (state: SyncState) => void;
  /** Much is going out: each message of it would end a long poll. */
  isSendingMuch: () => boolean;
  nowMs: () => number;
};

const pollMs = 30_000;
/** A poll that ended this long ago says nothing of the present: a laptop may have slept. */
const freshMs = pollMs + 15_000;
const firstWaitMs = 1_000;
const longestWaitMs = 60_000;
/**
 * Where each message of many would end a long poll of its own, some are taken together: that leaves the server more time for the
 * messages themselves.
 */
const betweenPollsMs = 200;
/** So many answers, each less than this after the one before, are a burst. */
const burstAnswers = 20;
const burstWithinMs = 400;

type Waiter = { begunAfter: number; resolve: (atMs: number) => void; reject: (error: CoreError) => void };

/** The long poll: one at a time, from the saved token, with back-off; ended early when somebody wants to know now. */
export function createSyncLoop({ poll, apply, applied, stateChanged, isSendingMuch, nowMs }: Parts) {
  let state: SyncState = { at: "starting" };
  let lastMs = 0;
  let inARow = 0;
  let turn = 0;
  let atOnce = true;
  let polling = false;
  let pollsLong = false;
  let pollController = new AbortController();
  let wakeUp: (() => void) | undefined;
  let running: Promise<void> | undefined;
  const stopping = new AbortController();
  const stopped = () => stopping.signal.aborted;
  const isWanted = () => atOnce;
  const waiters = new Set<Waiter>();
  const freshWaiters = new Set<() => void>();

  const setState = (next: SyncState) => {
    const same = next.at === state.at && next.at === "live";
    state = next;
    if (!same) stateChanged(next);
  };

  const run = async () => {
    for (let failures = 0; !stopped();) {
      const mine = ++turn;
      pollController = new AbortController();
      polling = true;
      const timeoutMs = atOnce || state.at !== "live" ? 0 : pollMs;
      pollsLong = timeoutMs > 0;
      atOnce = false;
      try {
        const batch = await poll(timeoutMs, AbortSignal.any([pollController.signal, stopping.signal]));
        polling = false;
        const result = await apply(batch);
        failures = 0;
        inARow = Math.abs(nowMs() - lastMs) < burstWithinMs ? inARow + 1 : 0;
        lastMs = nowMs();
        applied(result);
        setState({ at: "live", lastMs });
        settle(mine);
        if (!isWanted() && !stopped() && (inARow >= burstAnswers || isSendingMuch())) await pause(betweenPollsMs);
      } catch (error) {
        if (stopped()) return;
        const known = asSyncFailure(error);
        // somebody wanted a sync at once: that is no failure, unless the server had answered already
        if (known.code === "cancelled") continue;
        polling = false;
        if (known.code === "not-signed-in") {
          setState({ at: "stopped", code: "not-signed-in" });
          for (const waiter of waiters) waiter.reject(known);
          waiters.clear();
          return;
        }
        log.warn(`sync failed: ${known.code}`, error);
        const waitMs = known.retryAfterMs ?? Math.min(firstWaitMs * 2 ** Math.min(failures, 8), longestWaitMs);
        failures++;
        const sinceMs = state.at === "offline" ? state.sinceMs : nowMs();
        setState({ at: "offline", sinceMs, nextTryMs: nowMs() + waitMs, code: known.code });
        for (const waiter of waiters)
          if (waiter.begunAfter < mine) {
            waiters.delete(waiter);
            waiter.reject(
              known.code === "rate-limited"
                ? known
                : new CoreError(known.code === "disk-full" ? "disk-full" : "unreachable", { cause: known }),
            );
          }
        await pause(waitMs);
      }
    }
  };

  const settle = (mine: number) => {
    for (const waiter of waiters)
      if (waiter.begunAfter < mine) {
        waiters.delete(waiter);
        waiter.resolve(lastMs);
      }
    for (const resolve of freshWaiters) resolve();
    freshWaiters.clear();
  };

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(done, ms);
      function done() {
        clearTimeout(timer);
        wakeUp = undefined;
        resolve();
      }
      wakeUp = done;
    });

  /**
   * Ends a running long poll, or the pause after a failure, and asks again without waiting. A poll that is answered at once anyway
   * is let be: the first one of a large account takes the server long, and would begin anew with each call.
   */
  const hurry = () => {
    atOnce = true;
    if (wakeUp !== undefined) wakeUp();
    else if (polling && pollsLong) pollController.abort();
  };

  return {
    start: () => {
      running ??= run();
    },
    state: () => state,
    hurry,
    /** Resolves after the next completed sync that began after the call. */
    syncNow: (timeoutMs: number | undefined): Promise<number> =>
      new Promise((resolve, reject) => {
        if (state.at === "stopped") {
          reject(new CoreError("not-signed-in"));
          return;
        }
        const waiter: Waiter = {
          begunAfter: turn,
          resolve: (atMs) => {
            clearTimeout(timer);
            resolve(atMs);
          },
          reject: (error) => {
            clearTimeout(timer);
            reject(error);
          },
        };
        const timer =
          timeoutMs === undefined
            ? undefined
            : setTimeout(() => {
                waiters.delete(waiter);
                reject(new CoreError("timeout"));
              }, timeoutMs);
        waiters.add(waiter);
        hurry();
      }),
    /** Resolves once a sync has completed lately; at once where the loop is live. */
    fresh: (): Promise<void> => {
      // a clock that was set back makes no old answer a new one
      if (state.at === "live" && Math.abs(nowMs() - lastMs) < freshMs) return Promise.resolve();
      if (state.at === "live") hurry();
      return new Promise((resolve) => freshWaiters.add(resolve));
    },
    stop: async () => {
      stopping.abort();
      wakeUp?.();
      const gone = new CoreError("cancelled");
      for (const waiter of waiters) waiter.reject(gone);
      waiters.clear();
      await running;
    },
  };
}

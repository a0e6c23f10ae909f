import { isDeepStrictEqual } from "node:util";
import type { DeviceKeysStatus } from "../../../../preload/contract/device-keys.ts";
import type { Emit } from "../../../../preload/contract/index.ts";
import { asCoreError, toFailure } from "../../errors.ts";
import { object, type Json } from "../../json.ts";
import { log } from "../../log.ts";
import { canJudgeFallbackKeys, type FallbackKeyAge } from "../../matrix/crypto-clock.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { DeviceKeyMachine } from "../../matrix/device-keys.ts";
import type { Http } from "../../matrix/http.ts";
import type { DeviceKeysStore } from "../../storage/device-keys-store.ts";
import { clockSeen } from "./clock-skew.ts";
import { algorithm, dayMs, mayLeave, reported, type Change, type KeyHistory, type KeyReport } from "./history.ts";
import { decide, decideCount, type Decision } from "./policy.ts";
import { newRun, quiet, runMarkType, seenRun } from "./run-mark.ts";
import { createUploads } from "./uploads.ts";

/** Rust crypto fills up to so many. */
const target = 50;
/** A new device's first keys wait for the first sync, which tells whether a fallback key belongs to them; but not for a slow one. */
const firstSyncPatienceMs = 5_000;
/** Then Rust crypto replaces a key, used or not. */
const longestAgeMs = 7 * dayMs;
/** A server hands out so many to-device messages a sync at most. */
const fullBatch = 100;

/** What a sync's answer says for crypto. */
type SyncReport = {
  toDevice: unknown[];
  changed: string[];
  left: string[];
  counts: Record<string, number>;
  unusedFallbackKeys: string[] | undefined;
  accountData: { type: string; content: Json }[];
};
type Parts = {
  http: Http;
  store: DeviceKeysStore<KeyHistory>;
  me: string;
  deviceId: string;
  emit: Emit;
  nowMs: () => number;
  /** Writes account data of this account. */
  setAccountData: (type: string, content: Json) => Promise<unknown>;
  /** No sync has been completed on this profile yet. */
  isFirstSync: () => boolean;
};

export type DeviceKeys = ReturnType<typeof createDeviceKeys>;

/** One-time and fallback keys: every key report and every key upload of this device passes here. */
export function createDeviceKeys({ http, store, me, deviceId, emit, nowMs, setAccountData, isFirstSync }: Parts) {
  let history = store.history();
  let machine: DeviceKeyMachine | undefined;
  let crypto: Crypto | undefined;
  let stopped = false;
  /** Uploads that have ended, and how many had when the running sync was asked for; NaN where one was under way. */
  let uploadsEnded = 0;
  let endedAtPoll = 0;
  /** The poll that is not answered yet, and those before it that never were: the same, asked again, may get the answer of then. */
  let polling: { since: string | undefined; timeoutMs: number } | undefined;
  const unanswered = new Map<number, number>();
  let lastReport: KeyReport | undefined;
  let markSent = false;
  let timer: NodeJS.Timeout | undefined;
  let told: DeviceKeysStatus | undefined;
  const startedAtMs = nowMs();
  /** A first key is wanted, and an upload was under way. */
  let missed = false;

  const status = (): DeviceKeysStatus => {
    const { fallback, oneTime, problems } = history;
    const { current, previous } = fallback;
    const unsupported = lastReport !== undefined && (!fallback.everReported || !canJudgeFallbackKeys());
    return {
      oneTime: { onServer: oneTime.onServer, target, uploadedTotal: oneTime.uploadedTotal, atMs: oneTime.atMs },
      fallback: {
        support: unsupported ? "unsupported" : fallback.everReported ? "supported" : "unknown",
        ...(current === undefined
          ? {}
          : {
              current: {
                keyId: current.keyId,
                uploadedAtMs: current.uploadedAtMs,
                ...(current.usedReportedAtMs === undefined ? {} : { usedReportedAtMs: current.usedReportedAtMs }),
              },
            }),
        ...(previous === undefined ? {} : { previous }),
        unusedOnServer: fallback.unusedOnServer,
      },
      problems: problems.toSorted((a, b) => a.sinceMs - b.sinceMs),
      log: store.log(),
    };
  };
  const tell = () => {
    const now = status();
    // that a sync said the same again is no change
    const comparable = { ...now, oneTime: { ...now.oneTime, atMs: 0 } };
    if (isDeepStrictEqual(comparable, told)) return;
    told = comparable;
    emit("deviceKeys.changed", { status: now });
  };
  const change = (work: (now: KeyHistory) => Change) => {
    if (stopped) return;
    const { history: next, rows } = work(history);
    if (next === history && rows.length === 0) return;
    const told = isDeepStrictEqual(withoutTimes(next), withoutTimes(history)) && rows.length === 0;
    history = next;
    if (told) return;
    store.save(next, rows, nowMs());
    tell();
  };

  const uploads = createUploads({
    http,
    nowMs,
    history: () => history,
    change,
    lost: {
      add: (keyIds) => {
        store.addLost(keyIds, nowMs());
      },
      has: store.isLost,
    },
  });

  const untap = http.tap(({ serverMs }) => {
    if (serverMs !== undefined) change((now) => clockSeen(now, serverMs, nowMs()));
  });

  /** Wakes for whatever is next: a failed upload's next try, or the end of the previous key. */
  const schedule = () => {
    clearTimeout(timer);
    if (stopped) return;
    const due = [
      history.failing?.nextTryMs,
      history.fallback.previous?.forgetAfterMs,
      isHeld() ? startedAtMs + firstSyncPatienceMs : undefined,
      missed ? nowMs() + 1 : undefined,
    ].filter((at) => at !== undefined);
    const next = Math.min(...due.filter((at) => at > nowMs()));
    if (!Number.isFinite(next)) return;
    // a day at most: a clock that is set anew makes it late otherwise
    timer = setTimeout(wake, Math.min(next - nowMs() + 20, 24 * 3_600_000));
    timer.unref();
  };
  const wake = () => {
    void (async () => {
      try {
        if (lastReport !== undefined) await act({ ...lastReport, oneTimeKeys: undefined, stale: isUploading() }, true);
        if (mayGo() && (history.failing !== undefined || lastReport === undefined)) await crypto?.processOutgoing();
      } catch (error) {
        log.warn(`keys were not tended: ${toFailure(error).code}`);
      } finally {
        schedule();
      }
    })();
  };

  const isHeld = () =>
    lastReport === undefined &&
    history.oneTime.uploadedAtMs === undefined &&
    Math.abs(nowMs() - startedAtMs) < firstSyncPatienceMs;
  const mayGo = () => !isHeld() && mayLeave(history, nowMs());
  const isUploading = () => machine?.isUploading() === true;

  /** While messages are read no key is replaced for its age: that would drop the one before it, which they may be for. */
  const heldAge = (): FallbackKeyAge | undefined => {
    const madeAtMs = history.fallback.madeAtMs ?? history.fallback.current?.madeAtMs;
    return madeAtMs === undefined || !canJudgeFallbackKeys() ? undefined : { kind: "new", madeAtMs };
  };

  /** To a clock that was set back a key looks older than all, and Rust crypto would replace it at every sync. */
  const youth = (): FallbackKeyAge | undefined => {
    const held = heldAge();
    return held?.kind === "new" && nowMs() < held.madeAtMs + longestAgeMs ? held : undefined;
  };

  /** Hands the report to Rust crypto as the policy decides; `again`: no sync's, but the last one's once more. */
  const act = async (report: KeyReport, again: boolean): Promise<Decision> => {
    if (machine === undefined) return { kind: "wait" };
    const decision: Decision = canJudgeFallbackKeys() ? decide(history, report, nowMs()) : { kind: "unsupported" };
    const rotate = decision.kind === "rotate" || decision.kind === "forget-previous";
    if (decision.kind !== "upload" && (report.stale || (again && !rotate))) return decision;
    const count = again ? undefined : await countFor(report);
    const age: FallbackKeyAge = rotate ? { kind: "expired" } : (youth() ?? { kind: "true" });
    const { done, madeAtMs } = await machine.report({ count, unused: report.unusedFallbackKeyTypes, age });
    if (madeAtMs !== undefined)
      change((now) => ({ history: { ...now, fallback: { ...now.fallback, madeAtMs } }, rows: [] }));
    missed = decision.kind === "upload" && !done;
    if (decision.kind === "upload" && done)
      change((now) => ({ history: { ...now, fallback: { ...now.fallback, asked: true } }, rows: [] }));
    if (rotate && !done) log.warn("the fallback key was not replaced though it should be");
    if (again && done) await crypto?.processOutgoing();
    return decision;
  };

  const countFor = async (report: KeyReport): Promise<number | undefined> => {
    const decision = decideCount(history, report, nowMs());
    if (decision.kind === "take") return decision.count;
    if (decision.kind === "ignore") return undefined;
    change((now) => ({ history: { ...now, oneTime: { ...now.oneTime, askedAtMs: nowMs() } }, rows: [] }));
    try {
      const count = await uploads.count();
      change((now) => ({ history: { ...now, oneTime: { ...now.oneTime, onServer: count, atMs: nowMs() } }, rows: [] }));
      return count;
    } catch (error) {
      log.info(`the one-time keys were not counted: ${toFailure(error).code}`);
      return undefined;
    }
  };

  /** What stands there is asked for first: a sync may come from the server's cache, and our own mark would then hide the other's. */
  const leaveMark = async (): Promise<void> => {
    const type = runMarkType(deviceId);
    const last = await http.request("GET", accountDataPath(me, type)).catch((error: unknown) => {
      if (asCoreError(error).code === "not-found") return {};
      throw error;
    });
    change((now) => quiet(now, nowMs()));
    change((now) => seenRun(now, object(last) ?? {}, nowMs()));
    const { history: next, mark } = newRun(history);
    change(() => ({ history: next, rows: [] }));
    await setAccountData(type, mark);
  };

  return {
    status,
    /** The device's keys should be on the server by now. */
    areUp: (): boolean =>
      !isUploading() && (history.oneTime.uploadedAtMs !== undefined || (history.oneTime.onServer ?? 0) > 0),
    /**
     * A sync is being asked for: what it will say is of now or later. Where the same was asked before and the answer not waited
     * for, it is of then or later: Synapse goes on with such a request, and gives its answer to the next that is like it.
     */
    polls: (since: string | undefined, timeoutMs: number): void => {
      if (polling !== undefined) unanswered.set(polling.timeoutMs, endedAtPoll);
      if (polling?.since !== since) unanswered.clear();
      polling = { since, timeoutMs };
      endedAtPoll = unanswered.get(timeoutMs) ?? (isUploading() ? Number.NaN : uploadsEnded);
    },
    /** Gives Rust crypto what a sync brought; throws where it could not be taken, and then nothing of the sync may be saved. */
    receive: async (core: Crypto, sync: SyncReport): Promise<void> => {
      if (polling !== undefined) unanswered.delete(polling.timeoutMs);
      polling = undefined;
      if (machine === undefined || crypto !== core) {
        await core.receive(sync);
        return;
      }
      await machine.receive(sync, heldAge());
      const report: KeyReport = {
        unusedFallbackKeyTypes: sync.unusedFallbackKeys,
        oneTimeKeys: sync.counts[algorithm],
        stale: endedAtPoll !== uploadsEnded || isUploading(),
        initial: isFirstSync(),
        moreToDevice: sync.toDevice.length >= fullBatch,
      };
      lastReport = report;
      change((now) => reported(now, report, nowMs()));
      const mark = sync.accountData.find(({ type }) => type === runMarkType(deviceId));
      if (mark !== undefined) change((now) => seenRun(now, mark.content, nowMs()));
      await act(report, false);
      schedule();
      tell();
    },
    cryptoStarted: async (core: Crypto): Promise<void> => {
      // with Rust crypto's bindings, which no start waits for
      const { createDeviceKeyMachine } = await import("../../matrix/device-keys.ts");
      crypto = core;
      machine = createDeviceKeyMachine(core, {
        mayLeave: mayGo,
        send: async (body) => {
          try {
            return await uploads.send(body);
          } finally {
            uploadsEnded++;
            schedule();
          }
        },
        settled: () => {
          change(({ unsettled: _done, ...now }) => ({ history: now, rows: [] }));
        },
      });
      schedule();
    },
    /** After each sync; the first of a run leaves this run's mark. */
    synced: (): void => {
      if (markSent || stopped) return;
      markSent = true;
      leaveMark().catch((error: unknown) => {
        markSent = false;
        if (!stopped) log.info(`the mark of this run was not left: ${toFailure(error).code}`);
      });
    },
    stop: (): void => {
      stopped = true;
      clearTimeout(timer);
      untap();
    },
  };
}

const withoutTimes = (history: KeyHistory) => ({ ...history, oneTime: { ...history.oneTime, atMs: 0 } });

const accountDataPath = (me: string, type: string) =>
  `/_matrix/client/v3/user/${encodeURIComponent(me)}/account_data/${encodeURIComponent(type)}`;

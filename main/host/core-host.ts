import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Worker } from "node:worker_threads";
import type { Rescued, SignedIn } from "../../preload/contract/account.ts";
import type { EventMessage, Failure } from "../../preload/contract/define.ts";
import type { InternalCalls, ProxySettings } from "../core/worker-port.ts";
import { openWorker, startCoreWorker, type CoreWorker } from "./core-worker.ts";
import { HostError, WorkerFailure } from "./host-error.ts";
import type { Log } from "./log.ts";
import type { RegisteredAccount } from "./registry.ts";

/** One core worker a signed-in account, and one without an account while somebody signs in. */
export type CoreHost = {
  /** An account will start as soon as the keys are had: its worker loads its code meanwhile. */
  warmUp: () => void;
  /** Ends what {@link CoreHost.warmUp} began and nobody has used. */
  coolDown: () => Promise<void>;
  start: (account: RegisteredAccount) => void;
  call: (userId: string, name: string, input: unknown) => Promise<unknown>;
  internal: <N extends keyof InternalCalls>(
    userId: string,
    name: N,
    input: InternalCalls[N]["input"],
  ) => Promise<InternalCalls[N]["output"]>;
  guest: <N extends keyof InternalCalls>(
    name: N,
    input: InternalCalls[N]["input"],
  ) => Promise<InternalCalls[N]["output"]>;
  /** Reads what is left of an account's damaged files, none of which is run. The account must have been stopped. */
  rescue: (account: RegisteredAccount) => Promise<Rescued>;
  status: (userId: string) => SignedIn | undefined;
  /** An orderly stop that takes longer than `withinMs` (1.5 s) becomes a hard one. */
  stop: (userId: string, withinMs?: number) => Promise<void>;
  stopAll: (withinMs?: number) => Promise<void>;
  /** How often all were stopped: whoever starts a core after a wait makes sure that it was not meanwhile, by a lock or the end. */
  stops: () => number;
};

type Options = {
  workerUrl: URL;
  proxy: ProxySettings;
  log: Log;
  emit: (event: EventMessage) => void;
  /** Where the accounts' own folders are. */
  accountsFolder: string;
  fileKey: (accountFolder: string, file: string) => Uint8Array;
};

type Running = {
  account: RegisteredAccount;
  status: SignedIn;
  worker?: CoreWorker | undefined;
  startedMs: number;
  /** Ends in a row without a minute of life between them. */
  crashes: number;
  restart?: { timer: NodeJS.Timeout; atMs: number; held: (() => void)[] } | undefined;
  failure?: Failure | undefined;
  stopping: boolean;
};

const firstRestartMs = 200;
const longestRestartMs = 30_000;
/** A call waits this long for a worker that is being started again. */
const holdCallsMs = 2000;
const livedMs = 60_000;
const stopWithinMs = 1500;
const guestLingersMs = 20_000;
/** A new worker would find the same. */
const lastingFailures = new Set(["database-corrupt", "wrong-key"]);

export function createCoreHost(options: Options): CoreHost {
  const { log, emit, workerUrl, proxy } = options;
  const running = new Map<string, Running>();
  const rescuers = new Set<CoreWorker>();
  let stops = 0;
  let warm: Worker | undefined;
  let guest: { worker: CoreWorker; calls: number; timer?: NodeJS.Timeout } | undefined;

  const folderOf = ({ folder }: RegisteredAccount) => path.join(options.accountsFolder, folder);
  const keysOf = ({ folder }: RegisteredAccount) => ({
    crypto: options.fileKey(folder, "crypto.db"),
    account: options.fileKey(folder, "account.db"),
  });
  /** Lies in the folder while a worker uses it: found at a start, the last stop was not orderly. */
  const markerOf = (entry: Running) => path.join(folderOf(entry.account), "in-use");

  function setStatus(entry: Running, status: SignedIn): void {
    entry.status = status;
    emit({ event: "account.changed", payload: { status }, account: entry.account.userId });
  }

  function startWorker(entry: Running): void {
    const { account } = entry;
    const folder = folderOf(account);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const lastStopOrderly = !existsSync(markerOf(entry));
    writeFileSync(markerOf(entry), "", { mode: 0o600 });
    const { userId, deviceId, homeserver, accessToken } = account;
    entry.failure = undefined;
    entry.startedMs = Date.now();
    const keys = keysOf(account);
    const session = { userId, deviceId, homeserver, accessToken };
    const thread = warm;
    warm = undefined;
    const worker = startCoreWorker(
      { workerUrl, warm: thread, start: { kind: "account", proxy, folder, keys, session, lastStopOrderly } },
      log,
      {
        onReady(status) {
          log.write("info", `core ready after ${Date.now() - entry.startedMs} ms`);
          if (status !== undefined) entry.status = status;
        },
        onFailed(failure) {
          log.write("error", `core failed to start: ${failure.code}`);
          entry.failure = failure;
          setStatus(entry, { ...entry.status, sync: { at: "stopped", code: failure.code } });
        },
        onEvent(event, payload) {
          if (event === "account.changed") {
            const { status } = payload as { status: SignedIn };
            entry.status = status;
          }
          emit({ event, payload, account: userId });
        },
        onEnd() {
          if (entry.worker !== worker) return;
          entry.worker = undefined;
          if (!entry.stopping) scheduleRestart(entry);
        },
      },
    );
    entry.worker = worker;
  }

  function scheduleRestart(entry: Running): void {
    if (entry.failure !== undefined && lastingFailures.has(entry.failure.code)) return;
    entry.crashes = Date.now() - entry.startedMs > livedMs ? 1 : entry.crashes + 1;
    const delayMs = Math.min(longestRestartMs, firstRestartMs * 2 ** (entry.crashes - 1));
    log.write("warn", `core ended by itself; starting it again in ${delayMs} ms`);
    const held: (() => void)[] = [];
    const timer = setTimeout(() => {
      entry.restart = undefined;
      try {
        startWorker(entry);
      } catch (error) {
        log.error("a core could not be started", error);
        scheduleRestart(entry);
      }
      for (const go of held) go();
    }, delayMs);
    entry.restart = { timer, atMs: Date.now() + delayMs, held };
    if (entry.failure === undefined) setStatus(entry, { ...entry.status, sync: { at: "starting" } });
  }

  function start(account: RegisteredAccount): void {
    const { userId, deviceId, homeserver } = account;
    const entry: Running = {
      account,
      status: { at: "signed-in", userId, deviceId, homeserver, sync: { at: "starting" } },
      startedMs: Date.now(),
      crashes: 0,
      stopping: false,
    };
    running.set(userId, entry);
    try {
      startWorker(entry);
    } catch (error) {
      log.error("a core could not be started", error);
      scheduleRestart(entry);
    }
  }

  async function call(userId: string, name: string, input: unknown): Promise<unknown> {
    const entry = running.get(userId);
    if (entry === undefined) throw new HostError("not-signed-in");
    const { restart } = entry;
    if (entry.worker === undefined && restart !== undefined && restart.atMs - Date.now() <= holdCallsMs) {
      await new Promise<void>((resolve) => restart.held.push(resolve));
    }
    if (entry.worker !== undefined) return entry.worker.call(name, input);
    throw entry.failure === undefined
      ? new HostError("unexpected", { retryable: true })
      : new WorkerFailure(entry.failure);
  }

  async function stop(userId: string, withinMs = stopWithinMs): Promise<void> {
    const entry = running.get(userId);
    if (entry === undefined) return;
    entry.stopping = true;
    if (entry.restart !== undefined) {
      clearTimeout(entry.restart.timer);
      for (const go of entry.restart.held) go();
      entry.restart = undefined;
    }
    const orderly = (await entry.worker?.stop(withinMs)) ?? false;
    if (orderly) rmSync(markerOf(entry), { force: true });
    else log.write("warn", "core did not stop in an orderly way");
    running.delete(userId);
  }

  async function rescue(account: RegisteredAccount): Promise<Rescued> {
    const { userId, deviceId } = account;
    const start = {
      kind: "rescue",
      folder: folderOf(account),
      keys: keysOf(account),
      session: { userId, deviceId },
    } as const;
    const worker = startCoreWorker({ workerUrl, start }, log, {
      onReady: () => undefined,
      onFailed: (failure) => {
        log.write("error", `nothing could be rescued: ${failure.code}`);
      },
      onEvent: () => undefined,
      onEnd: () => undefined,
    });
    rescuers.add(worker);
    try {
      return (await worker.call("rescue.run", {})) as Rescued;
    } finally {
      rescuers.delete(worker);
      await worker.stop(stopWithinMs);
    }
  }

  function guestWorker(): NonNullable<typeof guest> {
    if (guest !== undefined) return guest;
    const worker = startCoreWorker({ workerUrl, start: { kind: "guest", proxy } }, log, {
      onReady: () => undefined,
      onFailed: (failure) => {
        log.write("error", `guest core failed to start: ${failure.code}`);
      },
      onEvent: () => undefined,
      onEnd: () => {
        if (guest?.worker === worker) guest = undefined;
      },
    });
    guest = { worker, calls: 0 };
    return guest;
  }

  async function stopGuest(withinMs = stopWithinMs): Promise<void> {
    const ending = guest;
    guest = undefined;
    clearTimeout(ending?.timer);
    await ending?.worker.stop(withinMs);
  }

  function warmUp(): void {
    const thread = openWorker(workerUrl, { kind: "warm" }, log);
    warm = thread;
    thread.once("exit", () => {
      if (warm === thread) warm = undefined;
    });
  }

  async function coolDown(): Promise<void> {
    const thread = warm;
    warm = undefined;
    await thread?.terminate();
  }

  return {
    warmUp,
    coolDown,
    start,
    call,
    internal: (userId, name, input) => call(userId, name, input) as Promise<never>,
    async guest(name, input) {
      const current = guestWorker();
      clearTimeout(current.timer);
      current.calls += 1;
      try {
        return (await current.worker.call(name, input)) as never;
      } finally {
        current.calls -= 1;
        // signing in asks two or three things in a row; after that the worker is a waste
        if (current.calls === 0 && guest === current)
          current.timer = setTimeout(() => void stopGuest(), guestLingersMs);
      }
    },
    rescue,
    status: (userId) => running.get(userId)?.status,
    stop,
    stops: () => stops,
    async stopAll(withinMs) {
      stops += 1;
      await Promise.all([
        coolDown(),
        stopGuest(withinMs),
        ...[...rescuers].map((worker) => worker.stop(withinMs ?? stopWithinMs)),
        ...[...running.keys()].map((userId) => stop(userId, withinMs)),
      ]);
    },
  };
}

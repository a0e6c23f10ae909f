import { Worker } from "node:worker_threads";
import type { SignedIn } from "../../preload/contract/account.ts";
import type { Failure } from "../../preload/contract/define.ts";
import type { FromWorker, ToWorker, WarmStart, WorkerStart } from "../core/worker-port.ts";
import { HostError, WorkerFailure } from "./host-error.ts";
import type { Log } from "./log.ts";

/** One running core. Calls that are made before it is ready wait for that. */
export type CoreWorker = {
  /** Rejects with the core's failure, or `unexpected` (retryable) where the worker ends first. */
  call: (name: string, input: unknown) => Promise<unknown>;
  /** True where it said goodbye in time; else it is ended hard. */
  stop: (timeoutMs: number) => Promise<boolean>;
};

type Listener = {
  onReady: (status: SignedIn | undefined) => void;
  onFailed: (failure: Failure) => void;
  onEvent: (event: string, payload: unknown) => void;
  /** After the thread has ended, for whatever reason. */
  onEnd: () => void;
};

type Pending = { resolve: (value: unknown) => void; reject: (error: Error) => void };

/** The keys move into the worker: the host's copies are empty from there on. */
const keysOf = (start: WorkerStart | WarmStart) =>
  "keys" in start ? ([start.keys.crypto.buffer, start.keys.account.buffer] as ArrayBuffer[]) : [];

/**
 * V8 gives a thread 128 MB for what is young, and fills it before it looks what of that is still in use. With 16 MB at a time, as it
 * was for long, an import of 100,000 keys takes no longer and needs 100 MB less.
 */
export const coreLimits = { maxYoungGenerationSizeMb: 48 };

/** `warm`: its code loads while the keys are still being had; it is given to {@link startCoreWorker} or ended. */
export function openWorker(workerUrl: URL, start: WorkerStart | WarmStart, log: Log): Worker {
  const worker = new Worker(workerUrl, {
    workerData: start,
    transferList: keysOf(start),
    resourceLimits: coreLimits,
    stdout: true,
    stderr: true,
    name: "core",
  });
  // what a library prints may hold anything, and stdout belongs to the headless door's protocol
  worker.stdout.resume();
  worker.stderr.resume();
  worker.on("error", (error) => {
    log.error("a core worker ended by an error", error);
  });
  return worker;
}

type Start = { workerUrl: URL; start: WorkerStart; warm?: Worker | undefined };
export function startCoreWorker({ workerUrl, start, warm }: Start, log: Log, listener: Listener): CoreWorker {
  const worker = warm ?? openWorker(workerUrl, start, log);
  if (warm !== undefined) warm.postMessage({ kind: "start", start } satisfies ToWorker, keysOf(start));

  const pending = new Map<number, Pending>();
  let early: ToWorker[] | undefined = [];
  let lastId = 0;
  let ended = false;
  let failure: Failure | undefined;
  let goodbye: ((orderly: boolean) => void) | undefined;

  const post = (message: ToWorker) => {
    worker.postMessage(message);
  };

  function finish(): void {
    if (ended) return;
    ended = true;
    for (const call of pending.values()) call.reject(gone());
    pending.clear();
    goodbye?.(false);
    listener.onEnd();
  }
  const gone = () =>
    failure === undefined ? new HostError("unexpected", { retryable: true }) : new WorkerFailure(failure);

  worker.on("message", (message: FromWorker) => {
    switch (message.kind) {
      case "ready":
        for (const call of early ?? []) post(call);
        early = undefined;
        listener.onReady(message.status);
        break;
      case "failed":
        failure = message.error;
        listener.onFailed(message.error);
        void worker.terminate();
        break;
      case "answer": {
        const call = pending.get(message.id);
        pending.delete(message.id);
        if (message.answer.ok) call?.resolve(message.answer.value);
        else call?.reject(new WorkerFailure(message.answer.error));
        break;
      }
      case "event":
        listener.onEvent(message.event, message.payload);
        break;
      case "log":
        log.write(message.level, `core: ${message.text}`);
        break;
      case "stopped":
        goodbye?.(true);
        break;
    }
  });
  worker.on("exit", finish);

  return {
    call(name, input) {
      if (ended) return Promise.reject(gone());
      lastId += 1;
      const message: ToWorker = { kind: "call", id: lastId, name, input };
      return new Promise((resolve, reject) => {
        pending.set(message.id, { resolve, reject });
        if (early === undefined) post(message);
        else early.push(message);
      });
    },
    async stop(timeoutMs) {
      if (ended) return false;
      const orderly = await new Promise<boolean>((resolve) => {
        goodbye = resolve;
        setTimeout(() => {
          resolve(false);
        }, timeoutMs);
        post({ kind: "stop" });
      });
      await worker.terminate();
      return orderly;
    },
  };
}

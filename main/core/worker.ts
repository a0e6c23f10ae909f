import { parentPort, workerData } from "node:worker_threads";
import { createDispatch } from "./dispatch.ts";
import { toFailure } from "./errors.ts";
import { afterFirstAnswers } from "./first-answers.ts";
import { describe, log, setLogSink } from "./log.ts";
import type { FromWorker, ToWorker, WarmStart, WorkerStart } from "./worker-port.ts";

const port = parentPort;
if (port === null) throw new Error("core runs in a worker thread");
const post = (message: FromWorker) => {
  port.postMessage(message);
};

// the SDK's global logger names users and devices; its lines end here
const silence = () => undefined;
globalThis.console = Object.assign(Object.create(globalThis.console) as Console, {
  log: silence,
  debug: silence,
  info: silence,
  warn: silence,
  error: silence,
  trace: silence,
  time: silence,
  timeEnd: silence,
  group: silence,
  groupEnd: silence,
});
setLogSink((level, text) => {
  post({ kind: "log", level, text });
});
process.on("unhandledRejection", (reason) => {
  log.error("a rejection was not handled", reason);
});

/** Beside this file in the bundle, where it lies among the sources otherwise. */
const decryptWorker = new URL(
  import.meta.url.endsWith(".ts") ? "./matrix/backup-decrypt-worker.ts" : "./backup-decrypt.js",
  import.meta.url,
);

type Running = {
  dispatch: ReturnType<typeof createDispatch>;
  answered?: () => void;
  stop: () => Promise<void>;
};

async function start(data: WorkerStart): Promise<Running> {
  if (data.kind === "guest") {
    const [{ discover }, { endSession, login, register }] = await Promise.all([
      import("./matrix/discovery.ts"),
      import("./matrix/sign-in.ts"),
    ]);
    const dispatch = createDispatch({
      "guest.discover": ({ server }) => discover(server, data.proxy),
      "guest.login": (input) => login(input, data.proxy),
      "guest.register": (input) => register(input, data.proxy),
      "guest.endSession": (input) => endSession(input, data.proxy),
    });
    post({ kind: "ready", status: undefined });
    return { dispatch, stop: () => Promise.resolve() };
  }
  if (data.kind === "rescue") {
    const { rescue } = await import("./features/renew/rescue.ts");
    post({ kind: "ready", status: undefined });
    return { dispatch: createDispatch({ "rescue.run": () => rescue(data) }), stop: () => Promise.resolve() };
  }
  const { startSession } = await import("./session.ts");
  const session = await startSession(
    data,
    (event, payload) => {
      post({ kind: "event", event, payload });
    },
    decryptWorker,
  );
  post({ kind: "ready", status: session.status() });
  const first = afterFirstAnswers(session.run);
  return {
    dispatch: createDispatch(session.handlers),
    answered: first.answered,
    stop: () => {
      first.cancel();
      return session.stop();
    },
  };
}

/** What to start as: at once, or with the first message while the code is loaded already. */
async function startData(): Promise<WorkerStart> {
  const data = workerData as WorkerStart | WarmStart;
  if (data.kind !== "warm") return data;
  const told = new Promise<WorkerStart>((resolve) => {
    port?.on("message", (message: ToWorker) => {
      if (message.kind === "start") resolve(message.start);
    });
  });
  await import("./session.ts");
  return told;
}

const running = startData()
  .then(start)
  .catch((error: unknown) => {
    log.error("the core could not start", error);
    post({ kind: "failed", error: toFailure(error) });
    port.close();
    return undefined;
  });

port.on("message", (message: ToWorker) => {
  if (message.kind === "start") return;
  void (async () => {
    const core = await running;
    if (core === undefined) return;
    if (message.kind === "call") {
      post({ kind: "answer", id: message.id, answer: await core.dispatch(message.name, message.input) });
      core.answered?.();
    } else {
      await core.stop().catch((error: unknown) => {
        log.error(`an orderly stop failed: ${describe(error)}`);
      });
      post({ kind: "stopped" });
      port.close();
    }
  })();
});

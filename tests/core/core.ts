import { createHash, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Worker } from "node:worker_threads";
import type { Answer, Failure } from "../../preload/contract/define.ts";
import type { CoreCommandName, Events, EventName, Input, Output } from "../../preload/contract/index.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import type { FromWorker, InternalCalls, Session, ToWorker, WorkerStart } from "../../main/core/worker-port.ts";
import type { Account } from "../homeserver/homeserver.ts";

type CoreEvent = { [N in EventName]: { event: N; payload: Events[N] } }[EventName];
type Internal = "account.atRisk" | "account.endSession" | "account.salvage";
type InputOf<N> = N extends CoreCommandName ? Input<N> : N extends Internal ? InternalCalls[N]["input"] : never;
type OutputOf<N> = N extends CoreCommandName ? Output<N> : N extends Internal ? InternalCalls[N]["output"] : never;

export type Core = Awaited<ReturnType<typeof startCore>>;
type CoreOptions = {
  session: Session;
  /** A folder of makeFolder(); a second core on it is a restart. */
  folder?: string;
  /** A fault proxy's address instead of the session's own homeserver. */
  via?: string;
  lastStopOrderly?: boolean;
  /** Another name, other database keys. */
  keysOf?: string;
};

/** A core that could not start, as the host would learn it. */
export class CoreStartError extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(`The core did not start: ${failure.code}`);
    this.failure = failure;
  }
}

class CallError extends Error {
  readonly failure: Failure;
  constructor(name: string, failure: Failure) {
    super(`${name}: ${failure.code} (${failure.message})`);
    this.failure = failure;
  }
}

const folders = new Set<string>();
const running = new Set<Worker>();

export function makeFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-core-"));
  folders.add(folder);
  return folder;
}

/** For `afterAll`: ends what still runs and removes the folders. */
export async function endCores(): Promise<void> {
  await Promise.all([...running].map((worker) => worker.terminate()));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  folders.clear();
}

export const sessionOf = (account: Account, homeserver: string): Session => ({
  userId: account.userId,
  deviceId: account.deviceId,
  homeserver,
  accessToken: account.accessToken,
});

export const databaseKey = (
  session: Pick<Session, "userId">,
  file: "account" | "crypto",
  keysOf = "",
): Uint8Array<ArrayBuffer> =>
  new Uint8Array(createHash("sha256").update(`${session.userId} ${file} ${keysOf}`).digest());

/** The sources while one works on them; `npm test` has just built the bundle. */
const workerUrl = new URL(
  process.env["TESSERA_BUILT"] === undefined ? "../../main/core/worker.ts" : "../../dist/main/worker.js",
  import.meta.url,
);

/** The real worker for one account, spoken to as the host does. Resolves once it answers calls; throws CoreStartError. */
export async function startCore({ session, folder = makeFolder(), via, lastStopOrderly = true, keysOf }: CoreOptions) {
  const start: WorkerStart = {
    kind: "account",
    proxy: {},
    folder,
    keys: { crypto: databaseKey(session, "crypto", keysOf), account: databaseKey(session, "account", keysOf) },
    session: { ...session, homeserver: via ?? session.homeserver },
    lastStopOrderly,
  };
  const worker = new Worker(workerUrl, { workerData: start });
  running.add(worker);
  let calls = 0;
  const waiting = new Map<number, (answer: Answer<unknown>) => void>();
  const events: CoreEvent[] = [];
  const logs: { level: string; text: string }[] = [];
  const watchers = new Set<() => void>();
  const ready = Promise.withResolvers<undefined>();
  const stopped = Promise.withResolvers<undefined>();
  const gone = new Promise<void>((resolve) => {
    worker.once("exit", () => {
      running.delete(worker);
      ready.reject(new Error("The worker ended before it was ready."));
      stopped.resolve(undefined);
      for (const answer of waiting.values())
        answer({ ok: false, error: { code: "cancelled", message: "The worker ended.", retryable: false } });
      waiting.clear();
      resolve();
    });
  });
  worker.on("error", (error) => {
    ready.reject(error);
  });
  worker.on("message", (message: FromWorker) => {
    switch (message.kind) {
      case "ready":
        ready.resolve(undefined);
        break;
      case "failed":
        ready.reject(new CoreStartError(message.error));
        break;
      case "answer":
        waiting.get(message.id)?.(message.answer);
        waiting.delete(message.id);
        break;
      case "event":
        events.push({ event: message.event, payload: message.payload } as CoreEvent);
        for (const watcher of watchers) watcher();
        break;
      case "log":
        logs.push({ level: message.level, text: message.text });
        break;
      case "stopped":
        stopped.resolve(undefined);
        break;
    }
  });
  const post = (message: ToWorker) => {
    worker.postMessage(message);
  };

  const call = <N extends CoreCommandName | Internal>(name: N, input: InputOf<N>): Promise<Answer<OutputOf<N>>> =>
    new Promise((resolve) => {
      const id = ++calls;
      waiting.set(id, (answer) => {
        resolve(answer as Answer<OutputOf<N>>);
      });
      post({ kind: "call", id, name, input });
    });
  const ok = async <N extends CoreCommandName | Internal>(name: N, input: InputOf<N>): Promise<OutputOf<N>> => {
    const answer = await call(name, input);
    if (!answer.ok) throw new CallError(name, answer.error);
    return answer.value;
  };
  /** The first event of that name, from the given place of `events` on, that fits. */
  const nextEvent = <N extends EventName>(
    name: N,
    fits: (payload: Events[N]) => boolean = () => true,
    from = 0,
  ): Promise<Events[N]> =>
    new Promise((resolve, reject) => {
      let at = from;
      const look = () => {
        for (; at < events.length; at++) {
          const one = events[at];
          if (one?.event !== name || !fits(one.payload as Events[N])) continue;
          watchers.delete(look);
          resolve(one.payload as Events[N]);
          return;
        }
      };
      watchers.add(look);
      look();
      void gone.then(() => {
        reject(new Error(`The worker ended before ${name} came.`));
      });
    });

  const load = async (roomId: string, limit = 200): Promise<Item[]> =>
    (await ok("timeline.load", { roomId, limit })).items;
  /** All the way back, oldest first. */
  const history = async (roomId: string, limit = 100): Promise<Item[]> => {
    const items: Item[] = [];
    for (let before: string | undefined; ;) {
      const page = await ok("timeline.load", { roomId, limit, ...(before === undefined ? {} : { before }) });
      items.unshift(...page.items);
      before = page.before;
      if (before === undefined) return items;
    }
  };
  /** Looks at the room's newest items again after each change, until they fit. */
  const until = async <T>(look: () => Promise<T | undefined | false>, what = "that"): Promise<T> => {
    while (running.has(worker)) {
      const seen = events.length;
      const found = await look();
      if (found !== undefined && found !== false) return found;
      // an event, or a moment: some changes are told before they can be read, others are not told at all
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          watchers.delete(done);
          resolve();
        };
        const timer = setTimeout(done, events.length > seen ? 0 : 100);
        watchers.add(done);
      });
    }
    throw new Error(`The worker ended before ${what} was seen.`);
  };

  const send = async (roomId: string, body: string, transactionId = randomUUID() as string) =>
    (await ok("timeline.send", { roomId, body, transactionId })).itemId;
  /** Own item, once the server has it. */
  const sent = (roomId: string, itemId: string) =>
    until(
      async () => (await load(roomId)).find((item) => item.itemId === itemId && item.state === "sent"),
      "a sent item",
    );

  const core = {
    session,
    folder,
    via,
    worker,
    events,
    logs,
    call,
    ok,
    nextEvent,
    load,
    history,
    until,
    sync: () => ok("account.sync", { timeoutMs: 60_000 }),
    /** Asks until the server can be reached again. */
    reconnected: () => until(async () => (await call("account.sync", { timeoutMs: 60_000 })).ok, "the server"),
    send,
    /** A message of one's own, once the server has it. */
    say: async (roomId: string, body: string) => sent(roomId, await send(roomId, body)),
    item: (roomId: string, fits: (item: Item) => boolean, what = "an item") =>
      until(async () => (await load(roomId)).find(fits), what),
    /** The item of this event, once it was tried to be read. */
    event: (roomId: string, eventId: string | undefined) =>
      until(
        async () =>
          (await load(roomId)).find((item) => item.eventId === eventId && item.undecryptable?.lastTryMs !== 0),
        "an event",
      ),
    /** The item with this text, once it can be read. */
    message: (roomId: string, body: string) =>
      until(async () => (await load(roomId)).find((item) => item.body === body), `"${body}"`),
    sent,
    room: (roomId: string) =>
      until(async () => (await ok("rooms.list", {})).find((room) => room.roomId === roomId), "the room"),
    /** At once, wherever it stands: what SIGKILL does to a process, for a thread. */
    kill: async () => {
      await worker.terminate();
      await gone;
    },
    stop: async () => {
      post({ kind: "stop" });
      await stopped.promise;
      await worker.terminate();
      await gone;
    },
  };
  try {
    await ready.promise;
  } catch (error) {
    await worker.terminate();
    throw error;
  }
  return core;
}

/** Stops it in order and starts it again on its folder. */
export async function restarted(core: Core, more: Partial<CoreOptions> = {}): Promise<Core> {
  await core.stop();
  return await startCore({ ...sameAs(core), ...more });
}
export const sameAs = ({ session, folder, via }: Core): CoreOptions => ({
  session,
  folder,
  ...(via === undefined ? {} : { via }),
});

export const texts = (items: Item[]): string[] => items.filter((item) => item.kind === "text").map((item) => item.body);

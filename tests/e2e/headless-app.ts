import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { EventMessage, Failure, Response } from "../../preload/contract/define.ts";
import type { CommandName, Input, Output } from "../../preload/contract/index.ts";
import type { VaultAt } from "../../preload/contract/vault.ts";

const entry = fileURLToPath(new URL("../../scripts/headless.mjs", import.meta.url));

/** What a command was refused with. */
export class AppFailure extends Error {
  readonly failure: Failure;
  constructor(name: string, failure: Failure) {
    super(`${name}: ${failure.code}: ${failure.message}`);
    this.failure = failure;
  }
}

/** The process ended before it answered. */
export class AppGone extends Error {}

export type Exit = { code: number | null; signal: NodeJS.Signals | null; tookMs: number };
export type AppReady = { protocol: number; version: string; vault: { at: VaultAt } };
export type HeadlessOptions = {
  /** By default a new folder, with a new passphrase; both go with `remove()`. */
  profile?: string;
  passphraseFile?: string;
  verbose?: boolean;
  env?: Record<string, string>;
};

/** The product as a program outside of it sees it: the headless door's process, its stdin and its stdout. */
export type HeadlessApp = {
  readonly profile: string;
  readonly passphraseFile: string;
  readonly pid: number;
  /** What the running process said first. */
  readonly ready: AppReady;
  /** Milliseconds from spawn to `app.ready`. */
  readonly readyMs: number;
  /** All events of all runs. */
  readonly events: EventMessage[];
  /** All that came on stderr of all runs. */
  readonly stderr: string;
  /** Throws {@link AppFailure} and {@link AppGone}. */
  call<N extends CommandName>(name: N, input: Input<N>, account?: string): Promise<Output<N>>;
  /** The answer as it is, to input of any shape. */
  ask(name: string, input: unknown, account?: string): Promise<Response>;
  /** Any line; the answer to it where it carries that id. */
  line(text: string, id: number | string | null): Promise<Response>;
  /** The first event that matches, also one that came since `from` (an index into `events`). */
  waitFor(matches: (event: EventMessage) => boolean, from?: number): Promise<EventMessage>;
  kill(signal: NodeJS.Signals): Promise<Exit>;
  /** The end of stdin: an orderly stop. */
  stop(): Promise<Exit>;
  start(): Promise<void>;
  /** Ends it, by an orderly stop where it still runs, and removes what the driver made. */
  remove(): Promise<void>;
};

type Run = { child: ChildProcessWithoutNullStreams; exited: Promise<Exit>; pending: Map<string, Pending> };
type Pending = { resolve: (response: Response) => void; reject: (error: Error) => void };

/** Lines of stdout that are no JSON object of the protocol end the test: nothing else may ever come there. */
export async function openHeadless(options: HeadlessOptions = {}): Promise<HeadlessApp> {
  const own = mkdtempSync(path.join(tmpdir(), "tessera-e2e-"));
  const profile = options.profile ?? path.join(own, "profile");
  const passphraseFile = options.passphraseFile ?? path.join(own, "passphrase");
  if (options.passphraseFile === undefined)
    writeFileSync(passphraseFile, `${randomBytes(18).toString("base64url")}\n`, { mode: 0o600 });
  mkdirSync(path.dirname(profile), { recursive: true });

  const events: EventMessage[] = [];
  const waiters = new Set<() => void>();
  let stderr = "";
  let lastId = 0;
  let run: Run | undefined;
  let ready: AppReady | undefined;
  let readyMs = 0;

  async function start(): Promise<void> {
    const startedMs = performance.now();
    const args = ["--profile", profile, "--passphrase-file", passphraseFile, ...(options.verbose ? ["--verbose"] : [])];
    const child = spawn(process.execPath, [entry, ...args], { stdio: "pipe", env: { ...process.env, ...options.env } });
    const pending = new Map<string, Pending>();
    const first = Promise.withResolvers<AppReady>();
    const exited = new Promise<Exit>((resolve) => {
      child.once("close", (code, signal) => {
        for (const { reject } of pending.values()) reject(new AppGone("The process ended before it answered."));
        pending.clear();
        first.reject(
          new AppGone(`The process ended before app.ready: ${code ?? signal ?? ""}\n${stderr.slice(-2000)}`),
        );
        if (run?.child === child) run = undefined;
        resolve({ code, signal, tookMs: 0 });
      });
    });
    // a write to a process that is gone is answered by its end
    child.stdin.on("error", () => undefined);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    let received = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (received + text).split("\n");
      received = lines.pop() ?? "";
      for (const line of lines) take(JSON.parse(line) as Response | EventMessage);
    });
    const take = (message: Response | EventMessage) => {
      if ("event" in message) {
        if (message.event === "app.ready") {
          readyMs = performance.now() - startedMs;
          first.resolve(message.payload as AppReady);
        } else if (message.event === "app.failed") {
          first.reject(new AppFailure("start", message.payload as Failure));
        }
        events.push(message);
        for (const waiter of waiters) waiter();
        return;
      }
      const key = JSON.stringify(message.id);
      pending.get(key)?.resolve(message);
      pending.delete(key);
    };
    run = { child, exited, pending };
    try {
      ready = await first.promise;
    } catch (error) {
      await exited;
      throw error;
    }
  }

  const line: HeadlessApp["line"] = (text, id) => {
    if (run === undefined) return Promise.reject(new AppGone("The process does not run."));
    const { child, pending } = run;
    return new Promise((resolve, reject) => {
      pending.set(JSON.stringify(id), { resolve, reject });
      child.stdin.write(`${text}\n`);
    });
  };
  const ask: HeadlessApp["ask"] = (name, input, account) => {
    lastId += 1;
    return line(JSON.stringify({ id: lastId, name, input, ...(account === undefined ? {} : { account }) }), lastId);
  };
  const end = async (how: (child: ChildProcessWithoutNullStreams) => void): Promise<Exit> => {
    if (run === undefined) throw new AppGone("The process does not run.");
    const { child, exited } = run;
    const askedMs = performance.now();
    how(child);
    return { ...(await exited), tookMs: performance.now() - askedMs };
  };

  const app: HeadlessApp = {
    profile,
    passphraseFile,
    get pid() {
      if (run?.child.pid === undefined) throw new AppGone("The process does not run.");
      return run.child.pid;
    },
    get ready() {
      if (ready === undefined) throw new AppGone("The process was never ready.");
      return ready;
    },
    get readyMs() {
      return readyMs;
    },
    events,
    get stderr() {
      return stderr;
    },
    ask,
    line,
    async call(name, input, account) {
      const response = await ask(name, input, account);
      if (!response.ok) throw new AppFailure(name, response.error);
      return response.value as Output<typeof name>;
    },
    waitFor(matches, from = 0) {
      let next = from;
      return new Promise((resolve) => {
        const look = () => {
          for (; next < events.length; next++) {
            const event = events[next];
            if (event === undefined || !matches(event)) continue;
            waiters.delete(look);
            resolve(event);
            return;
          }
        };
        waiters.add(look);
        look();
      });
    },
    kill: (signal) => end((child) => child.kill(signal)),
    stop: () => end((child) => child.stdin.end()),
    start,
    async remove() {
      if (run !== undefined) await app.stop();
      rmSync(own, { recursive: true, force: true });
    },
  };
  try {
    await start();
  } catch (error) {
    rmSync(own, { recursive: true, force: true });
    throw error;
  }
  return app;
}

import { maxRequestBytes, type EventMessage } from "../../preload/contract/define.ts";
import type { StartHelper } from "../host/helper-process.ts";
import { failureOf, HostError } from "../host/host-error.ts";
import { startHost, type Host } from "../host/host.ts";
import { tooLarge, type Caller } from "../host/router.ts";
import { watchAncestors } from "../host/ancestors.ts";
import { readArguments } from "./arguments.ts";
import { lineWriter, readLines, type LineWriter } from "./json-lines.ts";

export type HeadlessOptions = {
  args: readonly string[];
  version: string;
  workerUrl: URL;
  /** Starts the keychain's process: a fork in plain Node, `utilityProcess` in Electron. */
  startHelper: StartHelper;
  electronVersion?: string;
};

const caller: Caller = { door: "headless", isWindow: false };
/** An end of stdin gives what was asked before it this long to be answered. */
const answersMs = 1000;
/** A stop, and one after that wait: all within the 3 s that the contract gives. */
const stopMs = 2000;
const stopAfterAnswersMs = 700;

/** Runs the headless door on this process's stdio until it ends; exits the process. See docs/contract.md, "The headless door". */
export async function runHeadless(options: HeadlessOptions): Promise<void> {
  const out = claimStdout();
  const leave = stopper(out.lines);
  out.onGone(() => {
    leave.stop(0);
  });
  leave.watch();
  try {
    const folder = process.env["TESSERA_CALLERS_FOLDER"] ?? process.cwd();
    const { profile, passphrase, verbose } = readArguments(options.args, folder);
    const host = await startHost({
      profile,
      passphrase,
      door: "headless",
      version: options.version,
      workerUrl: options.workerUrl,
      keychain: { startHelper: options.startHelper },
      copyLogTo: verbose ? (line) => void process.stderr.write(line) : undefined,
      callersFolder: folder,
      electronVersion: options.electronVersion,
    });
    leave.host = host;
    await serve(host, options.version, out, leave);
  } catch (error) {
    const { code, message } = failureOf(error) ?? new HostError("unexpected").failure;
    out.lines.write({ event: "app.failed", payload: { code, message } });
    leave.stop(code === "conflict" ? 3 : 1);
  }
}

type Out = { lines: LineWriter; onGone(listener: () => void): void };

/** stdout is the protocol's alone: whatever else in this process prints lands on stderr. */
function claimStdout(): Out {
  const { stdout } = process;
  const write = stdout.write.bind(stdout);
  stdout.write = process.stderr.write.bind(process.stderr);
  // nobody there to read stderr any more is no reason to end
  process.stderr.on("error", () => undefined);
  let gone: () => void = () => undefined;
  const lines = lineWriter(
    write,
    stdout,
    () => {
      gone();
    },
    (crowded) => (crowded ? process.stdin.pause() : process.stdin.resume()),
  );
  return {
    lines,
    onGone: (listener) => {
      gone = listener;
    },
  };
}

type Leave = { host: Host | undefined; stop(code: number, withinMs?: number): void; watch(): void };

/** Every way this process ends, each in order. */
function stopper(lines: LineWriter): Leave {
  let stopping = false;
  const leave: Leave = {
    host: undefined,
    stop(code, withinMs) {
      if (stopping) return;
      stopping = true;
      const latest = setTimeout(() => process.exit(code), stopMs);
      void Promise.resolve(leave.host?.stop(withinMs))
        .catch((error: unknown) => leave.host?.log.error("stopping", error))
        .then(() => lines.flushed())
        .finally(() => {
          clearTimeout(latest);
          process.exit(code);
        });
    },
    watch() {
      for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const)
        process.on(signal, () => {
          leave.stop(0);
        });
      watchAncestors(() => {
        leave.stop(0);
      });
      const failed = (what: string) => (error: unknown) => {
        leave.host?.log.error(what, error);
        leave.stop(1);
      };
      process.on("uncaughtException", failed("uncaught"));
      process.on("unhandledRejection", failed("unhandled rejection"));
    },
  };
  return leave;
}

async function serve(host: Host, version: string, { lines }: Out, leave: Leave): Promise<void> {
  const early: EventMessage[] = [];
  let ready = false;
  host.on((event) => {
    if (ready) lines.write(event);
    else early.push(event);
  });
  if (host.vaultAtStart !== "new") await host.settled();
  const at = host.vaultAtStart === "new" ? "new" : host.vaultStatus().at;
  lines.write({ event: "app.ready", payload: { protocol: 1, version, vault: { at } } });
  ready = true;
  // what app.ready has just said needs no event of its own
  for (const event of early) if (event.event !== "vault.changed" || host.vaultAtStart === "new") lines.write(event);

  let open = 0;
  let ended = false;
  const done = () => {
    open -= 1;
    if (ended && open === 0) leave.stop(0);
  };
  readLines(process.stdin, maxRequestBytes, {
    onLine(line) {
      open += 1;
      void host.handleText(line, caller).then((response) => {
        lines.write(response);
        done();
      });
    },
    onTooLong: () => {
      lines.write(tooLarge());
    },
    onEnd() {
      ended = true;
      if (open === 0) leave.stop(0);
      else
        setTimeout(() => {
          leave.stop(0, stopAfterAnswersMs);
        }, answersMs);
    },
  });
}

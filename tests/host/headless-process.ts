import { spawn, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

type Line = {
  id?: number | string | null;
  ok?: boolean;
  value?: unknown;
  error?: { code: string; details?: unknown };
  event?: string;
  payload?: unknown;
};

/** The headless door in a process of its own, driven over its stdio. */
export type HeadlessProcess = {
  child: ChildProcess;
  /** All of stdout so far, as it came. */
  stdout: () => string;
  stderr: () => string;
  lines: Line[];
  /** The first line that there is or comes for which this holds. Throws where the process ends first. */
  line: (holds: (line: Line) => boolean) => Promise<Line>;
  ask: (name: string, input?: object) => Promise<Line>;
  write: (text: string | Uint8Array) => void;
  /** Code, signal, and how long it took from the call to this. */
  exit(): Promise<{ code: number | null; signal: NodeJS.Signals | null; tookMs: number }>;
};

const fixture = fileURLToPath(new URL("./fixtures/headless.ts", import.meta.url));

export function startHeadless(
  args: string[],
  env: NodeJS.ProcessEnv = process.env,
  command?: [string, ...string[]],
): HeadlessProcess {
  const [program, ...first] = command ?? [process.execPath, fixture];
  const child = spawn(program, [...first, ...args], { stdio: ["pipe", "pipe", "pipe"], env });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  let stdout = "";
  let stderr = "";
  let taken = 0;
  let lastId = 0;
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const check of [...waiting]) check();
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    for (let end = stdout.indexOf("\n", taken); end >= 0; end = stdout.indexOf("\n", taken)) {
      lines.push(JSON.parse(stdout.slice(taken, end)) as Line);
      taken = end + 1;
    }
    wake();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  // a process that has ended takes no more input; the tests see that by its exit
  child.stdin.on("error", () => undefined);
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on("close", (code, signal) => {
      resolve({ code, signal });
      wake();
    });
  });
  const running: HeadlessProcess = {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    lines,
    line: (holds) =>
      new Promise((resolve, reject) => {
        const check = () => {
          const found = lines.find(holds);
          if (found === undefined && child.exitCode === null && child.signalCode === null) return;
          waiting.delete(check);
          if (found === undefined) reject(new Error(`ended first: ${stderr}`));
          else resolve(found);
        };
        waiting.add(check);
        check();
      }),
    ask(name, input = {}) {
      lastId += 1;
      const id = `ask-${lastId}`;
      running.write(`${JSON.stringify({ id, name, input })}\n`);
      return running.line((line) => line.id === id);
    },
    write(text) {
      child.stdin.write(text);
    },
    async exit() {
      const startedMs = Date.now();
      return { ...(await ended), tookMs: Date.now() - startedMs };
    },
  };
  return running;
}

import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { _electron, chromium, type Page } from "playwright-core";
import { findElectron } from "../../scripts/start.mjs";

/** The app as it runs behind its Electron door: on the real binary, or on the stand-in where there is none. */
export type ElectronDoor = {
  page: Page;
  /** Runs the body of an async function in the main process; `electron` is Electron's module. */
  inMain: (source: string) => Promise<unknown>;
  /** Asks the app to end and waits for it: its exit code. */
  quit: (signal?: NodeJS.Signals) => Promise<number | null>;
  /** Ends it at once, whatever it does. */
  kill: () => Promise<void>;
};

const root = path.resolve(import.meta.dirname, "../..");
const entry = path.join(root, "dist", "main", "electron.js");
const binary = findElectron();
const asRoot = process.getuid?.() === 0;
/** What the tests of this door run on. */
export const runsOn: "stand-in" | "electron" = binary.path === undefined ? "stand-in" : "electron";

/** One line that says which of the two it is. */
export function describeElectron(): string {
  if (binary.path !== undefined)
    return `[real] Electron at ${binary.path}${asRoot ? " (root: its sandbox is off)" : ""}`;
  return `[stand-in] for Electron (${binary.reason}): sandbox, context isolation, fuses and the keychain's utility process stay unproven`;
}

/** `args`: the app's own. */
export function launchElectronDoor(args: string[]): Promise<ElectronDoor> {
  return binary.path === undefined ? launchStandIn(args) : launchReal(binary.path, args);
}

/** Starts another process of the app and answers its exit code. */
export async function runSecond(args: string[]): Promise<number | null> {
  const child =
    binary.path === undefined
      ? forkStandIn(args)
      : spawn(binary.path, [...(asRoot ? ["--no-sandbox"] : []), root, ...args], { stdio: "ignore" });
  const [code] = (await once(child, "exit")) as [number | null];
  return code;
}

/** Starts the app's headless door: its stdio is the protocol's. */
export function spawnHeadless(args: string[]) {
  const own = ["--headless", ...args];
  const standIn = ["--disable-warning=ExperimentalWarning", path.join(import.meta.dirname, "run-stand-in.ts"), entry];
  const [command, before] =
    binary.path === undefined
      ? [process.execPath, standIn]
      : [binary.path, [...(asRoot ? ["--no-sandbox"] : []), root]];
  return spawn(command, [...before, ...own], { stdio: ["pipe", "pipe", "inherit"] });
}

async function launchReal(executablePath: string, args: string[]): Promise<ElectronDoor> {
  const app = await _electron.launch({
    executablePath,
    args: [...(asRoot ? ["--no-sandbox"] : []), "--use-fake-device-for-media-stream", root, ...args],
  });
  const child = app.process();
  const exit = exitOf(child);
  return {
    page: await app.firstWindow(),
    inMain: (source) => app.evaluate(`async (electron) => { ${source} }`),
    quit: async (signal) => {
      if (signal === undefined) void app.evaluate("({ app }) => app.quit()").catch(() => undefined);
      else child.kill(signal);
      return exit;
    },
    kill: async () => {
      child.kill("SIGKILL");
      await exit;
    },
  };
}

const forkStandIn = (args: string[]) =>
  fork(path.join(import.meta.dirname, "run-stand-in.ts"), [entry, ...args], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });

async function launchStandIn(args: string[]): Promise<ElectronDoor> {
  const child = forkStandIn(args);
  const exit = exitOf(child);
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  const port = await new Promise<number>((resolve, reject) => {
    child.on("message", (message: { port?: number; id?: number; value?: unknown; error?: string }) => {
      if (message.port !== undefined) resolve(message.port);
      if (message.id === undefined) return;
      const call = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.error === undefined) call?.resolve(message.value);
      else call?.reject(new Error(message.error));
    });
    void exit.then((code) => {
      reject(new Error(`The app ended with ${String(code)} before its window opened.`));
      for (const call of waiting.values()) call.reject(new Error("The app ended."));
    });
  });
  const inMain = (source: string) =>
    new Promise<unknown>((resolve, reject) => {
      waiting.set(++lastId, { resolve, reject });
      child.send({ id: lastId, source });
    });
  const browser = await chromium.connectOverCDP(`http://127.0.0.1:${String(port)}`);
  return {
    page: await firstPage(() => browser.contexts().flatMap((context) => context.pages())),
    inMain,
    quit: async (signal) => {
      if (signal === undefined) void inMain("electron.app.quit()").catch(() => undefined);
      else child.kill(signal);
      return exit;
    },
    kill: async () => {
      await browser.close();
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 5000);
      await exit;
      clearTimeout(late);
    },
  };
}

async function firstPage(pages: () => Page[]): Promise<Page> {
  for (;;) {
    const page = pages().find((each) => !each.url().startsWith("about:"));
    if (page !== undefined) {
      await page.waitForLoadState("load");
      return page;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return once(child, "exit").then(([code]) => code as number | null);
}

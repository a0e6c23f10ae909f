/** Windows of the built app: the loopback door's process on a person's profile, and a page of Chromium on it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import type { Answer } from "../../preload/contract/define.ts";
import type { CommandName, Input, Output } from "../../preload/contract/index.ts";
import type { Flat } from "../webcam/scene.ts";
import type { Person } from "./people.ts";

const loopback = fileURLToPath(new URL("../../dist/main/loopback.js", import.meta.url));
type PageSide = { core: { call: (name: string, input: unknown) => Promise<unknown> } };

export type AppWindow = {
  page: Page;
  /** All that went between page and door, as text; over restarts too. */
  trace: { sent: string[]; received: string[] };
  /** What the door's process has said for its log. */
  said: () => string;
  call<N extends CommandName>(name: N, input: Input<N>): Promise<Output<N>>;
  /** Ends the door's process, as when the computer sleeps; the page stays, without answers. */
  stop: () => Promise<void>;
};

/** The person's profile must not be open elsewhere. */
export async function openWindow(browser: Browser, { app }: Person): Promise<AppWindow> {
  const args = ["--no-open", "--verbose", "--profile", app.profile, "--passphrase-file", app.passphraseFile];
  const door = spawn(process.execPath, [loopback, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  door.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const address = await addressOf(door);
  const context = await browser.newContext({ locale: "en-GB", permissions: ["camera"] });
  const page = await context.newPage();
  page.setDefaultTimeout(110_000);
  const trace = { sent: [] as string[], received: [] as string[] };
  page.on("websocket", (socket) => {
    socket.on("framesent", ({ payload }) => trace.sent.push(payload.toString()));
    socket.on("framereceived", ({ payload }) => trace.received.push(payload.toString()));
  });
  await page.goto(address);
  await page.locator(".column").waitFor();
  return {
    page,
    trace,
    said: () => said,
    async call<N extends CommandName>(name: N, input: Input<N>) {
      const answer = (await page.evaluate(
        ([command, value]) => (globalThis as unknown as PageSide).core.call(command, value),
        [name, input] as const,
      )) as Answer<Output<N>>;
      if (!answer.ok) throw new Error(`${name}: ${answer.error.code}`);
      return answer.value;
    },
    async stop() {
      await context.close();
      if (door.exitCode !== null) return;
      const ended = once(door, "exit");
      door.kill("SIGTERM");
      await ended;
    },
  };
}

/** Where the loopback door has its window, once it says so. Its output must be a pipe. */
export function addressOf(door: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    door.once("exit", () => {
      reject(new Error("The loopback door ended."));
    });
    if (door.stdout === null) throw new Error("The loopback door has no output.");
    createInterface({ input: door.stdout }).on("line", (line) => {
      const found = /http:\/\/127\.0\.0\.1:\S+/.exec(line)?.[0];
      if (found !== undefined) resolve(found);
    });
  });
}

/** The code that a window shows, module by module, read off its drawing. */
export async function shownCode(page: Page): Promise<Flat> {
  const code = page.getByRole("dialog").getByRole("img", { name: "The code to be scanned" });
  const size = Number((await code.getAttribute("viewBox"))?.split(" ")[2]);
  const path = (await code.locator("path").getAttribute("d")) ?? "";
  const dark = new Uint8Array(size * size);
  for (const [, x, y, run] of path.matchAll(/M(\d+) (\d+)h(\d+)/g))
    dark.fill(1, Number(y) * size + Number(x), Number(y) * size + Number(x) + Number(run));
  return { size, dark };
}

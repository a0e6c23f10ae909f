/** Chromium with the built window in it. */
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import type { Scenario } from "../../fakes/bridge.ts";
import type { Harness } from "./serve.ts";

export type OpenOptions = {
  scenario?: Scenario;
  width?: number;
  height?: number;
  context?: BrowserContextOptions;
  fixedTime?: string;
};

export type Window = { page: Page; /** Errors, refused loads and requests that left the harness. */ trouble: string[] };

let announced = false;

/** `args`: of Chromium, as for a camera that plays a video. */
export async function launch(args: readonly string[] = []): Promise<Browser> {
  const root = process.getuid?.() === 0;
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM_PATH"] ?? "/usr/bin/chromium",
    // a graphics card that is imitated in software takes half of the machine
    args: [...(root ? ["--no-sandbox"] : []), "--disable-gpu", ...args],
  });
  if (!announced) console.log(`[real] Chromium ${browser.version()}`);
  announced = true;
  return browser;
}

export async function openWindow(browser: Browser, harness: Harness, options: OpenOptions = {}): Promise<Window> {
  const { width = 1200, height = 780, context = {}, fixedTime } = options;
  const made = await browser.newContext({
    viewport: { width, height },
    locale: "en-GB",
    colorScheme: "light",
    ...context,
  });
  const page = await made.newPage();
  // to end a hang before the test's own time-out does, with a word of what was waited for
  page.setDefaultTimeout(100_000);
  if (fixedTime !== undefined) await page.clock.setFixedTime(new Date(fixedTime));
  return await loadWindow(page, harness, options);
}

/** Loads the window with another scenario into a page; nothing is left of what the page showed before. */
export async function loadWindow(page: Page, harness: Harness, { scenario = {} }: OpenOptions): Promise<Window> {
  const trouble: string[] = [];
  for (const event of ["pageerror", "console", "request"]) page.removeAllListeners(event);
  page.on("pageerror", (error) => trouble.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") trouble.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(harness.url) && !request.url().startsWith("blob:"))
      trouble.push(`request: ${request.url()}`);
  });
  // what the window that was there says while it goes is not of this one
  page.once("framenavigated", () => trouble.splice(0));
  await page.goto(`${harness.url}?scenario=${encodeURIComponent(JSON.stringify(scenario))}`);
  return { page, trouble };
}

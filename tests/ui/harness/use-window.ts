/** One Chromium and one built window for a test file. */
import AxeBuilder from "@axe-core/playwright";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";
import { launch, openWindow, type OpenOptions, type Window } from "./browser.ts";
import { serveWindow, type Harness } from "./serve.ts";

/** Use at the top of a test file; answers how to open windows. */
export function useWindow(): { open: (options?: OpenOptions) => Promise<Window> } {
  let browser: Browser | undefined;
  let harness: Harness | undefined;
  const opened: Page[] = [];
  beforeAll(async () => {
    [browser, harness] = await Promise.all([launch(), serveWindow()]);
  });
  afterAll(async () => {
    await Promise.all(opened.map((page) => page.context().close()));
    await browser?.close();
    await harness?.stop();
  });
  return {
    async open(options) {
      if (browser === undefined || harness === undefined) throw new Error("the harness has not started");
      const window = await openWindow(browser, harness, options);
      opened.push(window.page);
      return window;
    },
  };
}

/** Nothing that axe finds, in the words of a failing test. */
export async function expectAccessible(page: Page, where = page.url(), rules?: string[]): Promise<void> {
  const builder = new AxeBuilder({ page });
  const { violations } = await (rules === undefined ? builder : builder.withRules(rules)).analyze();
  const found = violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map((node) => `${node.target.join(" ")} (${node.any[0]?.message ?? ""})`).join("; ")}`,
  );
  expect(found, where).toEqual([]);
}

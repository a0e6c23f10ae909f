/** One Chromium and one built window for a test file. */
import AxeBuilder from "@axe-core/playwright";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { launch, openWindow, type OpenOptions, type Window } from "./browser.ts";
import { serveWindow, type Harness } from "./serve.ts";

/** Use at the top of a test file; answers how to open windows. `prepare` answers the arguments that Chromium starts with. */
export function useWindow(prepare: () => readonly string[] = () => []): {
  open: (options?: OpenOptions) => Promise<Window>;
} {
  let browser: Browser | undefined;
  let harness: Harness | undefined;
  const opened: Page[] = [];
  beforeAll(async () => {
    [browser, harness] = await Promise.all([launch(prepare()), serveWindow()]);
  });
  // a page that is left open goes on drawing, and takes the machine from the tests after it
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((page) => page.context().close()));
  });
  afterAll(async () => {
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

/** Nothing that axe finds, in the words of a failing test. `within`: a selector of the part to be looked at. */
export async function expectAccessible(
  page: Page,
  where = page.url(),
  rules?: string[],
  within?: string,
): Promise<void> {
  const builder = new AxeBuilder({ page });
  if (within !== undefined) builder.include(within);
  const { violations } = await (rules === undefined ? builder : builder.withRules(rules)).analyze();
  const found = violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map((node) => `${node.target.join(" ")} (${node.any[0]?.message ?? ""})`).join("; ")}`,
  );
  expect(found, where).toEqual([]);
}

/** Resolves once what the element shows has stood still for some frames, however long a frame takes. */
export async function standsStill(element: Locator): Promise<void> {
  await element.evaluate(async (node) => {
    let last = "";
    for (let same = 0; same < 8;) {
      await new Promise(requestAnimationFrame);
      const now = `${node.scrollTop} ${node.scrollHeight} ${node.childElementCount}`;
      same = now === last ? same + 1 : 0;
      last = now;
    }
  });
}

/** One Chromium and one built window for a test file. */
import { createRequire } from "node:module";
import AxeBuilder from "@axe-core/playwright";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { eventually } from "../../eventually.ts";
import { launch, loadWindow, openWindow, type OpenOptions, type Window } from "./browser.ts";
import { PageShelf } from "./page-shelf.ts";
import { serveWindow, type Harness } from "./serve.ts";

/** Use at the top of a test file; answers how to open windows. `prepare` answers the arguments that Chromium starts with. */
export function useWindow(prepare: () => readonly string[] = () => []): {
  open: (options?: OpenOptions) => Promise<Window>;
} {
  let browser: Browser | undefined;
  let harness: Harness | undefined;
  const shelf = new PageShelf();
  beforeAll(async () => {
    [browser, harness] = await Promise.all([launch(prepare()), serveWindow()]);
  });
  // a page that is left open goes on drawing, and takes the machine from the tests after it
  afterEach(async ({ task }) => {
    await shelf.endTest(task.result?.state !== "fail");
  });
  afterAll(async () => {
    await browser?.close();
    await harness?.stop();
  });
  return {
    async open(options = {}) {
      if (browser === undefined || harness === undefined) throw new Error("the harness has not started");
      const kept = await shelf.take(options);
      const window = await (kept === undefined
        ? openWindow(browser, harness, options)
        : loadWindow(kept, harness, options));
      shelf.lend(window.page, options);
      return window;
    },
  };
}

const ofAxe = createRequire(createRequire(import.meta.url).resolve("@axe-core/playwright"));
const { source: axeSource } = ofAxe("axe-core") as { source: string };

/**
 * Nothing that axe finds, in the words of a failing test. `within`: a selector of the part to be looked at. The window
 * has no frames, so axe runs within the page: by default its results are put together in a further page, at three
 * times the cost. What still fades in is waited for.
 */
export async function expectAccessible(
  page: Page,
  where = page.url(),
  rules?: string[],
  within?: string,
): Promise<void> {
  expect(page.frames(), where).toHaveLength(1);
  await settled(page);
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axeSource);
  const builder = new AxeBuilder({ page, axeSource: ";" }).setLegacyMode().options({ resultTypes: ["violations"] });
  if (within !== undefined) builder.include(within);
  const { violations } = await (rules === undefined ? builder : builder.withRules(rules)).analyze();
  const found = violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map((node) => `${node.target.join(" ")} (${node.any[0]?.message ?? ""})`).join("; ")}`,
  );
  expect(found, where).toEqual([]);
}

/** Resolves once nothing fades in or moves any more: colours are judged after that. */
const settled = (page: Page): Promise<boolean> =>
  eventually(
    () =>
      page.evaluate(() =>
        document
          .getAnimations()
          .every((one) => one.playState !== "running" || one.effect?.getTiming().iterations === Infinity),
      ),
    Boolean,
  );

/**
 * Looks at what is shown in its own theme with every rule, then in the other one, which changes colours alone, for its
 * contrast. The page is left in that other theme.
 */
export async function expectAccessibleInBoth(page: Page, where: string, within?: string): Promise<void> {
  await expectAccessible(page, where, undefined, within);
  await page.evaluate(() => {
    const { dataset } = document.documentElement;
    dataset["theme"] = dataset["theme"] === "dark" ? "light" : "dark";
  });
  await expectAccessible(page, `${where}, in the other theme`, ["color-contrast"], within);
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

/** Whether what lies at the middle of the scroller, while it scrolls, is within something that fits the selector. */
export const takesPointerWhileScrolling = (scroller: Locator, selector: string): Promise<boolean> =>
  scroller.evaluate(async (node, wanted) => {
    const scrolled = new Promise((resolve) => {
      node.addEventListener("scroll", resolve, { once: true });
    });
    node.scrollTop += node.scrollTop > 0 ? -8 : 8;
    await scrolled;
    await new Promise(requestAnimationFrame);
    const { left, top, width, height } = node.getBoundingClientRect();
    return document.elementFromPoint(left + width / 2, top + height / 2)?.closest(wanted) !== null;
  }, selector);

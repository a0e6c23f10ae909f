/**
 * Keeps a page from one test for the next: to load the window again into a page costs a third of a new context, which
 * has a process of its own. The window stores nothing in the browser, so that nothing is left after loading.
 */
import type { Page } from "playwright-core";
import type { OpenOptions } from "./browser.ts";

/** What outlasts loading the window again; a page of which a test has used any of it is not kept. */
const lasting = {
  page: ["route", "emulateMedia", "addInitScript", "exposeFunction", "exposeBinding", "setViewportSize"],
  context: [
    "route",
    "addInitScript",
    "exposeFunction",
    "exposeBinding",
    "grantPermissions",
    "setOffline",
    "addCookies",
  ],
  clock: ["install", "setFixedTime", "setSystemTime", "pauseAt"],
};

const kindOf = ({ width, height, context, fixedTime }: OpenOptions): string =>
  JSON.stringify([width, height, context, fixedTime]);

export class PageShelf {
  readonly #lent = new Map<Page, string>();
  readonly #changed = new WeakSet<Page>();
  readonly #watched = new WeakSet<Page>();
  #kept: { page: Page; kind: string } | undefined;

  /** The page that was kept, where it was opened in the same way; one that was not is closed. */
  async take(options: OpenOptions): Promise<Page | undefined> {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept === undefined) return undefined;
    if (kept.kind !== kindOf(options)) {
      await kept.page.context().close();
      return undefined;
    }
    // where the pointer of a new page is
    await kept.page.mouse.move(0, 0);
    return kept.page;
  }

  lend(page: Page, options: OpenOptions): void {
    this.#lent.set(page, kindOf(options));
    if (options.fixedTime !== undefined) this.#changed.add(page);
    if (this.#watched.has(page)) return;
    this.#watched.add(page);
    for (const [owner, names] of [
      [page, lasting.page],
      [page.context(), lasting.context],
      [page.clock, lasting.clock],
    ] as const)
      for (const name of names) this.#watch(page, owner, name);
  }

  /** Closes what was opened, but for one page that is as it was. */
  async endTest(passed: boolean): Promise<void> {
    const lent = [...this.#lent];
    this.#lent.clear();
    const asItWas = lent.find(
      ([page]) => passed && !page.isClosed() && !this.#changed.has(page) && page.context().pages().length === 1,
    );
    if (asItWas !== undefined) {
      if (this.#kept !== undefined) lent.push([this.#kept.page, this.#kept.kind]);
      this.#kept = { page: asItWas[0], kind: asItWas[1] };
    }
    await Promise.all(lent.filter((one) => one !== asItWas).map(([page]) => page.context().close()));
  }

  #watch(page: Page, owner: object, name: string): void {
    const original = Reflect.get(owner, name) as (...args: unknown[]) => unknown;
    Object.defineProperty(owner, name, {
      configurable: true,
      value: (...args: unknown[]) => {
        this.#changed.add(page);
        return original.apply(owner, args);
      },
    });
  }
}

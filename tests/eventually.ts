/**
 * What is found once it fits; looks again until then, so a test that cannot hold ends by its own time-out. Also the way to wait for
 * something in a page: playwright's waitForFunction evaluates source text within the page, which the window's policy forbids.
 */
export async function eventually<T>(look: () => T | Promise<T>, fits: (found: T) => boolean): Promise<T> {
  for (;;) {
    const found = await look();
    if (fits(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

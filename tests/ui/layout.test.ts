/** What a picture shows at a glance and no role or name says: nothing runs out of its place. */
import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { standsStill, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();

test("no page of the settings is wider than its place, in the longer language and the narrowest two columns", async () => {
  const { page } = await open({
    scenario: { lastOpened: roomIds.ana, preferences: { language: "de" } },
    width: 720,
    height: 560,
  });
  await page.locator(".own").click();
  const tabs = page.getByRole("tab");
  await tabs.first().waitFor();
  const names = await tabs.allTextContents();
  expect(names.length).toBeGreaterThan(7);
  for (const name of names) {
    await page.getByRole("tab", { name, exact: true }).click();
    const section = page.getByRole("tabpanel", { name, exact: true });
    await section.waitFor();
    await standsStill(section);
    const outside = await section.evaluate((node) => {
      const edge = node.getBoundingClientRect().left + node.clientWidth;
      return [...node.querySelectorAll("*")]
        .filter((one) => one.closest(".unseen") === null && one.getBoundingClientRect().right > edge + 1)
        .map((one) => `${one.tagName} ${one.getAttribute("class") ?? ""}`);
    });
    expect({ name, outside }).toEqual({ name, outside: [] });
  }
});

/** The panel beside the conversation, and what of it does not reach from edge to edge. */
const inset = (page: Page, part: string): Promise<boolean> =>
  page
    .getByRole("complementary")
    .filter({ has: page.locator(part) })
    .evaluate((panel, selector) => {
      const bar = panel.querySelector(selector)?.getBoundingClientRect();
      return bar === undefined || Math.abs(bar.width - panel.clientWidth) > 1;
    }, part);

test("the bars of the panels beside a conversation reach from edge to edge", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.lab }, width: 1400, height: 900 });
  await page.getByRole("button", { name: "People", exact: true }).click();
  await page.getByRole("button", { name: "Leave this chat" }).waitFor();
  expect(await inset(page, "header")).toBe(false);
  expect(await inset(page, "footer")).toBe(false);
  await page.locator(".person").first().click();
  await page.getByRole("heading", { name: "About this person" }).waitFor();
  expect(await inset(page, "header")).toBe(false);
});

test("coming back from the settings, a conversation that stood at its end offers no jump to it", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.ana } });
  const log = page.getByRole("log");
  const atEnd = (): Promise<boolean> =>
    log.evaluate(
      (node) => node.scrollHeight > node.clientHeight && node.scrollTop + node.clientHeight >= node.scrollHeight - 2,
    );
  for (let times = 0; times < 3; times += 1) {
    await page.locator("article").last().waitFor();
    await standsStill(log);
    // the line of those who can read comes late, and makes the composer taller
    await expect.poll(atEnd).toBe(true);
    expect(await page.getByRole("button", { name: "Jump to newest" }).count()).toBe(0);
    await page.locator(".own").click();
    await log.waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
  }
});

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { standsStill, takesPointerWhileScrolling, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const row = (roomId: string): string => `[data-room="${roomId}"]`;
const composer = (page: Page, name: string) => page.getByRole("textbox", { name: `Write to ${name}` });
/** Turns the wheel until the view has left the newest message: a wheel before the first layout would be lost. */
async function scrollUp(page: Page, byPx: number): Promise<void> {
  const pill = page.getByRole("button", { name: "Jump to newest" });
  await page.mouse.move(800, 400);
  await expect
    .poll(
      async () => {
        if ((await pill.count()) === 0) await page.mouse.wheel(0, -byPx);
        await standsStill(page.getByRole("log"));
        return pill.count();
      },
      { timeout: 60_000 },
    )
    .toBe(1);
}

const inAna = { scenario: { lastOpened: roomIds.ana } };

test("messages stand in runs under their day, own ones apart", async () => {
  const { page, trouble } = await open({ ...inAna, fixedTime: "2026-05-12T12:43:00" });
  const log = page.getByRole("log", { name: "Messages with Ana Ruiz" });
  await log.getByText("page 12 is the one I worry about").waitFor();
  await log.getByRole("separator", { name: "Today" }).waitFor();
  const run = log.locator("article", { hasText: "Morning. Did the new laptop" });
  expect(await run.getAttribute("class")).toContain("first");
  expect(await run.locator(".avatar").count()).toBe(0);
  await log.locator("article", { hasText: "I still have the photos" }).locator(".face .avatar").waitFor();
  // by her name once the members are read, which is done when there is nothing else to do
  await log
    .locator("article.mine", { hasText: "Took eleven seconds" })
    .getByRole("img", { name: "Read by Ana Ruiz" })
    .waitFor();
  expect(trouble).toEqual([]);
});

test("a sent message comes from the core, pending first and sent in the end", async () => {
  const { page } = await open(inAna);
  await composer(page, "Ana").fill("See you **there**");
  await page.keyboard.press("Enter");
  const message = page.locator("article", { hasText: "See you there" });
  await message.getByRole("img", { name: "Sent" }).waitFor();
  expect(await message.locator("strong").textContent()).toBe("there");
  expect(await composer(page, "Ana").inputValue()).toBe("");
  const sent = await page.evaluate(() => window.fake.calls.find((one) => one.name === "timeline.send")?.input);
  expect(sent).toMatchObject({ roomId: roomIds.ana, body: "See you **there**", format: "markdown" });
  expect(await page.evaluate(() => window.fake.calls.filter((one) => one.name === "timeline.send").length)).toBe(1);
});

test("shift and enter make a new line, and blank text is not sent", async () => {
  const { page } = await open(inAna);
  await composer(page, "Ana").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  expect(await composer(page, "Ana").inputValue()).toBe("one\ntwo");
  expect(await page.evaluate(() => window.fake.calls.filter((one) => one.name === "timeline.send").length)).toBe(0);
});

test("a message that failed is retried or discarded beside it", async () => {
  const { page } = await open(inAna);
  await page.evaluate(() => (window.fake.sends = "unreachable"));
  await composer(page, "Ana").fill("does this arrive");
  await page.keyboard.press("Enter");
  const message = page.locator("article", { hasText: "does this arrive" });
  await message.getByText("Not sent. The server could not be reached.").waitFor();
  await page.locator(row(roomIds.ana)).getByText("A message was not sent").waitFor();
  await page.evaluate(() => (window.fake.sends = "ok"));
  await message.getByRole("button", { name: "Retry" }).click();
  await message.getByRole("img", { name: "Sent" }).waitFor();
  await page.evaluate(() => (window.fake.sends = "too-large"));
  await composer(page, "Ana").fill("far too long");
  await page.keyboard.press("Enter");
  const long = page.locator("article", { hasText: "far too long" });
  await long.getByText("It is too long for one message.").waitFor();
  expect(await long.getByRole("button", { name: "Retry" }).count()).toBe(0);
  await long.getByRole("button", { name: "Discard" }).click();
  await long.waitFor({ state: "detached" });
});

test("a text that the core did not take stands in the composer again", async () => {
  const { page } = await open({ scenario: { ...inAna.scenario, failing: { "timeline.send": "disk-full" } } });
  await composer(page, "Ana").fill("keep this");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("The disk is full").waitFor();
  expect(await composer(page, "Ana").inputValue()).toBe("keep this");
});

test("drafts stay with their room, and come back after a restart", async () => {
  const { page } = await open(inAna);
  await composer(page, "Ana").fill("half a thought");
  await page.locator(row(roomIds.mum)).click();
  await composer(page, "Mum").waitFor();
  expect(await composer(page, "Mum").inputValue()).toBe("");
  await composer(page, "Mum").fill("another");
  await page.locator(row(roomIds.ana)).click();
  expect(await composer(page, "Ana").inputValue()).toBe("half a thought");
  const kept = await page.evaluate(() =>
    window.fake.calls
      .filter((one) => one.name === "timeline.draft" && "body" in (one.input as object))
      .map((one) => one.input),
  );
  expect(kept).toContainEqual({ roomId: roomIds.ana, body: "half a thought" });
  expect(kept).toContainEqual({ roomId: roomIds.mum, body: "another" });
});

test("a person is mentioned from the list that opens at the sign", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.lab } });
  await composer(page, "Lab meeting").focus();
  await page.keyboard.type("Thanks @pri");
  await page.getByRole("option", { name: /Priya Nair/ }).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.type("for the boards");
  expect(await composer(page, "Lab meeting").inputValue()).toBe("Thanks Priya Nair for the boards");
  await page.keyboard.press("Enter");
  const sent = await page.evaluate(() => window.fake.calls.find((one) => one.name === "timeline.send")?.input);
  expect(sent).toMatchObject({ mentions: ["@priya:example.org"] });
});

test("a message that cannot be read says why and what comes next, and turns readable in place", async () => {
  const { page } = await open(inAna);
  const note = page.locator("article", { hasText: "waiting for a key" });
  await note.getByText("This message is waiting for a key from Ana Ruiz.").waitFor();
  await note.getByText(/Next try in \d+ s\./).waitFor();
  await note.getByRole("button", { name: "Details" }).click();
  const dialog = page.getByRole("dialog", { name: "Why this message cannot be read" });
  await dialog.getByText("KDESKTOPAN").waitFor();
  await dialog.getByText("your other devices", { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await note.getByRole("button", { name: "Try now" }).click();
  await page.getByText("The key has arrived, so here is what I wrote.").waitFor();
});

test("older messages load while scrolling back without moving what is being read", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.history } });
  const log = page.getByRole("log");
  await log.getByText("Message number 420.").waitFor();
  expect(await log.locator("article").count()).toBeLessThan(45);
  const loads = () => page.evaluate(() => window.fake.calls.filter((one) => one.name === "timeline.load").length);
  await page.mouse.move(800, 400);
  for (let round = 0; round < 3; round += 1) {
    await page.evaluate(() => window.fake.held.add("timeline.load"));
    for (const asked = await loads(); (await loads()) === asked;) {
      await page.mouse.wheel(0, -420);
      await standsStill(log);
    }
    // the older page is asked for and held back: what is being read now must stand in the same place when it has come
    const before = await log.evaluate((node) => {
      const middle = [...node.querySelectorAll("article")].find((one) => one.getBoundingClientRect().top > 250);
      return {
        id: middle?.dataset["item"] ?? "",
        top: Math.round(middle?.getBoundingClientRect().top ?? 0),
        heightPx: node.scrollHeight,
      };
    });
    await page.evaluate(() => window.fake.held.delete("timeline.load"));
    await expect.poll(() => log.evaluate((node) => node.scrollHeight)).toBeGreaterThan(before.heightPx);
    await standsStill(log);
    const top = await log.evaluate(
      (node, id) =>
        Math.round(node.querySelector(`[data-item="${CSS.escape(id)}"]`)?.getBoundingClientRect().top ?? -1),
      before.id,
    );
    expect(Math.abs(top - before.top)).toBeLessThanOrEqual(2);
  }
  await page.getByRole("button", { name: "Jump to newest" }).click();
  await log.getByText("Message number 420.").waitFor();
});

test("what arrives while one reads above is counted on the pill and moves nothing", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.history } });
  await page.getByRole("log").getByText("Message number 420.").waitFor();
  await scrollUp(page, 800);
  const top = await page.getByRole("log").evaluate((node) => node.scrollTop);
  await page.evaluate((roomId) => {
    window.fake.receive(roomId, "first of two");
    window.fake.receive(roomId, "second of two");
  }, roomIds.history);
  await page.getByRole("button", { name: "2 new messages" }).click();
  await page.getByRole("log").getByText("second of two").waitFor();
  expect(top).toBeGreaterThan(0);
});

test("a click while the messages still scroll is not lost", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.history } });
  const log = page.getByRole("log");
  await log.getByText("Message number 420.").waitFor();
  await standsStill(log);
  expect(await takesPointerWhileScrolling(log, "article")).toBe(true);
});

test("each room stands where it was left", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.history } });
  await page.getByRole("log").getByText("Message number 420.").waitFor();
  await scrollUp(page, 1200);
  await standsStill(page.getByRole("log"));
  const place = () =>
    page.evaluate(() => {
      const node = [...document.querySelectorAll("article")].find((one) => one.getBoundingClientRect().bottom > 120);
      return `${node?.dataset["item"] ?? ""} ${Math.round((node?.getBoundingClientRect().top ?? 0) / 4)}`;
    });
  const before = await place();
  await page.locator(row(roomIds.ana)).click();
  await page.getByRole("heading", { name: "Ana Ruiz" }).waitFor();
  await page.locator(row(roomIds.history)).click();
  await page.getByRole("heading", { name: "Sailing 2026" }).waitFor();
  await expect.poll(place).toBe(before);
});

test("the menu copies, shows details, and deletes own messages after asking", async () => {
  const { page } = await open(inAna);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const message = page.locator("article", { hasText: "Lovely. I’ll take the numbers." });
  await message.hover();
  await message.getByRole("button", { name: "Message actions" }).click();
  await page.getByRole("menuitem", { name: "Copy text" }).click();
  await page.getByText("Text copied").waitFor();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe("Lovely. I’ll take the numbers.");
  await message.hover();
  await message.getByRole("button", { name: "Message actions" }).click();
  await page.getByRole("menuitem", { name: "Delete for everyone" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete for everyone" }).click();
  await page.getByText("Message deleted").first().waitFor();
  const theirs = page.locator("article", { hasText: "page 12" });
  await theirs.hover();
  await theirs.getByRole("button", { name: "Message actions" }).click();
  await page.getByRole("menuitem", { name: "Details" }).waitFor();
  expect(await page.getByRole("menuitem", { name: "Delete for everyone" }).count()).toBe(0);
});

test("a link shows its real target and opens through the core alone", async () => {
  const { page, trouble } = await open(inAna);
  const link = page.getByRole("link", { name: "slides.example.org/workshop" });
  await link.hover();
  await page.getByText("https://slides.example.org/workshop", { exact: true }).waitFor();
  await link.click();
  const opened = await page.evaluate(() =>
    window.fake.calls.filter((one) => one.name === "app.openLink").map((one) => one.input),
  );
  expect(opened).toEqual([{ url: "https://slides.example.org/workshop" }]);
  expect(page.context().pages()).toHaveLength(1);
  expect(trouble).toEqual([]);
});

test("offline is a strip with a way to try, and writing goes on", async () => {
  const { page } = await open({ scenario: { ...inAna.scenario, sync: "offline" } });
  await page.getByText("Offline. You can read and write; messages go out when you are back.").waitFor();
  await page.evaluate(() => (window.fake.sends = "hang"));
  await composer(page, "Ana").fill("later then");
  await page.keyboard.press("Enter");
  await page.locator("article", { hasText: "later then" }).getByRole("img", { name: "Sending" }).waitFor();
  await page.evaluate(() => {
    window.fake.setSync("live");
  });
  await page.getByText("Offline. You can read").waitFor({ state: "detached" });
});

test("an unencrypted room says so where one writes", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.open } });
  await page.getByText("This chat is not encrypted. The server can read what you write.").waitFor();
});

test("a conversation that cannot be read is tried again", async () => {
  const { page } = await open({ scenario: { ...inAna.scenario, failing: { "timeline.load": "unexpected" } } });
  await page.getByText("Something went wrong that should not have.").waitFor();
  await page.evaluate(() => {
    window.fake.failing = {};
  });
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("page 12 is the one I worry about").last().waitFor();
});

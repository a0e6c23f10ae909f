import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const focused = (page: Page): Promise<string> =>
  page.evaluate(() => {
    const node = document.activeElement;
    return (
      node?.getAttribute("aria-label") ??
      (node?.id === ""
        ? node.tagName
        : (document.querySelector(`label[for="${node?.id ?? ""}"]`)?.textContent ?? node?.textContent ?? ""))
    );
  });

/** Presses Tab until what is focused matches. */
async function tabTo(page: Page, wanted: RegExp, key = "Tab"): Promise<void> {
  const seen: string[] = [];
  for (let presses = 0; presses < 30; presses += 1) {
    const name = await page.evaluate(() => {
      const node = document.activeElement;
      const label = node instanceof HTMLInputElement ? node.labels?.[0]?.textContent : undefined;
      return node?.getAttribute("aria-label") ?? label ?? node?.textContent ?? "";
    });
    if (wanted.test(name)) return;
    seen.push(name.slice(0, 30));
    await page.keyboard.press(key);
  }
  throw new Error(`${String(wanted)} was not reached: ${seen.join(" | ")}`);
}

test("from the sign-in over a room and a message to the settings without a mouse", async () => {
  const { page, trouble } = await open({ scenario: { account: "signed-out" } });
  await page.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
  await page.keyboard.type("example.org");
  await tabTo(page, /^User name/);
  await page.keyboard.type("mara");
  await tabTo(page, /^Password/);
  await page.keyboard.type("correct");
  await page.keyboard.press("Enter");
  await page.getByRole("listbox", { name: "Chats" }).waitFor();

  await tabTo(page, /^Chats$/);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Lab meeting" }).waitFor();
  await expect.poll(() => focused(page)).toBe("Write to Lab meeting");
  await page.keyboard.type("Written without a mouse");
  await page.keyboard.press("Enter");
  await page.locator("article", { hasText: "Written without a mouse" }).getByRole("img", { name: "Sent" }).waitFor();

  await tabTo(page, /^Messages with/, "Shift+Tab");
  await page.keyboard.press("ArrowUp");
  await expect
    .poll(() => page.evaluate(() => document.activeElement?.closest("article")?.textContent ?? ""))
    .toContain("Written without a mouse");
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: "Copy text" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("menu").waitFor({ state: "detached" });

  await page.keyboard.press("Control+,");
  await page.getByRole("heading", { name: "Account", level: 2 }).waitFor();
  await tabTo(page, /^Account$/);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.getByText("This device signs and encrypts what you send.").waitFor();
  // over Recovery and Invites
  for (let down = 0; down < 3; down++) await page.keyboard.press("ArrowDown");
  await tabTo(page, /^\s*Same as system/);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await expect.poll(() => page.evaluate(() => document.documentElement.dataset["theme"])).toBe("dark");
  await page.keyboard.press("Escape");
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
  expect(trouble).toEqual([]);
});

test("the list of shortcuts opens at the question mark, not while one types", async () => {
  const { page } = await open({ scenario: { lastOpened: "!mum:example.org" } });
  await page.getByRole("textbox", { name: "Write to Mum" }).fill("really");
  await page.keyboard.press("?");
  expect(await page.getByRole("textbox", { name: "Write to Mum" }).inputValue()).toBe("really?");
  await page.getByRole("log").focus();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

test("a dialog keeps the focus inside and gives it back", async () => {
  const { page } = await open({ scenario: { lastOpened: "!mum:example.org" } });
  await page.getByRole("button", { name: "New chat" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "New chat" }).waitFor();
  for (let presses = 0; presses < 12; presses += 1) {
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.closest("[role=dialog]") !== null)).toBe(true);
  }
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await expect.poll(() => focused(page)).toBe("New chat");
});

test("alt and arrows go through the rooms, and the language changes without a reload", async () => {
  const { page } = await open({ scenario: { lastOpened: "!anaruiz:example.org" } });
  await page.getByRole("heading", { name: "Ana Ruiz" }).waitFor();
  await page.keyboard.press("Alt+ArrowDown");
  await page.getByRole("heading", { name: "Lab meeting" }).waitFor();
  await page.evaluate(() => ((window as unknown as { same: boolean }).same = true));
  await page.keyboard.press("Control+,");
  await page.getByRole("tab", { name: "Appearance" }).click();
  await page.getByText("Deutsch").click();
  await page.getByRole("heading", { name: "Aussehen" }).waitFor();
  expect(await page.evaluate(() => document.documentElement.lang)).toBe("de");
  expect(await page.evaluate(() => (window as unknown as { same?: boolean }).same)).toBe(true);
});

test("F6 goes from one part of the window to the next and round, with Shift the other way", async () => {
  const { page } = await open({ scenario: { lastOpened: "!mum:example.org" }, width: 1280 });
  await expect.poll(() => focused(page)).toBe("Write to Mum");
  await page.keyboard.press("Control+.");
  await page.getByRole("complementary", { name: "About this chat" }).waitFor();
  for (const part of ["About this chat", "Chats", "Messages with Mum", "Write to Mum"]) {
    await page.keyboard.press("F6");
    expect(await focused(page)).toBe(part);
  }
  await page.keyboard.press("Shift+F6");
  expect(await focused(page)).toBe("Messages with Mum");
});

test("the focus is not lost with the panel that is closed", async () => {
  const { page } = await open({ scenario: { lastOpened: "!mum:example.org" }, width: 1280 });
  await expect.poll(() => focused(page)).toBe("Write to Mum");
  await page.keyboard.press("Control+.");
  await page.getByRole("complementary", { name: "About this chat" }).waitFor();
  for (const close of ["Escape", "Control+."]) {
    await page.keyboard.press("F6");
    expect(await focused(page)).toBe("About this chat");
    await page.keyboard.press(close);
    await expect.poll(() => focused(page)).toBe("Write to Mum");
    if (close === "Escape") await page.keyboard.press("Control+.");
    await page.getByRole("complementary", { name: "About this chat" }).waitFor({
      state: close === "Escape" ? "visible" : "detached",
    });
  }
});

test("in one column Escape leads from a chat back to the list", async () => {
  const { page } = await open({ width: 600 });
  await page.locator('[data-room="!mum:example.org"]').click();
  await page.getByRole("textbox", { name: "Write to Mum" }).fill("not yet sent");
  await page.keyboard.press("Escape");
  await expect.poll(() => focused(page)).toBe("Chats");
  await page.locator('[data-room="!mum:example.org"]').click();
  const field = page.getByRole("textbox", { name: "Write to Mum" });
  await field.waitFor();
  expect(await field.inputValue()).toBe("not yet sent");
});

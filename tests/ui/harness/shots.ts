/** Pictures of the window, for the README and for looking at: `node tests/ui/harness/shots.ts FOLDER [NAME …]`. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { roomIds } from "../../fakes/bridge-rooms.ts";
import { launch, openWindow, type OpenOptions } from "./browser.ts";
import { serveWindow } from "./serve.ts";

type Shot = OpenOptions & { act?: (page: Page) => Promise<void> };

const { ana, lab, history } = roomIds;
const dark = { theme: "dark" } as const;
const settings =
  (section: string) =>
  async (page: Page): Promise<void> => {
    await page.locator(".own").click();
    await page.locator(`#tab-${section}`).click();
    await page.mouse.move(900, 740);
  };

const shots: Record<string, Shot> = {
  "chat-light": { scenario: { lastOpened: ana } },
  "chat-dark": { scenario: { lastOpened: ana, preferences: dark } },
  "sign-in": {
    scenario: { account: "signed-out", registration: true },
    act: async (page) => {
      await page.getByLabel("Server").fill("tessera.example");
      await page.getByText("Found").waitFor();
      await page.getByLabel("User name").fill("mara");
      await page.getByLabel("Password").focus();
    },
  },
  "settings-encryption": { scenario: { lastOpened: ana }, act: settings("encryption") },
  "vault-locked": { scenario: { vault: { at: "locked", passphrase: true } } },
  "chat-wide": {
    width: 1600,
    height: 900,
    scenario: { lastOpened: lab },
    act: (page) => page.getByRole("button", { name: "People", exact: true }).click(),
  },
  "chat-narrow": { width: 640, scenario: {}, act: (page) => page.locator(`[data-room="${lab}"]`).click() },
  "rooms-narrow": { width: 640, scenario: {} },
  "chat-german-dark": { scenario: { lastOpened: lab, preferences: { ...dark, language: "de" }, sync: "offline" } },
  "chat-failed": {
    scenario: { lastOpened: lab },
    act: async (page) => {
      await page.evaluate(() => (window.fake.sends = "unreachable"));
      await page.getByRole("textbox", { name: "Write to Lab meeting" }).fill("On my way, five minutes");
      await page.keyboard.press("Enter");
      await page.getByText("Not sent.").waitFor();
      await page.keyboard.type("Hello @pr");
    },
  },
  "new-chat": {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await page.keyboard.press("Control+n");
      await page.getByText("Group", { exact: true }).click();
      await page.getByLabel("Name of the group").fill("Workshop");
      await page.getByRole("textbox", { name: "People" }).fill("ana");
      await page.keyboard.press("Enter");
    },
  },
  switcher: { scenario: { lastOpened: ana, preferences: dark }, act: (page) => page.keyboard.press("Control+k") },
  empty: { scenario: { rooms: "none" } },
  nothing: { scenario: {} },
  menu: {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await page.getByText("Lovely. I’ll take").hover();
      await page
        .locator("article", { hasText: "Lovely. I’ll take" })
        .getByRole("button", { name: "Message actions" })
        .click();
    },
  },
  details: { scenario: { lastOpened: ana }, act: (page) => page.getByRole("button", { name: "Details" }).click() },
  missing: { scenario: { vault: { at: "missing", passphrase: false, keychain: { backend: "", ok: false } } } },
  waiting: {
    scenario: {
      vault: { at: "locked", keychain: { backend: "GNOME Keyring", ok: false, waiting: true } },
      preferences: dark,
    },
  },
  account: { scenario: { lastOpened: ana, preferences: dark }, act: settings("account") },
  appearance: { scenario: { lastOpened: ana }, act: settings("appearance") },
  privacy: { scenario: { lastOpened: ana, vault: { passphrase: true } }, act: settings("privacy") },
  about: { scenario: { lastOpened: ana }, act: settings("about") },
  shortcuts: {
    scenario: { lastOpened: ana },
    act: (page) =>
      page.keyboard
        .press("Escape")
        .then(() => page.locator("header h1, .name").first().click())
        .then(() => page.keyboard.press("?")),
  },
  hostile: { scenario: { rooms: "hostile", lastOpened: "!hostile:example.org" } },
  history: {
    scenario: { lastOpened: history, preferences: dark },
    act: async (page) => {
      await page.getByText("Message number 420.").last().waitFor();
      await page.mouse.move(800, 400);
      await page.mouse.wheel(0, -900);
    },
  },
  "large-text": {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await page.evaluate(() => (document.documentElement.style.fontSize = "200%"));
    },
  },
  "sign-out": {
    scenario: { lastOpened: ana, atRisk: true },
    act: async (page) => {
      await settings("account")(page);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("button", { name: "Sign out and delete from this computer" }).click();
    },
  },
};

const [folder = "test-results/shots", ...wanted] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const [browser, harness] = await Promise.all([launch(), serveWindow()]);
for (const [name, { act, ...options }] of Object.entries(shots)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const { page, trouble } = await openWindow(browser, harness, { fixedTime: "2026-05-12T09:43:00", ...options });
  await page.locator(".column, .sheet, .page").first().waitFor();
  try {
    await act?.(page);
  } catch (error) {
    console.error(name, error);
  }
  await page.waitForTimeout(450);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  if (trouble.length > 0) console.error(name, trouble);
  await page.context().close();
}
await browser.close();
await harness.stop();

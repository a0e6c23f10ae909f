import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { Scenario } from "../fakes/bridge.ts";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { recoveryKey } from "../fakes/bridge-trust.ts";
import { expectAccessibleInBoth, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();

const section =
  (name: string) =>
  async (page: Page): Promise<void> => {
    await page.locator(".own").click();
    await page.locator(`#tab-${name}`).click();
  };
const secrets = { master: false, selfSigning: false, userSigning: false, backup: false };
const none = { identity: "none", recovery: "none", secrets } as const;
const unconfirmed = { identity: "this-device-unverified", secrets } as const;

const pages: { name: string; scenario: Scenario; act?: (page: Page) => Promise<void>; shown: string }[] = [
  { name: "sign-in", scenario: { account: "signed-out" }, shown: "form" },
  { name: "locked", scenario: { vault: { at: "locked", passphrase: true } }, shown: "form" },
  {
    name: "missing",
    scenario: { vault: { at: "missing", passphrase: true, keychain: { backend: "", ok: false } } },
    shown: "form",
  },
  {
    name: "waiting",
    scenario: { vault: { at: "locked", keychain: { backend: "", ok: false, waiting: true } } },
    shown: ".waiting",
  },
  { name: "rooms", scenario: {}, shown: "[role=option]" },
  { name: "direct chat", scenario: { lastOpened: roomIds.ana }, shown: "article" },
  { name: "group", scenario: { lastOpened: roomIds.lab, sync: "offline" }, shown: "article" },
  { name: "unencrypted", scenario: { lastOpened: roomIds.open, sync: "signed-out-softly" }, shown: "article" },
  { name: "hostile", scenario: { rooms: "hostile", lastOpened: "!hostile:example.org" }, shown: "article" },
  {
    name: "details",
    scenario: { lastOpened: roomIds.lab },
    act: (page) => page.locator(".conversation header .icon-button").click(),
    shown: ".person",
  },
  { name: "switcher", scenario: {}, act: (page) => page.keyboard.press("Control+k"), shown: ".hit" },
  { name: "new chat", scenario: {}, act: (page) => page.keyboard.press("Control+n"), shown: "[role=dialog] form" },
  { name: "shortcuts", scenario: {}, act: (page) => page.keyboard.press("?"), shown: "[role=dialog] dl" },
  ...["account", "devices", "encryption", "recovery", "appearance", "privacy", "about"].map((name) => ({
    name: `settings ${name}`,
    scenario: {},
    act: section(name),
    shown: `[aria-labelledby=tab-${name}]`,
  })),
  {
    name: "trouble with keys and identity",
    scenario: {
      trust: {
        status: { ...unconfirmed, problems: ["identity-changed"] },
        keys: { problems: [{ code: "clock-skew", sinceMs: 0, count: 2 }] },
      },
    },
    act: async (page) => {
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await section("encryption")(page);
      for (const fold of await page.locator("summary").all()) await fold.click();
    },
    shown: ".problems",
  },
  {
    name: "a stricter choice",
    scenario: {},
    act: async (page) => {
      await section("encryption")(page);
      await page.locator("input[value=verified-users]").check();
    },
    shown: ".question",
  },
  {
    name: "devices to sign out",
    scenario: { trust: { wants: "password" } },
    act: async (page) => {
      await section("devices")(page);
      await page.locator(".proposal .button").click();
      await page.locator(".button.danger.primary").click();
      await page.locator("[role=dialog] .danger.primary").click();
    },
    shown: "[role=dialog] form",
  },
  {
    name: "practising recovery",
    scenario: {},
    act: async (page) => {
      await section("recovery")(page);
      await page.locator("[aria-labelledby=drill-heading] .button").click();
      await page.locator("textarea").fill(recoveryKey);
      await page.locator("[aria-labelledby=drill-heading] .primary").click();
    },
    shown: ".tick",
  },
  { name: "a damaged account", scenario: { sync: "stopped" }, shown: ".primary" },
  {
    name: "what was saved of a damaged account",
    scenario: { sync: "stopped" },
    act: async (page) => {
      await page.locator(".primary").click();
      await page.locator("input").fill("correct");
      await page.locator(".primary").click();
    },
    shown: ".sign",
  },
  {
    name: "a repair that asks for the key",
    scenario: {
      trust: {
        status: { problems: ["master-key-missing-in-storage"] },
        repair: {
          alone: [{ problem: "master-key-missing-in-storage", needs: "recovery-key", tried: false }],
          withKey: [],
        },
      },
    },
    act: async (page) => {
      await section("encryption")(page);
      await page.locator("[aria-labelledby=identity-heading] .primary").click();
    },
    shown: ".box textarea",
  },
  { name: "keep your history safe", scenario: { trust: { status: none } }, shown: "[role=dialog] form" },
  {
    name: "a passphrase of one's own",
    scenario: { trust: { status: none } },
    act: async (page) => {
      await page.locator("[role=dialog] .other").click();
      await page.locator("[role=dialog] input").first().fill("purple accordion");
    },
    shown: "[data-score]",
  },
  {
    name: "the recovery key",
    scenario: { trust: { status: none } },
    act: (page) => page.locator("[role=dialog] .primary").click(),
    shown: ".groups",
  },
  { name: "is it you", scenario: { trust: { status: unconfirmed } }, shown: ".way" },
  {
    name: "a typo in the recovery key",
    scenario: { trust: { status: unconfirmed } },
    act: async (page) => {
      await page.locator(".way").nth(1).click();
      await page.locator("[role=dialog] textarea").fill("EsTd 0");
    },
    shown: ".wrong",
  },
  {
    name: "a new identity",
    scenario: { trust: { status: unconfirmed } },
    act: (page) => page.locator(".foot .link").click(),
    shown: ".loses",
  },
  {
    name: "a changed identity",
    scenario: { lastOpened: roomIds.ana, trust: { identities: { "@ana:example.org": "verification-violated" } } },
    act: (page) => page.locator(".changed .link").click(),
    shown: ".identity.bad",
  },
  {
    name: "who can read",
    scenario: { lastOpened: roomIds.lab, trust: { grew: true } },
    act: async (page) => {
      await page.locator(".composer .line button").click();
      await page.locator(".sum").waitFor();
      for (const fold of await page.locator("summary").all()) await fold.click();
    },
    shown: ".details fieldset",
  },
  {
    name: "a person",
    scenario: { lastOpened: roomIds.ana },
    act: async (page) => {
      await page.locator(".title").click();
      await page.locator(".person").first().click();
      await page.locator(".identity").waitFor();
      for (const fold of await page.locator("summary").all()) await fold.click();
    },
    shown: ".identity",
  },
  {
    name: "why a message cannot be read",
    scenario: { lastOpened: roomIds.ana },
    act: (page) => page.locator(".note .link").last().click(),
    shown: "[role=dialog] dl",
  },
];

// Each page is loaded in both languages, in one page of the browser; the other theme is judged by its contrast.
for (const [theme, language] of [
  ["light", "en"],
  ["dark", "de"],
] as const)
  test.each(pages)(
    `axe finds nothing: $name, ${language}, ${theme} and then the other theme`,
    async ({ name, scenario, act, shown }) => {
      const { page, trouble } = await open({ scenario: { ...scenario, preferences: { theme, language } } });
      await page.locator(".column, .sheet, .page").first().waitFor();
      await act?.(page);
      await page.locator(shown).first().waitFor();
      await expectAccessibleInBoth(page, `${name}, ${language}`);
      // The sanitiser parses hostile HTML in a document of its own, where the policy refuses what is inline.
      expect(
        trouble.filter((one) => !one.includes("inline")),
        name,
      ).toEqual([]);
    },
  );

test("text at 200 percent loses nothing sideways", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.ana } });
  await page.locator("article").first().waitFor();
  await page.evaluate(() => (document.documentElement.style.fontSize = "200%"));
  const wide = await page.evaluate(
    () =>
      document.documentElement.scrollWidth > innerWidth ||
      (document.querySelector("[role=log]")?.scrollWidth ?? 0) >
        (document.querySelector("[role=log]")?.clientWidth ?? 0),
  );
  expect(wide).toBe(false);
});

test("forced colours and reduced motion are heeded", async () => {
  const { page } = await open({
    scenario: { lastOpened: roomIds.ana },
    context: { forcedColors: "active", reducedMotion: "reduce" },
  });
  await page.locator("article").first().waitFor();
  const durations = await page.evaluate(() =>
    getComputedStyle(document.documentElement).getPropertyValue("--calm").trim(),
  );
  expect(Number.parseFloat(durations)).toBe(0);
  const own = await page
    .locator("article.mine .bubble")
    .first()
    .evaluate((node) => getComputedStyle(node).borderTopColor);
  expect(own).not.toBe("rgba(0, 0, 0, 0)");
});

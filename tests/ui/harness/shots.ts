/** Pictures of the window, for the README and for looking at: `node tests/ui/harness/shots.ts FOLDER [NAME …]`. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import type { Invite } from "../../../preload/contract/invites.ts";
import { inviteLink } from "../../fakes/bridge-invites.ts";
import { roomIds } from "../../fakes/bridge-rooms.ts";
import { recoveryKey } from "../../fakes/bridge-trust.ts";
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

const unconfirmed = {
  identity: "this-device-unverified",
  secrets: { master: false, selfSigning: false, userSigning: false, backup: false },
} as const;
const none = { identity: "none", recovery: "none", secrets: unconfirmed.secrets } as const;
const inBoth = (name: string, shot: Shot): Record<string, Shot> => ({
  [`${name}-light`]: shot,
  [`${name}-dark-de`]: {
    ...shot,
    scenario: { ...shot.scenario, preferences: { ...dark, language: "de" } },
  },
});
Object.assign(
  shots,
  inBoth("trust-encryption", { height: 1500, scenario: { lastOpened: ana }, act: settings("encryption") }),
  inBoth("trust-encryption-bad", {
    height: 1500,
    scenario: {
      lastOpened: ana,
      trust: {
        status: { ...unconfirmed, problems: ["identity-changed"] },
        keys: {
          problems: [{ code: "server-drops-fallback-keys", sinceMs: Date.parse("2026-05-10T09:00:00"), count: 4 }],
        },
      },
    },
    act: async (page) => {
      await page.getByRole("dialog").waitFor();
      await page.keyboard.press("Escape");
      await settings("encryption")(page);
    },
  }),
  inBoth("trust-devices", { scenario: { lastOpened: ana }, act: settings("devices") }),
  inBoth("trust-devices-choose", {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await settings("devices")(page);
      await page.locator(".proposal .button").click();
    },
  }),
  inBoth("trust-sign-out-password", {
    scenario: { lastOpened: ana, trust: { wants: "password" } },
    act: async (page) => {
      await settings("devices")(page);
      await page.locator(".proposal .button").click();
      await page.locator(".button.danger.primary").click();
      await page.locator("[role=dialog] .button.danger.primary").click();
    },
  }),
  inBoth("trust-recovery", { scenario: { lastOpened: ana }, act: settings("recovery") }),
  inBoth("trust-drill", {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await settings("recovery")(page);
      await page.locator("[aria-labelledby=drill-heading] .button").click();
      await page.locator("textarea").pressSequentially(recoveryKey.slice(0, 24));
    },
  }),
  inBoth("trust-keep-safe", { scenario: { lastOpened: ana, trust: { status: none } } }),
  inBoth("trust-passphrase", {
    scenario: { lastOpened: ana, trust: { status: none } },
    act: async (page) => {
      await page.locator("[role=dialog] .other").click();
      await page.locator("[role=dialog] input").first().pressSequentially("purple accordion");
      await page.waitForTimeout(900);
    },
  }),
  inBoth("trust-key", {
    scenario: { lastOpened: ana, trust: { status: none } },
    act: (page) => page.locator("[role=dialog] .primary").click(),
  }),
  inBoth("trust-key-check", {
    scenario: { lastOpened: ana, trust: { status: none } },
    act: async (page) => {
      await page.locator("[role=dialog] .primary").click();
      await page.locator("[role=dialog] .ways").waitFor();
      await page.locator("[role=dialog] .primary").click();
    },
  }),
  inBoth("trust-is-it-you", { scenario: { lastOpened: ana, trust: { status: unconfirmed } } }),
  inBoth("trust-is-it-you-key", {
    scenario: { lastOpened: ana, trust: { status: unconfirmed } },
    act: async (page) => {
      await page.locator(".way").nth(1).click();
      await page.locator("[role=dialog] textarea").pressSequentially("EsTd 9VvJ pcV0");
    },
  }),
  inBoth("trust-is-it-you-done", {
    scenario: { lastOpened: ana, trust: { status: unconfirmed } },
    act: async (page) => {
      await page.locator(".way").nth(1).waitFor();
      await page.evaluate(() => {
        window.fake.trust.setStatus({
          identity: "verified",
          secrets: { master: true, selfSigning: true, userSigning: false, backup: true },
        });
      });
    },
  }),
  inBoth("trust-reset", {
    scenario: { lastOpened: ana, trust: { status: unconfirmed } },
    act: (page) => page.locator(".foot .link").click(),
  }),
  inBoth("trust-changed", {
    scenario: { lastOpened: ana, trust: { identities: { "@ana:example.org": "verification-violated" } } },
    act: async (page) => {
      await page.locator(".changed").waitFor();
      await page.evaluate(() => (window.fake.sends = "identity-changed"));
      await page.locator("textarea").fill("Are you there?");
      await page.keyboard.press("Enter");
      await page.locator(".trouble").waitFor();
    },
  }),
  inBoth("trust-readers", {
    width: 1400,
    height: 1000,
    scenario: { lastOpened: lab },
    act: async (page) => {
      await page.locator(".line .plain").click();
      await page.locator(".sum").waitFor();
      await page.locator("summary").first().click();
    },
  }),
  inBoth("trust-grew", { scenario: { lastOpened: ana, trust: { grew: true } } }),
  inBoth("trust-person", {
    width: 1400,
    height: 1000,
    scenario: { lastOpened: ana },
    act: async (page) => {
      await page.locator(".title").click();
      await page.locator(".person").nth(1).click();
      await page.locator(".identity").waitFor();
      await page.locator("summary").last().click();
    },
  }),
  inBoth("trust-policy-ask", {
    height: 1300,
    scenario: { lastOpened: ana },
    act: async (page) => {
      await settings("encryption")(page);
      await page.locator("input[value=verified-users]").check();
      await page.locator(".question").waitFor();
    },
  }),
  inBoth("trust-unreadable", {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await page.locator(".note .link").last().click();
      await page.locator("[role=dialog]").waitFor();
    },
  }),
);

const rescued = { roomKeys: 1204, roomKeysComplete: false, secrets: ["backup"], messages: "fetched-again" } as const;
Object.assign(
  shots,
  inBoth("recovery-damaged", { scenario: { sync: "stopped" } }),
  inBoth("recovery-saved", {
    scenario: { sync: "stopped", rescued: { ...rescued, secrets: [...rescued.secrets] } },
    act: async (page) => {
      await page.locator(".primary").click();
      await page.locator("input").fill("correct");
      await page.locator(".primary").click();
      await page.locator(".sign").first().waitFor();
    },
  }),
  inBoth("recovery-repair", {
    height: 1300,
    scenario: {
      lastOpened: ana,
      trust: {
        status: { problems: ["master-key-missing-in-storage"] },
        repair: {
          alone: [{ problem: "master-key-missing-in-storage", needs: "recovery-key", tried: false }],
          withKey: [],
        },
      },
    },
    act: async (page) => {
      await settings("encryption")(page);
      await page.locator("[aria-labelledby=identity-heading] .primary").click();
      await page.locator(".box textarea").waitFor();
    },
  }),
  inBoth("recovery-left", {
    height: 1300,
    scenario: {
      lastOpened: ana,
      trust: {
        status: { problems: ["storage-of-unknown-kind", "backup-not-signed"], recovery: "incomplete" },
        repair: { alone: [{ problem: "storage-of-unknown-kind", needs: "set-up", tried: true }], withKey: [] },
      },
    },
    act: async (page) => {
      await settings("encryption")(page);
      await page.locator("[aria-labelledby=identity-heading] .primary").click();
      await page.locator(".box").waitFor();
    },
  }),
  inBoth("recovery-coverage", {
    height: 1250,
    scenario: {
      lastOpened: ana,
      trust: { practice: { lastDrill: { atMs: Date.parse("2025-09-01T09:00:00"), ok: true }, due: true } },
    },
    act: settings("recovery"),
  }),
  inBoth("recovery-lock", { height: 900, scenario: { lastOpened: ana }, act: settings("privacy") }),
  inBoth("recovery-sign-out", {
    scenario: { lastOpened: ana, atRisk: true },
    act: async (page) => {
      await settings("account")(page);
      await page.locator(".section .button.danger").click();
      await page.locator("[role=dialog] .button.danger").click();
      await page.locator("[role=dialog] .way").last().click();
    },
  }),
);

const restoring = async (page: Page): Promise<void> => {
  await settings("recovery")(page);
  await page.locator("[aria-labelledby=backup-heading] .row .button").click();
  await page.locator("[role=dialog] .meter").waitFor();
  await page.evaluate(() => {
    window.fake.backup.progress("restore", {
      ...{ done: 64_210, total: 100_000, failed: 3, keysPerSecond: 4380, remainingMs: 7600 },
    });
  });
};
const uploading = { at: "on", version: "7", backedUp: 1204, total: 1893, uploading: true, remainingMs: 9000 } as const;
Object.assign(
  shots,
  inBoth("backup-card", { height: 1150, scenario: { lastOpened: ana }, act: settings("recovery") }),
  inBoth("backup-card-replaced", {
    height: 1150,
    scenario: { lastOpened: ana, backup: { status: { ...uploading, at: "wrong-version", uploading: false } } },
    act: settings("recovery"),
  }),
  inBoth("backup-restore", { scenario: { lastOpened: ana, backup: { work: "by-hand" } }, act: restoring }),
  inBoth("backup-restored", {
    scenario: {
      lastOpened: ana,
      backup: {
        work: "by-hand",
        failed: [
          { roomId: lab, sessionId: "a", reason: "malformed" },
          { roomId: lab, sessionId: "b", reason: "malformed" },
          { roomId: "!left:example.org", sessionId: "c", reason: "not-decryptable" },
        ],
      },
    },
    act: async (page) => {
      await restoring(page);
      await page.evaluate(() => {
        window.fake.backup.end("restore");
      });
      await page.locator("[role=dialog] li .link").click();
    },
  }),
  inBoth("backup-tray", {
    scenario: { lastOpened: ana, backup: { work: "by-hand", status: uploading } },
    act: async (page) => {
      await restoring(page);
      await page.keyboard.press("Escape");
      await page.locator("[role=dialog]").waitFor({ state: "detached" });
      await page.keyboard.press("Escape");
    },
  }),
  inBoth("backup-export", {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await settings("recovery")(page);
      await page.locator("[aria-labelledby=keyfile-heading] .button").first().click();
      await page.locator("[role=dialog] input").first().pressSequentially("purple accordion");
      await page.waitForTimeout(900);
    },
  }),
  inBoth("backup-import-wrong", {
    scenario: { lastOpened: ana, backup: { refuses: { code: "wrong-file", kind: "truncated" } } },
    act: async (page) => {
      await settings("recovery")(page);
      await page.locator("[aria-labelledby=keyfile-heading] .button").last().click();
      await page.locator("[role=dialog] input").fill("velvet otter");
      await page.keyboard.press("Enter");
    },
  }),
  inBoth("backup-sign-out", {
    scenario: { lastOpened: ana, atRisk: true },
    act: async (page) => {
      await settings("account")(page);
      await page.locator("[role=tabpanel] .button.danger").click();
      await page.locator("[role=dialog] .button.danger").click();
      await page.locator("[role=dialog] .way").first().waitFor();
    },
  }),
  inBoth("backup-sign-out-lose", {
    scenario: { lastOpened: ana, atRisk: true },
    act: async (page) => {
      await settings("account")(page);
      await page.locator("[role=tabpanel] .button.danger").click();
      await page.locator("[role=dialog] .button.danger").click();
      await page.locator("[role=dialog] .way").last().click();
    },
  }),
  inBoth("backup-delete", {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await settings("recovery")(page);
      await page.locator("[aria-labelledby=backup-heading] .link.danger").click();
    },
  }),
  inBoth("backup-is-it-you", {
    scenario: { lastOpened: ana, trust: { status: unconfirmed }, backup: { work: "by-hand" } },
    act: async (page) => {
      await page.locator("[role=dialog] .way").nth(1).click();
      await page.locator("[role=dialog] textarea").fill(recoveryKey);
      await page.locator("[role=dialog] .primary").click();
      await page.locator("[role=dialog] .meter").waitFor();
      await page.evaluate(() => {
        window.fake.backup.progress("restore", { done: 473, keysPerSecond: 200, remainingMs: 7000 });
      });
    },
  }),
);

const flyer = {
  ...{ tokenId: "t1", kind: "contact", preset: "card", label: "Flyer", state: "active", ownedHere: true },
  ...{ createdAtMs: Date.parse("2026-05-03T10:00:00"), expiresAtMs: Date.parse("2026-08-01T10:00:00") },
  uses: ["@ben:far.example"],
} as const satisfies Invite;
const bensLink = inviteLink("@ben:far.example", 7);
const codes = async (page: Page): Promise<void> => {
  await page.locator(".top .icon-button").first().click();
  await page.locator("[role=dialog]").waitFor();
};
Object.assign(
  shots,
  inBoth("invites-code", {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await codes(page);
      await page.locator("[role=dialog] svg[role=img]").waitFor();
    },
  }),
  inBoth("invites-joined", {
    height: 900,
    scenario: { lastOpened: ana },
    act: async (page) => {
      await codes(page);
      await page.locator("[role=dialog] svg[role=img]").waitFor();
      await page.evaluate(() => {
        window.fake.invites.use("token1", "@ben:far.example");
        window.fake.invites.ask({ requestId: "r", userId: "@eve:elsewhere.example", tokenId: "token1" });
      });
    },
  }),
  inBoth("invites-form", {
    scenario: { lastOpened: ana },
    act: async (page) => {
      await codes(page);
      await page.locator("[role=dialog] .others .link").first().click();
    },
  }),
  inBoth("invites-scan", {
    height: 900,
    context: { permissions: ["camera"] },
    scenario: { lastOpened: ana },
    act: async (page) => {
      await codes(page);
      await page.locator("[role=dialog] fieldset label").nth(1).click();
    },
  }),
  inBoth("invites-sheet", {
    scenario: {
      lastOpened: ana,
      invites: {
        scans: {
          code: {
            ...{ kind: "invite", userId: "@ben:far.example", inviteKind: "contact", own: false },
            ...{ label: "Flyer", expiresAtMs: Date.parse("2026-05-13T09:43:00") },
          },
        },
      },
    },
    act: (page) =>
      page.evaluate(() => {
        window.fake.invites.open("code");
        for (let more = 0; more < 3; more += 1) window.fake.invites.open("code");
      }),
  }),
  inBoth("invites-joining", {
    scenario: { lastOpened: ana, invites: { links: [bensLink] } },
    act: (page) => page.locator("[role=dialog] .primary").click(),
  }),
  inBoth("invites-changed", {
    scenario: { lastOpened: ana, invites: { links: [bensLink], changed: ["@ben:far.example"] } },
    act: (page) => page.locator("[role=dialog] .primary").click(),
  }),
  inBoth("invites-notes", {
    height: 900,
    scenario: {
      lastOpened: ana,
      invites: {
        codes: [flyer],
        requests: [{ requestId: "r", userId: "@eve:elsewhere.example", tokenId: "t1" }],
        alarms: [
          {
            alarmId: "a",
            kind: "two-users",
            tokenId: "t1",
            userIds: ["@ben:far.example", "@eve:far.example"],
            atMs: 0,
          },
        ],
        joins: [
          { joinId: "j", userId: "@ben:far.example", state: { at: "waiting" } },
          { joinId: "k", userId: "@ana:example.org", state: { at: "waiting" } },
        ],
      },
    },
  }),
  inBoth("invites-mutual", {
    scenario: {
      lastOpened: ana,
      invites: { joins: [{ joinId: "k", userId: "@ana:example.org", state: { at: "waiting" } }] },
    },
    act: (page) =>
      page.evaluate((roomId) => {
        window.fake.invites.to({ at: "done", result: "mutual", roomId });
      }, ana),
  }),
  inBoth("invites-keys-differ", {
    scenario: {
      lastOpened: ana,
      invites: { joins: [{ joinId: "k", userId: "@ana:example.org", state: { at: "failed", code: "keys-differ" } }] },
    },
  }),
  inBoth("invites-settings", {
    height: 900,
    scenario: {
      lastOpened: ana,
      invites: {
        codes: [
          flyer,
          { ...flyer, tokenId: "t2", preset: "public", label: "Poster", state: "active", uses: [] },
          { ...flyer, tokenId: "t3", preset: "personal-link", label: "Jo", state: "withdrawn", uses: [] },
        ],
      },
    },
    act: async (page) => {
      await settings("invites")(page);
      await page.locator("summary").click();
    },
  }),
  {
    "invites-large-text": {
      scenario: { lastOpened: ana },
      act: async (page: Page) => {
        await codes(page);
        await page.evaluate(() => (document.documentElement.style.fontSize = "200%"));
      },
    },
    "invites-card": {
      scenario: { lastOpened: ana },
      act: async (page: Page) => {
        await page.evaluate(() => (window.print = () => undefined));
        await codes(page);
        await page.locator("[role=dialog] .ways .button").nth(2).click();
        await page.emulateMedia({ media: "print" });
      },
    },
  },
);

const [folder = "test-results/shots", ...wanted] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const camera = ["--use-fake-device-for-media-stream"];
const [browser, harness] = await Promise.all([launch(camera), serveWindow()]);
for (const [name, { act, ...options }] of Object.entries(shots)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const { page, trouble } = await openWindow(browser, harness, { fixedTime: "2026-05-12T09:43:00", ...options });
  try {
    await page.locator(".column, .sheet, .page").first().waitFor();
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

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { Invite } from "../../preload/contract/invites.ts";
import { eventually } from "../eventually.ts";
import { useWindow } from "./harness/use-window.ts";

const { open } = useWindow();

const inputsOf = (page: Page, name: string): Promise<unknown[]> =>
  page.evaluate((wanted) => window.fake.calls.filter((one) => one.name === wanted).map((one) => one.input), name);
async function settings(page: Page, section: string): Promise<void> {
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
  await page.keyboard.press("Control+,");
  await page.getByRole("tab", { name: section }).click();
}
const row = (page: Page, name: string) => page.getByRole("listitem").filter({ hasText: name });

test("this device comes first; a name is changed in place, by keyboard too", async () => {
  const { page, trouble } = await open({ scenario: {} });
  await settings(page, "Devices");
  await row(page, "Tessera (Linux)").getByText("In use now · 203.0.113.7 · QZVTWMKXEA").waitFor();
  expect(await page.getByRole("listitem").first().textContent()).toContain("Tessera (Linux)");

  await row(page, "Mara’s phone").getByRole("button", { name: "Rename Mara’s phone" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("textbox", { name: "Name of the device" }).fill("Pocket");
  await page.keyboard.press("Enter");
  await row(page, "Pocket").waitFor();
  expect(await inputsOf(page, "devices.rename")).toEqual([{ deviceId: "PHONEMARAX", name: "Pocket" }]);

  await row(page, "Pocket").getByRole("button", { name: "Rename Pocket" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("textbox", { name: "Name of the device" }).fill("Something else");
  await page.keyboard.press("Escape");
  await row(page, "Pocket").waitFor();
  // Escape closed the field, not the page
  await page.getByRole("heading", { name: "Devices", level: 2 }).waitFor();
  expect(trouble).toEqual([]);
});

test("stale and unconfirmed devices are proposed, and go with one password", async () => {
  const { page } = await open({ scenario: { trust: { wants: "password" } } });
  await settings(page, "Devices");
  await page.getByText("2 devices are worth a look.").waitFor();
  await page.getByRole("button", { name: "Review" }).click();
  expect(await page.getByRole("checkbox", { name: "Choose Old laptop" }).isChecked()).toBe(true);
  expect(await page.getByRole("checkbox", { name: "Choose Mara’s phone" }).isChecked()).toBe(false);
  await page.getByRole("button", { name: "Sign out 2 devices" }).click();

  const dialog = page.getByRole("dialog", { name: "Sign out 2 devices?" });
  await dialog.getByText("Library browser").waitFor();
  await dialog.getByRole("button", { name: "Sign out 2 devices" }).click();
  await dialog.getByLabel("Password of your account").fill("wrong");
  await page.keyboard.press("Enter");
  await dialog.getByText("That is not the password of your account.").waitFor();
  await dialog.getByLabel("Password of your account").fill("correct");
  await page.keyboard.press("Enter");
  await page.getByText("2 devices signed out").waitFor();
  await dialog.waitFor({ state: "detached" });
  expect(await page.evaluate(() => window.fake.trust.signedOut)).toEqual(["WEBBROWSER", "OLDLAPTOPX"]);
  expect(await row(page, "Old laptop").count()).toBe(0);
});

test("codes that a device knows go with it, unless one wants to keep them", async () => {
  const code = { tokenId: "t1", kind: "contact", preset: "card", createdAtMs: 0, ownedHere: true } as const;
  const codes: Invite[] = [
    { ...code, state: "active", uses: [] },
    { ...code, state: "withdrawn", uses: [], tokenId: "t2" },
  ];
  const { page } = await open({ scenario: { invites: { codes } } });
  await settings(page, "Devices");
  await page.getByRole("button", { name: "Sign out Old laptop" }).click();
  const dialog = page.getByRole("dialog", { name: "Sign out this device?" });
  expect(await dialog.getByRole("checkbox", { name: "Also withdraw the invite code known there" }).isChecked()).toBe(
    true,
  );
  await dialog.getByRole("button", { name: "Sign out 1 device" }).click();
  await page.getByText("1 device signed out").waitFor();
  expect(await inputsOf(page, "invites.knownBy")).toEqual([{ deviceIds: ["OLDLAPTOPX"] }]);
  expect(await inputsOf(page, "invites.withdraw")).toEqual([{ tokenId: "t1" }]);
});

test("where the server asks on its own page, that page opens in the browser", async () => {
  const { page } = await open({ scenario: { trust: { wants: "page" } } });
  await settings(page, "Devices");
  await page.getByRole("button", { name: "Sign out Old laptop" }).click();
  const dialog = page.getByRole("dialog", { name: "Sign out this device?" });
  await dialog.getByRole("button", { name: "Sign out 1 device" }).click();
  await dialog.getByRole("button", { name: "Open the page of your account" }).click();
  await eventually(
    () => inputsOf(page, "app.openLink"),
    (calls) => calls.length === 1,
  );
  expect(await inputsOf(page, "app.openLink")).toEqual([{ url: "https://account.tessera.example/confirm" }]);
  await dialog.getByRole("button", { name: "I have confirmed it" }).click();
  await page.getByText("1 device signed out").waitFor();
});

test("an unconfirmed device is confirmed from here", async () => {
  const { page } = await open({ scenario: {} });
  await settings(page, "Devices");
  await page.getByRole("button", { name: "Confirm Library browser" }).click();
  await eventually(
    () => inputsOf(page, "verification.request"),
    (calls) => calls.length === 1,
  );
  expect(await inputsOf(page, "verification.request")).toEqual([
    { userId: "@mara:tessera.example", deviceId: "WEBBROWSER" },
  ]);
});

test("a login elsewhere announces itself, and leads to the devices", async () => {
  const { page } = await open({ scenario: {} });
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
  await eventually(
    () => inputsOf(page, "devices.list"),
    (calls) => calls.length > 0,
  );
  await page.evaluate(() => {
    window.fake.trust.signIn({ name: "Tessera (macOS)" });
  });
  await page.getByText("A new device signed in to your account: Tessera (macOS).").waitFor();
  await page.getByRole("button", { name: "See devices" }).click();
  await row(page, "Tessera (macOS)").getByText("Not confirmed").waitFor();
});

test("alone there is nothing to sign out, and a failed list can be asked for again", async () => {
  const { page } = await open({
    scenario: { trust: { devices: "alone" }, failing: { "devices.list": "unreachable" } },
  });
  await settings(page, "Devices");
  await page.getByText("The server could not be reached.").waitFor();
  await page.evaluate(() => (window.fake.failing = {}));
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("This is your only device.").waitFor();
});

test("the keys of this device: sentences first, figures second, the log in a fold, live", async () => {
  // two hours ago is yesterday just after midnight
  const { page } = await open({ scenario: {}, fixedTime: "2026-06-18T12:00:00Z" });
  await settings(page, "Encryption");
  const card = page.getByRole("region", { name: "Reaching this device" });
  await card
    .getByText("This device can be reached even after a long absence. Its spare key was last replaced 2 days ago.")
    .waitFor();
  await card.getByText("47 of 50").waitFor();
  await card.getByText("Details").click();
  await card.getByText("Spare key reported used").waitFor();

  await page.evaluate(() => {
    const now = Date.now();
    window.fake.trust.setKeys({
      problems: [
        { code: "server-drops-fallback-keys", sinceMs: now - 7_200_000, count: 3 },
        { code: "clock-skew", sinceMs: now - 60_000, count: 1 },
      ],
    });
  });
  const problems = card.getByRole("list", { name: "Problems" });
  await problems.getByText("Your server accepts the spare key but does not keep it.").waitFor();
  await problems.getByText("Let your system set its clock by itself.").waitFor();
  await problems.getByText("First seen 2 hours ago, 3 times since.").waitFor();
  await card.getByText("This device can be reached while it is online now and then.").waitFor();

  await page.evaluate(() => {
    window.fake.trust.setKeys({ problems: [], fallback: { support: "unsupported", unusedOnServer: null } });
  });
  await card.getByText("Your server keeps no spare keys.").waitFor();
  await card.getByText("Your server keeps none").waitFor();
  await page.evaluate(() => {
    window.fake.trust.setKeys({ fallback: { support: "unknown", unusedOnServer: null } });
  });
  await card.getByText("Your server has not yet said how this device can be reached.").waitFor();
});

test("what is wrong with the identity is named, each thing once, with what to do", async () => {
  const { page } = await open({
    scenario: {
      trust: {
        status: {
          secrets: { master: true, selfSigning: true, userSigning: false, backup: false },
          problems: ["user-signing-key-missing-here", "backup-key-missing-here", "identity-changed", "from-the-future"],
        },
      },
    },
  });
  await settings(page, "Encryption");
  const card = page.getByRole("region", { name: "Your identity" });
  await card.getByText("Not on this device: Contacts you verified, Your messages’ keys.").waitFor();
  const problems = card.getByRole("list", { name: "Problems" }).getByRole("listitem");
  expect(await problems.count()).toBe(2);
  await problems.getByText("Your identity was replaced, and not by this device.").waitFor();
  await problems.getByText("Something about your identity is not as it should be.").waitFor();
  await card.getByRole("button", { name: "Confirm that it is you" }).click();
  await page.getByRole("dialog").waitFor();
});

test("a copied profile is offered a device of its own: the password once more, and the page is the new device's", async () => {
  const { page, trouble } = await open({
    scenario: { trust: { keys: { problems: [{ code: "cloned-profile", sinceMs: Date.now() - 60_000, count: 1 }] } } },
  });
  await settings(page, "Encryption");
  const offer = page
    .getByRole("region", { name: "Reaching this device" })
    .getByRole("button", { name: "Give this computer a device of its own" });
  await offer.click();
  const dialog = page.getByRole("dialog", { name: "A device of its own for this computer?" });
  await dialog.getByText("The other computer stays signed in").waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  expect(await inputsOf(page, "account.renew")).toEqual([]);

  await offer.click();
  await dialog.getByLabel("Password of your account").fill("wrong");
  await page.keyboard.press("Enter");
  await dialog.getByText("That is not the password of your account.").waitFor();
  await dialog.getByLabel("Password of your account").fill("correct");
  await dialog.getByRole("button", { name: "Make it a device of its own" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByText("This computer is a device of its own now.").waitFor();
  await page.getByText("ANEWDEVICE").waitFor();
  expect(await inputsOf(page, "account.renew")).toEqual(
    ["wrong", "correct"].map((password) => ({ password, deviceName: "Tessera (Linux)" })),
  );
  expect(trouble).toEqual([]);
});

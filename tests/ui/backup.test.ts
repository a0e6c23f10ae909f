import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { awayFailure, filePassphrase } from "../fakes/bridge-backup.ts";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { recoveryKey } from "../fakes/bridge-trust.ts";
import { expectAccessible, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const { ana, lab } = roomIds;
const secrets = { master: false, selfSigning: false, userSigning: false, backup: false };
const unconfirmed = { identity: "this-device-unverified", secrets } as const;
const byHand = { work: "by-hand" } as const;
const wrong = "another passphrase altogether";
const interrupted = {
  operationId: "5f0c8f64-9a3c-4b7f-9c64-0b8e7f4b1a11",
  ...({ kind: "restore", at: "interrupted", done: 700, total: 1893 } as const),
};

const inputsOf = (page: Page, name: string): Promise<unknown[]> =>
  page.evaluate((wanted) => window.fake.calls.filter((one) => one.name === wanted).map((one) => one.input), name);
const sheet = (page: Page, name: string | RegExp) => page.getByRole("dialog", { name });
const toRecovery = async (page: Page): Promise<void> => {
  await page.locator(".own").click();
  await page.getByRole("tab", { name: "Recovery" }).click();
};
const card = (page: Page) => page.getByRole("region", { name: "Backup on your server" });
const begun = (page: Page, kind: "restore" | "import" | "export") =>
  eventually(
    () => page.evaluate(() => window.fake.backup.running()),
    (running) => running.includes(kind),
  );

test("the meter says how much is backed up, and how long the rest will take", async () => {
  const { page, trouble } = await open({ scenario: {} });
  await toRecovery(page);
  await card(page).getByText("Your whole history is backed up. Only you can open it.").waitFor();
  await card(page).getByText("1,893 of 1,893 keys backed up").waitFor();
  const status = { at: "on", version: "7", backedUp: 946, total: 1893, uploading: true, remainingMs: 150_000 } as const;
  await page.evaluate((next) => {
    window.fake.backup.setStatus(next);
  }, status);
  await card(page).getByText("Part of your history is not backed up yet. It goes to your server by itself.").waitFor();
  await card(page).getByText("946 of 1,893 keys backed up").waitFor();
  await card(page).getByText("about 3 min left").waitFor();
  expect(await card(page).getByRole("progressbar", { name: "Backed up" }).getAttribute("aria-valuenow")).toBe("49");
  await page.evaluate(
    ({ next, failure }) => {
      window.fake.backup.setStatus({ ...next, uploading: false, failure });
    },
    { next: status, failure: awayFailure },
  );
  await card(page)
    .getByText(/It is tried again by itself\.$/)
    .waitFor();
  expect(trouble).toEqual([]);
});

test.each([
  ["not-trusted", "Your account has a backup that this device does not trust yet."],
  ["key-missing", "New messages are backed up, but this device cannot open the backup."],
  ["wrong-version", "Another backup has taken the place of the one this device used."],
] as const)("a backup that is %s says so, and the recovery key opens it", async (at, sentence) => {
  const status = { at, version: "7", backedUp: 3, total: 1893, uploading: false } as const;
  const { page } = await open({
    scenario: { backup: { status }, trust: { status: { secrets: { ...secrets, master: true } } } },
  });
  await toRecovery(page);
  await card(page).getByText(sentence).waitFor();
  await card(page).getByRole("button", { name: "Show that it is mine" }).click();
  // a device that is confirmed and lacks the backup's key is asked all the same
  await sheet(page, "Is it you?")
    .getByRole("button", { name: /^Recovery key/ })
    .click();
  await page.getByRole("textbox", { name: "Recovery key" }).fill(recoveryKey);
  await page.getByRole("button", { name: "Confirm", exact: true }).click();
  await sheet(page, "Welcome back").waitFor();
});

test("without a backup one is begun, once there is a way back to it", async () => {
  const { page } = await open({ scenario: { backup: { status: { at: "off" } } } });
  await toRecovery(page);
  await card(page).getByText("There is no backup.").waitFor();
  await card(page).getByRole("button", { name: "Begin a backup" }).click();
  await card(page).getByText("0 of 1,893 keys backed up").waitFor();

  const { page: bare } = await open({
    scenario: {
      backup: { status: { at: "off" } },
      trust: { status: { identity: "none", recovery: "none", secrets } },
      preferences: { remindedMs: Date.now() },
    },
  });
  await sheet(bare, "Keep your history safe").or(bare.locator(".own")).first().waitFor();
  await bare.keyboard.press("Escape");
  await toRecovery(bare);
  await card(bare).getByRole("button", { name: "Keep your history safe" }).click();
  await sheet(bare, "Keep your history safe").waitFor();
  expect(await inputsOf(bare, "backup.create")).toEqual([]);
});

test("the history comes back with a rate and time left, pauses, goes on, and says what is missing", async () => {
  const failed = [
    { roomId: lab, sessionId: "a", reason: "malformed" },
    { roomId: lab, sessionId: "b", reason: "malformed" },
    { roomId: ana, sessionId: "c", reason: "not-decryptable" },
  ];
  const { page, trouble } = await open({ scenario: { backup: { ...byHand, failed } } });
  await toRecovery(page);
  await card(page).getByRole("button", { name: "Bring back my history" }).click();
  const dialog = sheet(page, "Your history is coming back");
  await begun(page, "restore");
  await page.evaluate(() => {
    window.fake.backup.progress("restore", { done: 1211, failed: 2, keysPerSecond: 4380, remainingMs: 7600 });
  });
  await dialog.getByText("63%").waitFor();
  await dialog.getByText("1,211 of 1,893 keys · 4,380 a second").waitFor();
  await dialog.getByText("about 8 s left").waitFor();
  await dialog.getByText("2 keys").waitFor();
  await expectAccessible(page);

  await dialog.getByRole("button", { name: "Pause" }).click();
  const waiting = sheet(page, "Your history is waiting");
  await waiting.getByText("1,211 of 1,893 keys · paused").waitFor();
  await waiting.getByRole("button", { name: "Go on" }).click();
  await begun(page, "restore");
  const [{ operationId }] = (await inputsOf(page, "backup.restore")) as [{ operationId: string }];
  expect(await inputsOf(page, "backup.cancel")).toEqual([{ operationId }]);
  expect(await inputsOf(page, "backup.resume")).toEqual([{ operationId }]);

  await page.evaluate(() => {
    window.fake.backup.end("restore");
  });
  const back = sheet(page, "Your history is back");
  await back.getByText("3 keys Details").waitFor();
  await back.getByRole("button", { name: "Details" }).click();
  const lost = back.getByRole("region", { name: "Could not be read" }).getByRole("listitem");
  expect(await lost.allInnerTexts()).toEqual([
    "Lab meeting\n2 keys: damaged",
    "Ana Ruiz\n1 key: not opened by the backup’s key",
  ]);
  await expectAccessible(page);
  await back.getByRole("button", { name: "Done" }).click();
  await card(page).getByRole("button", { name: "Show what came back" }).waitFor();
  expect(trouble).toEqual([]);
});

test("what runs in the background stands at the foot of the chats, and leads back to it", async () => {
  const { page } = await open({ scenario: { lastOpened: ana, backup: byHand } });
  await toRecovery(page);
  await card(page).getByRole("button", { name: "Bring back my history" }).click();
  await begun(page, "restore");
  await sheet(page, "Your history is coming back").getByRole("button", { name: "Continue in background" }).click();
  await page.keyboard.press("Escape");
  const tray = page.getByRole("list", { name: "Running in the background" });
  await page.evaluate(() => {
    window.fake.backup.progress("restore", { done: 600, keysPerSecond: 300, remainingMs: 4000 });
  });
  await tray.getByText("600 of 1,893 · 300 a second").waitFor();
  await expectAccessible(page);
  await tray.getByRole("button", { name: /^Bringing back your history/ }).press("Enter");
  await sheet(page, "Your history is coming back").waitFor();
  await page.keyboard.press("Escape");
  await page.evaluate(() => {
    window.fake.backup.end("restore");
  });
  await page.getByText("Your history is back: 1,893 keys.").waitFor();
  await tray.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Details", exact: true }).last().click();
  await sheet(page, "Your history is back").waitFor();
});

test("what an earlier run left goes on by itself once the server is there, and waits while it is away", async () => {
  const { page } = await open({ scenario: { sync: "offline", backup: { ...byHand, operations: [interrupted] } } });
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
  expect(await inputsOf(page, "backup.resume")).toEqual([]);
  await page.evaluate(() => {
    window.fake.setSync("live");
  });
  await begun(page, "restore");
  expect(await inputsOf(page, "backup.resume")).toEqual([{ operationId: interrupted.operationId }]);
  await page.evaluate(() => {
    window.fake.backup.end("restore", { code: "unreachable" });
  });
  const tray = page.getByRole("list", { name: "Running in the background" });
  await tray.getByText(/It goes on by itself\.$/).waitFor();
  // the connection itself stood all the while: the restore tries again of its own accord
  await begun(page, "restore");
  expect(await inputsOf(page, "backup.resume")).toHaveLength(2);
});

test("a restore that cannot go on says why, and can be put away", async () => {
  const { page } = await open({ scenario: { backup: { ...byHand, operations: [interrupted] } } });
  await begun(page, "restore");
  await page.evaluate(() => {
    window.fake.backup.end("restore", { code: "conflict", kind: "version-replaced" });
  });
  const tray = page.getByRole("list", { name: "Running in the background" });
  await tray.getByText("Another backup is there now.").waitFor();
  await tray.getByRole("button", { name: "Close" }).click();
  await tray.waitFor({ state: "detached" });
});

test("once it is you, the history comes back by itself", async () => {
  const { page } = await open({ scenario: { trust: { status: unconfirmed }, backup: byHand } });
  await sheet(page, "Is it you?")
    .getByRole("button", { name: /^Recovery key/ })
    .click();
  await page.getByRole("textbox", { name: "Recovery key" }).fill(recoveryKey);
  await page.getByRole("button", { name: "Confirm", exact: true }).click();
  const welcome = sheet(page, "Welcome back");
  await begun(page, "restore");
  await page.evaluate(() => {
    window.fake.backup.progress("restore", { done: 473, keysPerSecond: 200, remainingMs: 7000 });
  });
  await welcome.getByText("473 of 1,893 keys · 200 a second").waitFor();
  await welcome.getByText("about 7 s left").waitFor();
  await expectAccessible(page);
});

test("confirmed from another device, it begins when what opens the backup is here, and not before", async () => {
  const { page } = await open({ scenario: { trust: { status: unconfirmed }, backup: byHand } });
  await sheet(page, "Is it you?").waitFor();
  await page.evaluate(() => {
    window.fake.trust.setStatus({ identity: "verified" });
  });
  await sheet(page, "It is you").getByRole("button", { name: "Continue in background" }).click();
  expect(await inputsOf(page, "backup.restore")).toEqual([]);
  await page.evaluate(() => {
    window.fake.trust.setStatus({ secrets: { master: true, selfSigning: true, userSigning: true, backup: true } });
  });
  await begun(page, "restore");
  await page.getByRole("list", { name: "Running in the background" }).waitFor();
  expect(await inputsOf(page, "backup.restore")).toHaveLength(1);
});

test("keys go to a file behind a good passphrase, and the file is named", async () => {
  const { page, trouble } = await open({ scenario: { backup: byHand } });
  await toRecovery(page);
  await page.getByRole("button", { name: "Export keys" }).click();
  const dialog = sheet(page, "Export your keys");
  const go = dialog.getByRole("button", { name: "Choose a place and export" });
  await dialog.getByLabel("New passphrase").fill("mara1234");
  await dialog.getByLabel("Passphrase once more").fill("mara1234");
  await dialog.getByText(/guessed/i).waitFor();
  expect(await go.isDisabled()).toBe(true);
  await dialog.getByLabel("New passphrase").fill(filePassphrase);
  await dialog.getByLabel("Passphrase once more").fill(filePassphrase);
  await eventually(() => go.isEnabled(), Boolean);
  await expectAccessible(page);
  await go.click();
  await begun(page, "export");
  await page.evaluate(() => {
    window.fake.backup.progress("export", { done: 900, keysPerSecond: 8000 });
  });
  await dialog.getByText("900 of 1,893 keys · 8,000 a second").waitFor();
  await page.evaluate(() => {
    window.fake.backup.end("export");
  });
  await dialog.getByText("1,893 keys are in “Tessera keys.txt” (1.4 MB).").waitFor();
  expect(await inputsOf(page, "file.choose")).toMatchObject([{ purpose: "save", name: "Tessera keys.txt" }]);
  expect(await inputsOf(page, "backup.exportKeys")).toMatchObject([{ path: "grant-1", passphrase: filePassphrase }]);
  expect(trouble).toEqual([]);
});

test("a wrong passphrase of a file is said beside the field; the right one brings its keys", async () => {
  const { page } = await open({ scenario: {} });
  await toRecovery(page);
  await page.getByRole("button", { name: "Import keys" }).click();
  const dialog = sheet(page, "Import keys");
  await dialog.getByLabel("Passphrase of the file").fill(wrong);
  await page.keyboard.press("Enter");
  await dialog.getByText("That is not the file’s passphrase, or the file was altered.").waitFor();
  expect(await dialog.getByLabel("Passphrase of the file").getAttribute("aria-invalid")).toBe("true");
  await expectAccessible(page);
  await dialog.getByLabel("Passphrase of the file").fill(filePassphrase);
  await dialog.getByRole("button", { name: "Choose the file" }).click();
  await dialog.getByText("1,881 keys are here now. 12 were here already.").waitFor();
  // each try has a file of its own: the word for one is good for once
  expect(await inputsOf(page, "backup.importKeys")).toMatchObject([{ path: "grant-1" }, { path: "grant-2" }]);
});

test.each([
  [{ code: "wrong-file", kind: "not-a-key-file" }, "This is not a file of exported keys."],
  [{ code: "wrong-file", kind: "truncated" }, "The file ends too early"],
  [{ code: "wrong-file", kind: "damaged" }, "The file was altered or damaged."],
  [{ code: "wrong-file", kind: "unsupported-version" }, "The file is of a newer kind"],
  [{ code: "wrong-file", kind: "too-few-rounds" }, "The file’s passphrase hardly protects it"],
  [{ code: "wrong-file", kind: "too-many-rounds" }, "The file asks for more work than any honest file does."],
  [{ code: "wrong-file", kind: "constructor" }, "This is not a file of exported keys."],
  [{ code: "not-found", kind: "file" }, "The file is not there any more."],
  [{ code: "forbidden" }, "This file may not be read."],
] as const)("a file that is refused says why: %o", async (refuses, sentence) => {
  const { page } = await open({ scenario: { backup: { refuses } } });
  await toRecovery(page);
  await page.getByRole("button", { name: "Import keys" }).click();
  await page.getByLabel("Passphrase of the file").fill(filePassphrase);
  await page.keyboard.press("Enter");
  await sheet(page, "Import keys").getByRole("alert").getByText(sentence).waitFor();
});

test("choosing no file asks nothing of the core; a browser says that it has none to choose", async () => {
  const { page } = await open({ scenario: { backup: { chooses: "nothing" } } });
  await toRecovery(page);
  await page.getByRole("button", { name: "Import keys" }).click();
  const button = page.getByRole("button", { name: "Choose the file" });
  await page.getByLabel("Passphrase of the file").fill(filePassphrase);
  await button.click();
  await eventually(
    () => inputsOf(page, "file.choose"),
    (calls) => calls.length === 1,
  );
  await eventually(() => button.isEnabled(), Boolean);
  expect(await inputsOf(page, "backup.importKeys")).toEqual([]);

  const { page: browser } = await open({ scenario: { backup: { chooses: "no-dialog" } } });
  await toRecovery(browser);
  await browser.getByRole("button", { name: "Import keys" }).click();
  await browser.getByLabel("Passphrase of the file").fill(filePassphrase);
  await browser.getByRole("button", { name: "Choose the file" }).click();
  await browser.getByText("Open Tessera as an app for this.").waitFor();
});

const toSignOut = async (page: Page): Promise<void> => {
  await page.locator(".own").click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign out and delete from this computer" }).click();
};

test("signing out waits for the upload where one asks it to, and then loses nothing", async () => {
  const { page } = await open({ scenario: { atRisk: true } });
  await toSignOut(page);
  const dialog = sheet(page, "Part of your history would be lost");
  await dialog.getByRole("button", { name: /^Wait until it is backed up/ }).click();
  const out = dialog.getByRole("button", { name: "Sign out and delete from this computer" });
  await dialog.getByText("1,679 of 1,893 keys backed up").waitFor();
  expect(await out.isDisabled()).toBe(true);
  await expectAccessible(page);
  await page.evaluate(() => {
    window.fake.backup.setStatus({ at: "on", version: "7", backedUp: 1893, total: 1893, uploading: false });
  });
  await dialog.getByText("Everything is backed up.").waitFor();
  await out.click();
  await page.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
  expect(await inputsOf(page, "account.logout")).toEqual([{}, {}]);
});

test("signing out with the keys in a file", async () => {
  const { page } = await open({ scenario: { atRisk: true } });
  await toSignOut(page);
  const dialog = sheet(page, "Part of your history would be lost");
  await dialog.getByRole("button", { name: /^Take it along in a file/ }).click();
  await dialog.getByLabel("New passphrase").fill(filePassphrase);
  await dialog.getByLabel("Passphrase once more").fill(filePassphrase);
  const go = dialog.getByRole("button", { name: "Choose a place and export" });
  await eventually(() => go.isEnabled(), Boolean);
  await go.click();
  await dialog.getByText("1,893 keys are in “Tessera keys.txt”").waitFor();
  await dialog.getByRole("button", { name: "Sign out and delete from this computer" }).click();
  await page.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
  expect(await inputsOf(page, "account.logout")).toEqual([{}, { force: true }]);
});

test("signing out without a backup leads to making one", async () => {
  const { page } = await open({ scenario: { atRisk: true, backup: { status: { at: "off" } } } });
  await toSignOut(page);
  await sheet(page, "Part of your history would be lost")
    .getByRole("button", { name: /^Keep your history safe/ })
    .click();
  await sheet(page, "Keep your history safe").waitFor();
});

test("a backup is deleted only by its word, and only the one that was spoken of", async () => {
  const { page } = await open({ scenario: {} });
  await toRecovery(page);
  await card(page).getByRole("button", { name: "Delete the backup" }).click();
  const dialog = sheet(page, "Delete the backup?");
  await dialog.getByText("1,893 keys of your history, which a new device could not get back.").waitFor();
  const go = dialog.getByRole("button", { name: "Delete the backup" });
  await dialog.getByRole("textbox").fill("delete");
  expect(await go.isDisabled()).toBe(true);
  await expectAccessible(page);
  await page.evaluate(() => {
    window.fake.backup.setStatus({ at: "on", version: "9", backedUp: 4, total: 1893, uploading: false });
  });
  await dialog.getByRole("textbox").fill("delete backup");
  await page.keyboard.press("Enter");
  await dialog.getByRole("alert").waitFor();
  await page.keyboard.press("Escape");
  await card(page).getByRole("button", { name: "Delete the backup" }).click();
  await dialog.getByRole("textbox").fill("Delete Backup");
  await page.keyboard.press("Enter");
  await card(page).getByText("There is no backup.").waitFor();
  expect(await inputsOf(page, "backup.delete")).toEqual([{ version: "7" }, { version: "9" }]);
});

test("in German and dark, what runs and what was lost reads and contrasts", async () => {
  const failed = [{ roomId: "!left:example.org", sessionId: "a", reason: "other-session" }];
  const { page } = await open({
    scenario: { lastOpened: ana, preferences: { theme: "dark", language: "de" }, backup: { ...byHand, failed } },
  });
  await page.locator(".own").click();
  await page.locator("#tab-recovery").click();
  await page.getByRole("button", { name: "Meinen Verlauf zurückholen" }).click();
  await begun(page, "restore");
  await page.evaluate(() => {
    window.fake.backup.progress("restore", { done: 1211, failed: 1, keysPerSecond: 4380, remainingMs: 7600 });
  });
  await page.getByText("1.211 von 1.893 Schlüsseln · 4.380 pro Sekunde").waitFor();
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await expectAccessible(page);
});

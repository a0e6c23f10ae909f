import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { awayFailure } from "../fakes/bridge-backup.ts";
import { recoveryKey } from "../fakes/bridge-trust.ts";
import { useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const section = async (page: Page, name: string): Promise<void> => {
  await page.locator(".own").click();
  await page.getByRole("tab", { name }).click();
};
const inputsOf = (page: Page, name: string): Promise<unknown[]> =>
  page.evaluate((wanted) => window.fake.calls.filter((one) => one.name === wanted).map((one) => one.input), name);
const day = 86_400_000;

test("what is out of step is put right with one press, and it is said that it was checked", async () => {
  const { page } = await open({ scenario: { trust: { status: { problems: ["backup-not-signed"] } } } });
  await section(page, "Encryption");
  const card = page.getByRole("region", { name: "Your identity" });
  await card.getByText("The backup on your server is not one that this device can rely on.").waitFor();
  await card.getByRole("button", { name: "Put it right" }).click();
  await card.getByText("All of it is in order again. It was checked with your server.").waitFor();
  expect(await card.getByRole("list", { name: "Problems" }).count()).toBe(0);
  await card.getByRole("button", { name: "Done" }).click();
  expect(await card.getByRole("button", { name: "Put it right" }).count()).toBe(0);
});

test("where only the recovery key helps it is asked for, and what is left after that is named", async () => {
  const problems = ["user-signing-key-missing-in-storage", "master-key-missing-in-storage"];
  const left = (needs: "recovery-key" | "server") => problems.map((problem) => ({ problem, needs, tried: true }));
  const { page } = await open({
    scenario: {
      trust: {
        status: { recovery: "incomplete", problems },
        repair: { alone: left("recovery-key"), withKey: left("server").slice(0, 1) },
      },
    },
  });
  await section(page, "Encryption");
  const card = page.getByRole("region", { name: "Your identity" });
  await card.getByRole("button", { name: "Put it right" }).click();
  await card.getByText("This device cannot do it alone. Your recovery key can.").waitFor();
  await card.getByLabel("Recovery key", { exact: true }).fill(recoveryKey);
  await card.getByRole("button", { name: "Put it right" }).click();
  await card.getByText("A part is in order again. Still not as it should be:").waitFor();
  await card.getByText(/Your server took it and did not keep it\./).waitFor();
  expect(await inputsOf(page, "trust.repair")).toEqual([{}, { recoveryKey }]);
});

test("a repair that did not help says so, and leads to what does", async () => {
  const left = [{ problem: "storage-of-unknown-kind", needs: "set-up" as const, tried: false }];
  const { page } = await open({
    scenario: {
      trust: {
        status: { recovery: "incomplete", problems: ["storage-of-unknown-kind"] },
        repair: { alone: left, withKey: left },
      },
    },
  });
  await section(page, "Encryption");
  const card = page.getByRole("region", { name: "Your identity" });
  await card.getByRole("button", { name: "Put it right" }).click();
  await card.getByText("That did not help. Still not as it should be:").waitFor();
  await card.getByRole("button", { name: "Make a new recovery key" }).click();
  await page.getByRole("dialog", { name: "Keep your history safe" }).waitFor();
});

test("the meter says how much is safe, whether recovery works, and when it was practised", async () => {
  const { page } = await open({
    scenario: {
      backup: { status: { at: "on", version: "7", backedUp: 946, total: 1893, uploading: true } },
      trust: { practice: { lastDrill: { atMs: Date.now() - 3 * day, ok: true }, due: false } },
    },
  });
  await section(page, "Recovery");
  const card = page.getByRole("region", { name: "Your way back" });
  await card.getByText("49%").or(card.getByText("49 %")).waitFor();
  await card.getByText("Opens everything").waitFor();
  await card.getByText("3 days ago").waitFor();
});

test("after half a year a quiet line asks to practise, once a week at most, and practising ends it", async () => {
  const due = { practice: { due: true } };
  const { page } = await open({ scenario: { trust: due } });
  const line = "Do you still have your recovery key? Trying it takes a minute.";
  await page.getByText(line).waitFor();
  expect(await page.getByRole("dialog").count()).toBe(0);
  await eventually(
    () => inputsOf(page, "app.preferences"),
    (inputs) => inputs.some((input) => (input as { remindedMs?: number }).remindedMs !== undefined),
  );
  await page.getByRole("button", { name: "Practise" }).click();
  await page.getByText(/It has been half a year\./).waitFor();
  await page.getByRole("button", { name: "Try my recovery key" }).click();
  await page.getByLabel("Recovery key", { exact: true }).fill(recoveryKey);
  await page.getByRole("button", { name: "Try it" }).click();
  await page.getByText("just now").waitFor();

  const { page: later } = await open({
    scenario: { trust: due, preferences: { remindedMs: Date.now() - 3 * day } },
  });
  await later.getByRole("listbox", { name: "Chats" }).waitFor();
  await eventually(
    () => inputsOf(later, "trust.practice"),
    (asked) => asked.length > 0,
  );
  expect(await later.getByText(line).count()).toBe(0);
});

test("a damaged account begins nothing by itself; what was saved is listed before the chats come back", async () => {
  const { page, trouble } = await open({
    scenario: {
      sync: "stopped",
      rescued: { roomKeys: 1204, roomKeysComplete: false, secrets: ["backup"], messages: "fetched-again" },
    },
  });
  await page.getByRole("heading", { name: "A file of your account is damaged" }).waitFor();
  expect(await inputsOf(page, "account.rescue")).toEqual([]);
  await page.getByRole("button", { name: "Save what can be saved" }).click();
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Save what can be saved" }).click();
  await page.getByText("That is not the password of your account. Nothing was changed; try again.").waitFor();
  await page.getByLabel("Password").fill("correct");
  await page.getByRole("button", { name: "Save what can be saved" }).click();
  await page.getByRole("heading", { name: "This was saved" }).waitFor();
  await page.getByText("1,204 keys to your history.").waitFor();
  await page.getByText(/Not all of the file could be read/).waitFor();
  await page.getByText(/Your identity could not be read in full\./).waitFor();
  await page.getByText("Your chats come from your server again.").waitFor();
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
  expect(trouble).toEqual([]);
});

test("the lock after idle time is chosen, and the host is told that somebody is here", async () => {
  // it is told every ten seconds at most, by a clock that a slow machine cannot outrun
  const { page } = await open({ scenario: {}, fixedTime: "2026-06-18T12:00:00Z" });
  await section(page, "Privacy");
  expect(await inputsOf(page, "app.active")).toEqual([]);
  await page.getByLabel("Lock by itself").selectOption("5");
  await eventually(
    () => inputsOf(page, "app.preferences"),
    (inputs) => inputs.some((input) => (input as { lockAfterMinutes?: number }).lockAfterMinutes === 5),
  );
  await page.mouse.move(500, 400);
  await eventually(
    () => inputsOf(page, "app.active"),
    (told) => told.length === 1,
  );
  await page.mouse.move(520, 420);
  await page.keyboard.press("Tab");
  expect(await inputsOf(page, "app.active")).toHaveLength(1);
});

test("a key that the keyring lacks is put there when one asks for it", async () => {
  const { page } = await open({
    scenario: { vault: { passphrase: true, keychain: { backend: "GNOME Keyring", ok: false, unused: true } } },
  });
  await section(page, "Privacy");
  await page.getByRole("button", { name: "Keep the key in GNOME Keyring too" }).click();
  await page.getByText("GNOME Keyring does not keep the key. Your passphrase opens Tessera as before.").waitFor();
  await page.evaluate(() => {
    window.fake.setVault({ keychain: { backend: "GNOME Keyring", ok: true } });
  });
  await page.getByText(/The key to it is kept in your system’s keyring \(GNOME Keyring\)\./).waitFor();
});

test("a restore that stopped says why; one that was paused stays so until somebody goes on with it", async () => {
  const operation = {
    operationId: "5f0c8f64-9a3c-4b7f-9c64-0b8e7f4b1a11",
    ...({ kind: "restore", at: "interrupted", done: 700, total: 1893 } as const),
  };
  const { page } = await open({
    scenario: {
      sync: "offline",
      backup: { work: "by-hand", operations: [{ ...operation, failure: awayFailure }] },
    },
  });
  await page.evaluate(() => {
    window.fake.failing["backup.resume"] = "unreachable";
    window.fake.setSync("live");
  });
  await page.getByText(/It goes on by itself\.$/).waitFor();

  const { page: paused } = await open({
    scenario: {
      backup: {
        work: "by-hand",
        operations: [{ ...operation, failure: { code: "cancelled", message: "", retryable: false } }],
      },
    },
  });
  await paused.getByText("paused", { exact: false }).first().waitFor();
  expect(await inputsOf(paused, "backup.resume")).toEqual([]);
});

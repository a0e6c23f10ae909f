import { expect, test } from "vitest";
import { expectAccessible, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const noKeychain = { backend: "", ok: false };

test("a locked vault opens with the passphrase, and says when it is the wrong one", async () => {
  const { page } = await open({ scenario: { vault: { at: "locked", passphrase: true } } });
  await page.getByRole("heading", { name: "Tessera is locked" }).waitFor();
  await page.getByLabel("Passphrase").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("That is not the passphrase. Nothing was changed; try again.").waitFor();
  await page.getByLabel("Passphrase").fill("correct horse");
  await page.keyboard.press("Enter");
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
});

test("a keyring that has not answered yet is waited for in words", async () => {
  const { page } = await open({
    scenario: { vault: { at: "locked", keychain: { backend: "GNOME Keyring", ok: false, waiting: true } } },
  });
  await page.getByRole("status").getByText("Waiting for your keyring").waitFor();
  await page.evaluate(() => {
    window.fake.setVault({ at: "ready", keychain: { backend: "GNOME Keyring", ok: true } });
  });
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
});

test.each([
  ["missing", "The keyring does not answer"],
  ["changed", "The keyring holds a different entry"],
  ["corrupt", "A file of this profile is damaged"],
] as const)("%s has its sentence, a way to try again, and no way to delete", async (at, title) => {
  const { page } = await open({ scenario: { vault: { at, passphrase: at !== "corrupt", keychain: noKeychain } } });
  await page.getByRole("heading", { name: title }).waitFor();
  await page.getByText("Nothing has been deleted, and nothing will be without you.").waitFor();
  expect(await page.getByLabel("Passphrase").count()).toBe(at === "corrupt" ? 0 : 1);
  await page.getByRole("button", { name: /again/ }).click();
  await page.getByText("The keyring of this computer does not answer.").waitFor();
  await page.getByRole("button", { name: "What else can I do?" }).click();
  const buttons = await page.getByRole("button").allTextContents();
  expect(buttons.join(" ")).not.toMatch(/delete|erase|reset|start over/i);
  await expectAccessible(page);
});

test("a new profile without a keyring is protected by a passphrase of one's own", async () => {
  const { page } = await open({ scenario: { account: "signed-out", vault: { at: "new", keychain: noKeychain } } });
  await page.getByLabel("New passphrase").fill("three quiet words");
  await page.getByLabel("Passphrase once more").fill("three quiet word");
  await page.getByText("The two passphrases differ.").waitFor();
  await page.getByLabel("Passphrase once more").fill("three quiet words");
  await page.getByRole("button", { name: "Protect with this passphrase" }).click();
  await page.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
});

test("a new profile with a keyring begins at the sign-in", async () => {
  const { page } = await open({ scenario: { account: "signed-out", vault: { at: "new" } } });
  await page.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
});

test("locking takes every message off the screen", async () => {
  const { page } = await open({ scenario: { lastOpened: "!anaruiz:example.org", vault: { passphrase: true } } });
  await page.getByText("The slides are in the folder").last().waitFor();
  await page.getByRole("button", { name: /Mara Lindqvist/ }).click();
  await page.getByRole("tab", { name: "Privacy" }).click();
  await page.getByRole("button", { name: "Lock now" }).click();
  await page.getByRole("heading", { name: "Tessera is locked" }).waitFor();
  expect(await page.locator("body").textContent()).not.toContain("slides");
});

test("the passphrase is set, changed with the current one, and removed", async () => {
  const { page } = await open();
  await page.getByRole("button", { name: /Mara Lindqvist/ }).click();
  await page.getByRole("tab", { name: "Privacy" }).click();
  await page.getByRole("button", { name: "Set a passphrase" }).click();
  await page.getByLabel("New passphrase").fill("first words");
  await page.getByLabel("Passphrase once more").fill("first words");
  await page.getByRole("button", { name: "Save passphrase" }).click();
  await page.getByText("Passphrase set", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Remove passphrase" }).click();
  await page.getByLabel("Current passphrase").fill("not it");
  await page.getByRole("button", { name: "Remove passphrase" }).click();
  await page.getByText("That is not the passphrase.").waitFor();
  await page.getByLabel("Current passphrase").fill("first words");
  await page.getByRole("button", { name: "Remove passphrase" }).click();
  await page.getByText("Passphrase removed").waitFor();
});

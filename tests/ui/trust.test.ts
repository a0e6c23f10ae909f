import { readFile } from "node:fs/promises";
import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { recoveryKey } from "../fakes/bridge-trust.ts";
import { useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const { ana, lab } = roomIds;
const secrets = { master: false, selfSigning: false, userSigning: false, backup: false };
const none = { identity: "none", recovery: "none", secrets } as const;
const unconfirmed = { identity: "this-device-unverified", secrets } as const;
const another = "EsTt kF1s kh5U onfr qRZd igYC Th9W qjKP PKdS 8rTz 1N9H mLEF";

const inputsOf = (page: Page, name: string): Promise<unknown[]> =>
  page.evaluate((wanted) => window.fake.calls.filter((one) => one.name === wanted).map((one) => one.input), name);
const sheet = (page: Page, name: string | RegExp) => page.getByRole("dialog", { name });
const saved = async (page: Page, press: () => Promise<void>): Promise<{ name: string; text: string }> => {
  const [download] = await Promise.all([page.waitForEvent("download"), press()]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
};

test("after the first sign-in one step makes the way back, and its key's end is asked for", async () => {
  const { page, trouble } = await open({ scenario: { trust: { status: none, wants: "password" } } });
  await sheet(page, "Keep your history safe").getByRole("button", { name: "Keep it safe" }).click();
  await page.getByLabel("Password of your account").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("That is not the password of your account.").waitFor();
  await page.getByLabel("Password of your account").fill("correct");
  await page.keyboard.press("Enter");

  const shown = sheet(page, "Your recovery key");
  await shown.getByRole("img", { name: `Recovery key: ${recoveryKey.split(" ").join(", ")}` }).waitFor();
  const file = await saved(page, () => shown.getByRole("button", { name: "Save" }).click());
  expect(file.name).toMatch(/^Tessera recovery key .*\.txt$/);
  expect(file.text).toContain(recoveryKey);
  expect(file.text).toContain("@mara:tessera.example");

  await shown.getByRole("button", { name: "I have kept it" }).click();
  await page.getByLabel("Last group of the recovery key").fill("AAAA");
  await page.keyboard.press("Enter");
  await page.getByText("That is not its last group.").waitFor();
  await page.getByLabel("Last group of the recovery key").fill(recoveryKey.slice(-4));
  await page.keyboard.press("Enter");
  await sheet(page, "Your history is safe").getByRole("button", { name: "Done" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  expect(await inputsOf(page, "trust.setUp")).toEqual([
    { recovery: { kind: "key" } },
    { recovery: { kind: "key" }, password: "wrong" },
    { recovery: { kind: "key" }, password: "correct" },
  ]);
  expect(trouble).toEqual([]);
});

test("printing puts the key on one sheet, in place of the page", async () => {
  const { page } = await open({ scenario: { trust: { status: none } } });
  await sheet(page, "Keep your history safe").getByRole("button", { name: "Keep it safe" }).click();
  await page.evaluate(() => {
    window.print = () => {
      document.body.dataset["printed"] = document.querySelector(".print-sheet")?.textContent ?? "";
      dispatchEvent(new Event("afterprint"));
    };
  });
  await sheet(page, "Your recovery key").getByRole("button", { name: "Print" }).click();
  expect(await page.evaluate(() => document.body.dataset["printed"])).toContain(recoveryKey);
  expect(await page.locator(".print-sheet").count()).toBe(0);
});

test("nobody leaves without the key by accident", async () => {
  const { page } = await open({ scenario: { trust: { status: none } } });
  await sheet(page, "Keep your history safe").getByRole("button", { name: "Keep it safe" }).click();
  await sheet(page, "Your recovery key").waitFor();
  await page.keyboard.press("Escape");
  await sheet(page, "Leave without the key?").getByRole("button", { name: "Show the key again" }).click();
  await sheet(page, "Your recovery key").waitFor();
  await page.keyboard.press("Escape");
  await sheet(page, "Leave without the key?").getByRole("button", { name: "Leave without it" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

test("later is an answer for a week, and remembered by the host", async () => {
  const { page } = await open({ scenario: { trust: { status: none } } });
  await sheet(page, "Keep your history safe").getByRole("button", { name: "Later" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  expect(await inputsOf(page, "app.preferences")).toContainEqual({ remindedMs: expect.any(Number) as number });

  const week = 7 * 86_400_000;
  const remindedBefore = (agoMs: number) =>
    open({ scenario: { trust: { status: none }, preferences: { remindedMs: Date.now() - agoMs } } });
  const { page: later } = await remindedBefore(week - 3_600_000);
  await later.getByRole("listbox", { name: "Chats" }).waitFor();
  await eventually(
    () => inputsOf(later, "trust.status"),
    (calls) => calls.length > 0,
  );
  // the answer has been taken once the page has drawn what comes of it
  await later.evaluate(() => new Promise((resolve) => requestIdleCallback(() => requestIdleCallback(resolve))));
  expect(await later.getByRole("dialog").count()).toBe(0);
  const { page: after } = await remindedBefore(week + 3_600_000);
  await sheet(after, "Keep your history safe").waitFor();
});

test("a passphrase is judged while it is typed, and has to be good enough", async () => {
  const { page, trouble } = await open({ scenario: { trust: { status: none } } });
  const dialog = sheet(page, "Keep your history safe");
  await dialog.getByRole("button", { name: "Use a passphrase of my own instead" }).click();
  const submit = dialog.getByRole("button", { name: "Keep it safe" });
  await dialog.getByLabel("New passphrase").fill("mara1234");
  await dialog.getByText(/guessed/i).waitFor();
  await dialog.getByLabel("Passphrase once more").fill("mara1234");
  expect(await submit.isDisabled()).toBe(true);
  const good = "velvet otter borrows seventeen ladders";
  await dialog.getByLabel("New passphrase").fill(good);
  await dialog.getByText("Good", { exact: true }).waitFor();
  expect(await submit.isDisabled()).toBe(true);
  await dialog.getByLabel("Passphrase once more").fill(good);
  await eventually(() => submit.isEnabled(), Boolean);
  await submit.click();
  await sheet(page, "Your recovery key").getByRole("button", { name: "Go on" }).click();
  expect(await inputsOf(page, "trust.setUp")).toEqual([{ recovery: { kind: "passphrase", passphrase: good } }]);
  expect(trouble).toEqual([]);
});

test("a new device says at once what is wrong with a recovery key, and turns to ticks with the right one", async () => {
  const { page } = await open({ scenario: { trust: { status: unconfirmed } } });
  await sheet(page, "Is it you?")
    .getByRole("button", { name: /^Recovery key/ })
    .click();
  const field = page.getByRole("textbox", { name: "Recovery key" });
  const confirm = page.getByRole("button", { name: "Confirm", exact: true });
  await field.pressSequentially("EsTd9VvJpc");
  expect(await field.inputValue()).toBe("EsTd 9VvJ pc");
  await page.getByText("2 of 12 groups").waitFor();
  await field.pressSequentially("0");
  await page.getByText("There is no “0” in a recovery key. Look at group 3.").waitFor();
  await field.fill(`${recoveryKey.slice(0, -1)}s`);
  await page.getByText("A character is not as it was shown.").waitFor();
  expect(await confirm.isDisabled()).toBe(true);
  expect(await inputsOf(page, "trust.recover")).toEqual([]);

  await field.fill(another);
  await page.getByText("Complete, and without a typo.").waitFor();
  await page.keyboard.press("Enter");
  await page.getByText("This is a recovery key, but not the one of this account.").waitFor();
  await field.fill(recoveryKey);
  await confirm.click();
  await sheet(page, "Welcome back").getByRole("button", { name: "Done" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

test("a wrong passphrase is said beside the field", async () => {
  const { page } = await open({ scenario: { trust: { status: unconfirmed } } });
  await sheet(page, "Is it you?")
    .getByRole("button", { name: /^Passphrase/ })
    .click();
  await page.getByLabel("Recovery passphrase").fill("something else");
  await page.keyboard.press("Enter");
  await page.getByText("That is not the passphrase. Capital letters and spaces count.").waitFor();
  expect(await page.getByLabel("Recovery passphrase").getAttribute("aria-invalid")).toBe("true");
});

test("confirmed from another device, the checklist ticks off what arrives", async () => {
  const { page } = await open({ scenario: { trust: { status: unconfirmed } } });
  await sheet(page, "Is it you?")
    .getByRole("button", { name: /^Confirm on another device/ })
    .waitFor();
  await page.evaluate(() => {
    window.fake.trust.setStatus({
      identity: "verified",
      secrets: { master: true, selfSigning: true, userSigning: false, backup: false },
    });
  });
  const list = sheet(page, "It is you").getByRole("listitem");
  await list.filter({ hasText: "Your identity" }).getByRole("img", { name: "Done" }).waitFor();
  await list.filter({ hasText: "Contacts you verified" }).getByText("Waiting").waitFor();
  await page.evaluate(() => {
    window.fake.trust.setStatus({
      secrets: { master: true, selfSigning: true, userSigning: true, backup: true },
    });
  });
  await sheet(page, "Welcome back").waitFor();
});

test("a new identity wants to be typed, and says what is lost", async () => {
  const { page } = await open({ scenario: { trust: { status: unconfirmed } } });
  await sheet(page, "Is it you?").getByRole("button", { name: "I have none of these" }).click();
  const dialog = sheet(page, "Begin with a new identity?");
  await dialog.getByText("Everyone who verified you sees that your identity changed").waitFor();
  const go = dialog.getByRole("button", { name: "Begin anew" });
  expect(await go.isDisabled()).toBe(true);
  await dialog.getByRole("textbox").fill("New identity");
  await go.click();
  await sheet(page, "Your recovery key").waitFor();
  expect(await inputsOf(page, "trust.reset")).toEqual([{ keepHistory: true }]);
});

test("a stricter choice says first whom it cuts off; a looser one holds at once", async () => {
  const { page } = await open({ scenario: { lastOpened: lab } });
  await page.getByRole("heading", { name: "Lab meeting" }).waitFor();
  await page.keyboard.press("Control+,");
  await page.getByRole("tab", { name: "Encryption" }).click();
  await page.getByRole("radio", { name: "Only people you verified" }).check();
  const question = page.getByRole("alertdialog");
  await question.getByText("Lab meeting").waitFor();
  await question.getByText("Priya Nair’s Phone").waitFor();
  await question.getByRole("button", { name: "Leave it as it is" }).click();
  await question.waitFor({ state: "detached" });
  expect(await page.getByRole("radio", { name: "Devices their owner vouches for" }).isChecked()).toBe(true);
  expect((await inputsOf(page, "trust.policy")).some((input) => Object.hasOwn(input as object, "sendTo"))).toBe(false);

  await page.getByRole("radio", { name: "Only people you verified" }).check();
  await question.getByRole("button", { name: "Choose it all the same" }).click();
  await eventually(
    () => inputsOf(page, "trust.policy"),
    (calls) => calls.some((input) => (input as { sendTo?: string }).sendTo === "verified-users"),
  );
  await question.waitFor({ state: "detached" });
  await page.getByRole("radio", { name: "All of their devices" }).check();
  await eventually(
    () => inputsOf(page, "trust.policy"),
    (calls) => calls.some((input) => (input as { sendTo?: string }).sendTo === "everyone"),
  );
  expect(await question.count()).toBe(0);
});

test("one chat can have a choice of its own", async () => {
  const { page } = await open({ scenario: { lastOpened: lab }, width: 1400 });
  await page.getByRole("button", { name: /can read what you write/ }).click();
  await page.getByText("Choose for this chat alone").click();
  await page.getByRole("radio", { name: "All of their devices" }).check();
  await eventually(
    () => inputsOf(page, "trust.policy"),
    (calls) => calls.some((input) => JSON.stringify(input) === JSON.stringify({ sendTo: "everyone", roomId: lab })),
  );
  await page.getByText("7 devices of 4 people can read what you write here.").waitFor();

  await page.getByRole("button", { name: "Use the choice for all chats" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Choose it all the same" }).click();
  await eventually(
    () => inputsOf(page, "trust.policy"),
    (calls) => calls.some((input) => JSON.stringify(input) === JSON.stringify({ sendTo: null, roomId: lab })),
  );
  expect(await page.getByRole("radio", { name: "Devices their owner vouches for" }).isChecked()).toBe(true);
});

test("who can read is said above the composer, and listed with the reasons", async () => {
  const { page } = await open({ scenario: { lastOpened: lab }, width: 1400 });
  await page.getByRole("button", { name: "4 devices of 4 people can read what you write · 3 left out" }).click();
  await page
    .getByText(
      "4 devices of 4 people can read what you write here. 3 are left out, because their owners have not confirmed them.",
    )
    .waitFor();
  const out = page.getByRole("list", { name: "Left out" });
  await out.getByText("Jonas Weber · not confirmed by its owner").waitFor();
  await out.getByRole("button", { name: "Look at Jonas Weber" }).click();
  await page.getByRole("complementary", { name: "About Jonas Weber" }).waitFor();
});

test("the composer speaks up when more can read than with one's last message", async () => {
  const { page } = await open({ scenario: { lastOpened: ana, trust: { grew: true } } });
  await page
    .getByText("Since your last message Ana Ruiz added a device, “Desk”. It can read what you write.")
    .waitFor();
  await page.getByRole("button", { name: "See who" }).click();
  await page.getByText("Every device").click();
  await page.getByText("New since your last message").waitFor();
});

test("a changed identity stands in the conversation until one has decided", async () => {
  const { page } = await open({
    scenario: { lastOpened: ana, trust: { identities: { "@ana:example.org": "verification-violated" } } },
  });
  const card = page.getByRole("complementary", { name: "Ana Ruiz’s identity changed" });
  await card.getByText(/Ana Ruiz’s identity changed on \d+ \w+ \d{4}\./).waitFor();
  await card.getByText(/You have known the one before since \d+ \w+ \d{4}\./).waitFor();
  await card.getByText("Nothing is sent here until you have decided.").waitFor();

  await page.evaluate(() => (window.fake.sends = "identity-changed"));
  await page.getByRole("textbox", { name: "Write to Ana" }).fill("Is it you?");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Look at who changed" }).click();
  await page.getByRole("complementary", { name: "About Ana Ruiz" }).waitFor();

  await card.getByRole("button", { name: "I know, it is still them" }).click();
  await card.waitFor({ state: "detached" });
  // the one that was seen, and no later one
  expect(await inputsOf(page, "trust.acceptIdentity")).toEqual([
    { userId: "@ana:example.org", fingerprint: expect.any(String) as string },
  ]);
});

test("a change while one reads puts up the card by itself, and verifying is one press away", async () => {
  const { page } = await open({ scenario: { lastOpened: ana } });
  await page.getByText("The slides are in the folder").last().waitFor();
  await page.getByRole("button", { name: /can read what you write/ }).waitFor();
  await page.evaluate(() => {
    window.fake.trust.setIdentity("@ana:example.org", "changed");
  });
  const card = page.getByRole("complementary", { name: "Ana Ruiz’s identity changed" });
  await card.getByText("Often someone lost all their devices and began anew.").waitFor();
  await card.getByRole("button", { name: "Verify" }).click();
  await eventually(
    () => inputsOf(page, "verification.request"),
    (calls) => calls.length === 1,
  );
});

test("a person's panel: verification withdrawn, a device blocked, the record saved as a file", async () => {
  const { page } = await open({ scenario: { lastOpened: ana }, width: 1400 });
  await page.getByRole("button", { name: "People", exact: true }).click();
  await page.getByRole("listitem").filter({ hasText: "@ana:example.org" }).getByRole("button").click();
  const panel = page.getByRole("complementary", { name: "About Ana Ruiz" });
  await panel.getByText(/You verified Ana Ruiz on/).waitFor();

  await panel.getByRole("button", { name: "Block Desk" }).click();
  await panel.getByText("Blocked by you").waitFor();
  await panel.getByRole("button", { name: "Stop blocking Desk" }).waitFor();

  await panel.getByText("What happened so far").click();
  await panel.getByText("Device blocked by you").waitFor();
  const file = await saved(page, () => panel.getByRole("button", { name: "Save all of it as a file" }).click());
  expect(file.name).toMatch(/\.json$/);
  expect((JSON.parse(file.text) as { kind: string }[]).map((entry) => entry.kind)).toContain("first-seen");

  await panel.getByRole("button", { name: "Withdraw the verification" }).click();
  await panel.getByRole("button", { name: "Withdraw it" }).click();
  await panel.getByText(/and have not verified it/).waitFor();
  await panel.getByRole("button", { name: "Verify Ana Ruiz" }).waitFor();
});

test("practising recovery tells what a new device would have", async () => {
  const { page } = await open({ scenario: {} });
  await page.getByRole("listbox", { name: "Chats" }).waitFor();
  await page.keyboard.press("Control+,");
  await page.getByRole("tab", { name: "Recovery" }).click();
  await page.getByRole("button", { name: "Try my recovery key" }).click();
  await page.getByRole("textbox", { name: "Recovery key" }).fill(recoveryKey);
  await page.getByRole("button", { name: "Try it" }).click();
  await page.getByText("It works. A new device would have all of this back:").waitFor();
  await page.getByText("20 message keys of the backup, tried out").waitFor();
  expect(await inputsOf(page, "trust.recover")).toEqual([]);
});

test("every reason why a message cannot be read has its cause, and what to do, in both languages", async () => {
  const reasons = [
    ...["missing-key", "withheld", "withheld-unverified", "withheld-unsigned", "key-too-late", "no-backup"],
    ...["backup-locked", "not-a-member-then", "sender-identity-changed", "sender-unsigned", "sender-unknown-device"],
    ...["malformed", "other"],
  ] as const;
  for (const language of ["en", "de"] as const) {
    const { page } = await open({ scenario: { lastOpened: ana, preferences: { language } } });
    const row = page.locator("article", { has: page.locator(".note") });
    await row.waitFor();
    const said = new Set<string>();
    for (const reason of reasons) {
      await page.evaluate(
        ({ roomId, why }) => {
          const old = window.fake.items(roomId).find((item) => item.kind === "undecryptable");
          if (old?.undecryptable === undefined) throw new Error("nothing is unreadable");
          const { nextTryMs: _next, ...undecryptable } = old.undecryptable;
          const changed = { ...old, undecryptable: { ...undecryptable, reason: why, device: "KDESKTOPAN" } };
          window.fake.emit("timeline.changed", { roomId, items: [changed as typeof old] });
        },
        { roomId: ana, why: reason },
      );
      await row.getByRole("button", { name: language === "en" ? "Details" : "Einzelheiten" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByText("KDESKTOPAN").waitFor();
      const words = await dialog.locator(".why").allTextContents();
      expect(words).toHaveLength(3);
      said.add(words.join(" "));
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
    }
    expect(said.size).toBe(reasons.length);
  }
});

test("the inspector counts down, tries now, and leads to what helps", async () => {
  const { page } = await open({ scenario: { lastOpened: ana } });
  const row = page.locator("article", { has: page.locator(".note") });
  await row.getByRole("button", { name: "Details" }).click();
  const dialog = sheet(page, "Why this message cannot be read");
  await dialog.getByText(/^Next try in \d+ s\.$/).waitFor();
  await dialog.getByText("your other devices", { exact: true }).waitFor();
  await dialog.getByRole("button", { name: "Try now" }).click();
  await page.getByText("The key has arrived, so here is what I wrote.").last().waitFor();
});

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { Flow, FlowState } from "../../preload/contract/verification.ts";
import { eventually } from "../eventually.ts";
import { own, roomIds } from "../fakes/bridge-rooms.ts";
import { comparing } from "../fakes/bridge-verification.ts";
import type { OpenOptions } from "./harness/browser.ts";
import { expectAccessibleInBoth, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();
const ana = "@ana:example.org";
const withAna: Flow = {
  ...{ flowId: "$flow", userId: ana, deviceId: "KDESKTOPAN", mine: false, roomId: roomIds.ana },
  ...{ methods: ["emoji", "qr-show", "qr-scan"], state: { at: "requested" }, requestedAtMs: 1_778_571_720_000 },
};
const { roomId: _none, ...roomless } = withAna;
const ofOwn: Flow = { ...roomless, flowId: "$own", userId: own.userId, deviceId: "PHONE" };
const asked: Flow = { ...withAna, mine: true };

async function opened(options: OpenOptions = {}, openRoom: string = roomIds.ana): Promise<Page> {
  const { page } = await open({ ...options, scenario: { lastOpened: openRoom, ...options.scenario } });
  await page.locator("article").last().waitFor();
  return page;
}
const put = (page: Page, flow: Flow): Promise<void> =>
  page.evaluate((one) => {
    window.fake.verification.put(one);
  }, flow);
const to = (page: Page, state: FlowState, flowId = "$flow"): Promise<void> =>
  page.evaluate(
    ([id, next]) => {
      window.fake.verification.to(id, next);
    },
    [flowId, state] as const,
  );
const calls = (page: Page): Promise<{ name: string; input: unknown }[]> =>
  page.evaluate(() =>
    window.fake.calls.filter(({ name }) => name.startsWith("verification.") && name !== "verification.list"),
  );
const title = (page: Page, name: string): Promise<void> =>
  page.getByRole("dialog").getByRole("heading", { name }).waitFor();

test("a request comes as a sheet that says who, from which device and when, and can be accepted", async () => {
  const page = await opened();
  await put(page, withAna);
  await title(page, "Verify Ana Ruiz?");
  const dialog = page.getByRole("dialog");
  for (const part of [ana, "Device “", "Asked at"]) await dialog.getByText(part).first().waitFor();
  await dialog.getByRole("button", { name: "Accept" }).click();
  await title(page, "How would you like to compare?");
  expect(await calls(page)).toEqual([{ name: "verification.accept", input: { flowId: "$flow" } }]);
});

test("one that is put off leaves a card in its conversation, and no further sheet", async () => {
  const page = await opened();
  await put(page, withAna);
  await title(page, "Verify Ana Ruiz?");
  await page.getByRole("button", { name: "Not now" }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  const card = page.getByRole("complementary", { name: "Verification" });
  await card.getByText("Ana Ruiz asks to verify each other").waitFor();
  expect(await calls(page)).toEqual([]);

  await put(page, { ...withAna, flowId: "$second" });
  await put(page, withAna);
  await card.getByRole("button", { name: "Decline" }).waitFor();
  expect(await page.getByRole("dialog").count()).toBe(0);

  await page.locator(`[data-room="${roomIds.lab}"]`).click();
  await page.getByRole("heading", { name: "Lab meeting" }).waitFor();
  expect(await card.count()).toBe(0);
});

test("a declined one is cancelled, and its card goes", async () => {
  const page = await opened();
  await put(page, withAna);
  await page.getByRole("dialog").getByRole("button", { name: "Decline" }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  expect(await calls(page)).toEqual([{ name: "verification.cancel", input: { flowId: "$flow" } }]);
  expect(await page.getByRole("complementary", { name: "Verification" }).count()).toBe(0);
});

test("it does not push aside what one is doing", async () => {
  const page = await opened();
  await page.keyboard.press("Control+k");
  await page.getByRole("dialog").waitFor();
  await put(page, withAna);
  await page.getByRole("complementary", { name: "Verification", includeHidden: true }).waitFor();
  expect(await page.getByRole("heading", { name: "Verify Ana Ruiz?" }).count()).toBe(0);
  await page.keyboard.press("Escape");
  await title(page, "Verify Ana Ruiz?");
});

test("only the ways that both devices know are offered", async () => {
  const page = await opened();
  await put(page, { ...asked, methods: ["emoji"], state: { at: "ready" } });
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("button", { name: "Show the pictures" }).waitFor();
  expect(await page.getByRole("button", { name: "Scan", exact: true }).count()).toBe(0);
  await put(page, { ...asked, methods: ["qr-show"], state: { at: "ready" } });
  await page.getByRole("button", { name: "Show my code" }).waitFor();
  expect(await page.getByRole("button", { name: "Show the pictures" }).count()).toBe(0);
  await put(page, { ...asked, methods: [], state: { at: "ready" } });
  await page.getByText("know no way in common").waitFor();
});

test("the seven pictures have their names in the window's language, unknown ones the name they came with", async () => {
  const page = await opened({ scenario: { preferences: { language: "de" } } });
  const emoji: [string, string][] = [...(comparing as Extract<FlowState, { at: "comparing" }>).emoji];
  emoji[6] = ["🪐", "Planet"];
  await put(page, { ...asked, state: { ...comparing, emoji } as FlowState });
  await page.getByRole("button", { name: "Fortfahren" }).click();
  const names = page.getByRole("list", { name: "Die sieben Bilder der Reihe nach" }).locator(".name");
  await names.first().waitFor();
  expect(await names.allTextContents()).toEqual(["Hund", "Pizza", "Rakete", "Anker", "Kaktus", "Hut", "Planet"]);
});

test("numbers can be compared in place of the pictures, and are where there are no pictures", async () => {
  const page = await opened();
  await put(page, { ...asked, state: comparing });
  await page.getByRole("button", { name: "Continue" }).click();
  await title(page, "Do you both see the same seven pictures?");
  await page.getByRole("button", { name: "Compare numbers instead" }).click();
  await title(page, "Do you both see the same three numbers?");
  const numbers = page.getByRole("list", { name: "The three numbers, in order" }).getByRole("listitem");
  expect(await numbers.allTextContents()).toEqual(["4821", "1177", "8350"]);
  await page.getByRole("button", { name: "Compare pictures instead" }).click();
  await title(page, "Do you both see the same seven pictures?");
  await to(page, { at: "comparing", emoji: [], decimals: [1, 2, 3] });
  await title(page, "Do you both see the same three numbers?");
  expect(await page.getByRole("button", { name: "Compare pictures instead" }).count()).toBe(0);
});

test("what does not match is said in words of danger, on the sheet and in the conversation", async () => {
  const page = await opened();
  await put(page, { ...asked, state: comparing });
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("button", { name: "They differ" }).click();
  await title(page, "Someone may be in between");
  expect(await calls(page)).toEqual([{ name: "verification.confirm", input: { flowId: "$flow", same: false } }]);
  await page.getByRole("button", { name: "Try again" }).click();
  await title(page, "Waiting for Ana Ruiz");
  expect((await calls(page)).at(-1)).toEqual({ name: "verification.request", input: { userId: ana } });
});

test("a scanned code is confirmed only by a word of the person", async () => {
  const page = await opened();
  await put(page, { ...asked, state: { at: "qr-scanned" } });
  await page.getByRole("button", { name: "Continue" }).click();
  await title(page, "Does Ana Ruiz’s device show a tick?");
  expect(await calls(page)).toEqual([]);
  await page.getByRole("button", { name: "Yes, a tick" }).click();
  await title(page, "Waiting for Ana Ruiz");
  expect(await calls(page)).toEqual([{ name: "verification.confirm", input: { flowId: "$flow", same: true } }]);
  await to(page, { at: "done" });
  await title(page, "Ana Ruiz is verified");
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  expect(await page.getByRole("complementary", { name: "Verification" }).count()).toBe(0);
});

test("what is still on its way is ticked off; after two minutes of silence there is a way out", async () => {
  const { page } = await open({ scenario: { lastOpened: roomIds.ana } });
  await page.locator("article").last().waitFor();
  await page.clock.install();
  await put(page, ofOwn);
  await title(page, "Is this you?");
  await to(page, { at: "settling", missing: ["signature", "master", "selfSigning", "userSigning", "backup"] }, "$own");
  await title(page, "Almost there");
  const ticked = page.getByRole("dialog").getByRole("img", { name: "done" });
  expect(await ticked.count()).toBe(1);
  await to(page, { at: "settling", missing: ["userSigning", "backup"] }, "$own");
  await eventually(
    () => ticked.count(),
    (count) => count === 3,
  );
  const wayOut = page.getByRole("button", { name: "Use the recovery key" });
  // the clock runs on between the steps too, for as long as a busy machine takes over them
  await page.clock.runFor(90_000);
  expect(await wayOut.count()).toBe(0);
  await page.clock.runFor(30_000);
  await wayOut.waitFor();
  await to(page, { at: "done" }, "$own");
  await title(page, "Both devices are yours");
});

test("each reason for an end is told in words, never as a code", async () => {
  const page = await opened();
  const codes = [
    ...["m.user", "m.timeout", "m.accepted", "m.unknown_method", "m.unexpected_message", "m.invalid_message"],
    ...["m.key_mismatch", "m.user_mismatch", "m.mismatched_sas", "m.mismatched_commitment", "org.example.made_up"],
  ];
  await put(page, { ...asked, state: { at: "requested" } });
  await page.getByRole("button", { name: "Continue" }).click();
  const said = new Map<string, string>();
  for (const code of codes) {
    await to(page, { at: "ready" });
    await title(page, "How would you like to compare?");
    await to(page, { at: "cancelled", code, byMe: false });
    await page.getByRole("dialog").getByRole("button", { name: "Try again" }).waitFor();
    said.set(code, (await page.getByRole("dialog").textContent()) ?? "");
  }
  for (const [code, text] of said) {
    expect([code, text.includes(code) || /\bm\.[a-z]/.test(text)]).toEqual([code, false]);
    expect([code, text.includes("Someone may be in between")]).toEqual([code, /mismatch/.test(code)]);
  }
  expect(new Set(said.values()).size).toBe(6);
});

test("a request that cannot be sent says why, and can be tried again", async () => {
  const page = await opened({ scenario: { failing: { "verification.request": "unreachable" } } });
  await put(page, { ...asked, state: { at: "cancelled", code: "m.timeout", byMe: false } });
  await page.evaluate(() => {
    window.fake.verification.put({ ...window.fake.verification.flow("$flow"), state: { at: "requested" } });
  });
  await page.getByRole("button", { name: "Continue" }).click();
  await to(page, { at: "cancelled", code: "m.timeout", byMe: false });
  await page.getByRole("dialog").getByRole("button", { name: "Try again" }).click();
  await title(page, "Ana Ruiz could not be asked");
  await page.evaluate(() => {
    window.fake.failing = {};
  });
  await page.getByRole("dialog").getByRole("button", { name: "Try again" }).click();
  await title(page, "Waiting for Ana Ruiz");
});

test("a step that fails says so and keeps its place", async () => {
  const page = await opened({ scenario: { failing: { "verification.showQr": "unexpected" } } });
  await put(page, { ...asked, state: { at: "ready" } });
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("button", { name: "Show my code" }).click();
  await page.getByRole("dialog").getByRole("alert").waitFor();
  await title(page, "How would you like to compare?");
});

test("verifications that had begun when the window opened are there", async () => {
  const page = await opened({ scenario: { verifications: [{ ...asked, state: comparing }] } });
  await page.getByRole("button", { name: "Continue" }).click();
  await title(page, "Do you both see the same seven pictures?");
});

test("the keyboard alone goes all the way, and the focus never leaves the sheet", async () => {
  const page = await opened();
  const inSheet = (): Promise<boolean> =>
    page.evaluate(() => document.querySelector("[role=dialog]")?.contains(document.activeElement) === true);
  const press = async (name: string): Promise<void> => {
    const button = page.getByRole("dialog").getByRole("button", { name, exact: true });
    await button.waitFor();
    await eventually(inSheet, Boolean);
    for (let count = 0; count < 12; count++) {
      if (await button.evaluate((node) => node === document.activeElement)) break;
      await page.keyboard.press("Tab");
      expect(await inSheet()).toBe(true);
    }
    await page.keyboard.press("Enter");
  };
  await put(page, withAna);
  await press("Accept");
  await press("Show my code");
  await press("Another way");
  await press("Show the pictures");
  await press("They match");
  await title(page, "Waiting for Ana Ruiz");
  await eventually(inSheet, Boolean);
  await to(page, { at: "done" });
  await press("Done");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  expect((await calls(page)).map(({ name }) => name)).toEqual([
    ...["verification.accept", "verification.showQr", "verification.start", "verification.confirm"],
  ]);
});

const states: Record<string, { flow: Flow; act?: (page: Page) => Promise<void> }> = {
  "a request": { flow: withAna },
  "a request of an own device": { flow: ofOwn },
  "the ways": { flow: { ...withAna, state: { at: "ready" } } },
  "the pictures": { flow: { ...withAna, state: comparing } },
  "the tick": { flow: { ...ofOwn, state: { at: "qr-scanned" } } },
  waiting: { flow: { ...withAna, state: { at: "waiting-for-other" } } },
  settling: { flow: { ...ofOwn, state: { at: "settling", missing: ["backup"] } } },
  done: { flow: { ...withAna, state: { at: "done" } } },
  "what differs": { flow: { ...withAna, state: { at: "cancelled", code: "m.mismatched_sas", byMe: false } } },
};

// each looks at nine steps, which takes a busy machine longer than a test is given by itself
for (const [theme, language] of [
  ["light", "en"],
  ["dark", "de"],
] as const)
  test(`axe finds nothing in any step, ${language}, ${theme} and then the other theme`, async () => {
    const page = await opened({
      scenario: { preferences: { theme, language } },
      context: { reducedMotion: "reduce" },
    });
    for (const [name, { flow }] of Object.entries(states)) {
      const flowId = `$${name}`;
      await put(page, { ...flow, flowId, mine: false, state: { at: "requested" } });
      await page.getByRole("dialog").waitFor();
      await put(page, { ...flow, flowId, mine: false });
      await page.locator(`[role=dialog] [data-step*="${flow.state.at}"]`).waitFor();
      await expectAccessibleInBoth(page, name, "[role=dialog]");
      await put(page, { ...flow, flowId, state: { at: "cancelled", code: "m.user", byMe: true } });
      await page.locator(`[role=dialog] [data-step*="cancelled"]`).waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "hidden" });
    }
  }, 300_000);

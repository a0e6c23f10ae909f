import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodePayload } from "../../main/core/features/invites/codec.ts";
import { rootKey } from "../../main/core/features/invites/keys.ts";
import { toBase32 } from "../../main/core/features/invites/base32.ts";
import { buildIfStale } from "../../scripts/build.mjs";
import { eventually } from "../eventually.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { launch } from "../ui/harness/browser.ts";
import type { CodeContent } from "../webcam/scene.ts";
import { approach, nothing, writeVideo } from "../webcam/video.ts";
import { newPerson, password, type Person } from "./people.ts";
import { openWindow, shownCode, type AppWindow } from "./windows.ts";

// Nothing is fake but the camera, and that one plays a real video of what the other window shows: processes of the built app, real Synapse.
const folder = mkdtempSync(path.join(tmpdir(), "tessera-invites-e2e-"));
const video = path.join(folder, "code.y4m");
const patience = { timeout: 120_000 };
let homeserver: Homeserver;
let browser: Browser;
const people: Person[] = [];
const windows: AppWindow[] = [];

beforeAll(async () => {
  await buildIfStale();
  homeserver = await startHomeserver();
  // each opening of the camera opens the file anew
  browser = await launch(["--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${video}`]);
}, 240_000);
afterAll(async () => {
  await Promise.all(windows.map((window) => window.stop()));
  await browser.close();
  await Promise.all(people.map(({ app }) => app.remove()));
  await homeserver.stop();
  rmSync(folder, { recursive: true, force: true });
}, 240_000);

/** Set up, with a window on the profile. */
async function someone(name: string): Promise<{ person: Person; window: AppWindow }> {
  const person = await newPerson(homeserver.url, name);
  people.push(person);
  await person.app.call("trust.setUp", { password, recovery: { kind: "key" } });
  await person.app.call("account.sync", {});
  // the window's door opens the profile next
  await person.app.stop();
  return { person, window: await windowOf(person) };
}
async function windowOf(person: Person): Promise<AppWindow> {
  const window = await openWindow(browser, person);
  windows.push(window);
  return window;
}
const showCode = async ({ page }: AppWindow): Promise<CodeContent> => {
  await page.getByRole("button", { name: "Invite or scan a code" }).first().click();
  await page.getByRole("img", { name: "The code to be scanned" }).waitFor();
  return shownCode(page);
};
async function scan({ page }: AppWindow, content: CodeContent | undefined): Promise<void> {
  writeVideo(video, content === undefined ? nothing() : approach(content));
  await page.getByRole("button", { name: "New chat" }).first().click();
  await page.getByRole("button", { name: "Scan their code instead" }).click();
}
const heading = (page: Page, name: string | RegExp): Promise<void> =>
  page.getByRole("heading", { name }).waitFor(patience);
const said = (page: Page, text: string | RegExp): Promise<void> =>
  page.getByRole("complementary", { name: "Invitation" }).getByText(text).waitFor(patience);
const identity = (window: AppWindow, userId: string): Promise<string> =>
  window.call("trust.user", { userId }).then((trust) => trust.identity);
const verified = async (window: AppWindow, userId: string): Promise<void> => {
  await eventually(
    () => identity(window, userId),
    (one) => one === "verified",
  );
};

test("contact: one window shows its code, the other reads it by webcam; one press, and both are verified in one chat", async () => {
  const [ana, ben] = await Promise.all([someone("ana"), someone("ben")]);
  await scan(ben.window, await showCode(ana.window));
  await heading(ben.window.page, "Chat with ana?");
  await ben.window.page.getByText(ana.person.userId, { exact: true }).waitFor();
  // nothing was done before the press
  expect(await ben.window.call("invites.joins", {})).toEqual([]);
  expect(ben.window.trace.sent.some((frame) => frame.includes("invites.accept"))).toBe(false);
  await ben.window.page.getByRole("button", { name: "Start verified chat" }).click();
  await said(ben.window.page, "You and ana have verified each other");
  await ana.window.page.getByText(`${ben.person.userId} is in a chat with you`).waitFor(patience);
  await verified(ana.window, ben.person.userId);
  await verified(ben.window, ana.person.userId);
  const chats = (window: AppWindow) =>
    window.call("rooms.list", {}).then((all) => all.filter((one) => one.kind === "dm"));
  // ana's own sync may bring her the chat after her answer came to ben
  const [anas, bens] = await eventually(
    () => Promise.all([chats(ana.window), chats(ben.window)]),
    (both) => both.every((rooms) => rooms.some((room) => room.membership === "join" && room.encrypted)),
  );
  expect(anas.map((room) => [room.roomId, room.membership, room.encrypted])).toEqual(
    bens.map((room) => [room.roomId, "join", true]),
  );
  expect(anas).toHaveLength(1);

  await ben.window.page.getByRole("textbox", { name: /^Write to/ }).fill("Hello from the other side of the camera");
  await ben.window.page.keyboard.press("Enter");
  await ana.window.page.keyboard.press("Escape");
  await ana.window.page.locator(`[data-room="${anas[0]?.roomId ?? ""}"]`).click();
  await ana.window.page.locator("article", { hasText: "Hello from the other side" }).waitFor(patience);

  // logs, what went between page and door, and the profile: the secret is in the link alone, and that only where it must be
  const frames = [...ana.window.trace.received, ...ana.window.trace.sent];
  const link = /"link":"([^"]+)"/.exec(frames.join("\n"))?.[1] ?? "";
  const payload = link.slice(link.lastIndexOf("=") + 1);
  const code = decodePayload(ana.person.userId, payload);
  if (typeof code === "string") throw new Error(code);
  const root = rootKey(ana.person.userId, code.header, code.secret);
  const holds = (frame: string): boolean => frame.includes(payload);
  expect(frames.filter(holds)).toHaveLength(1);
  // what the camera read goes to be looked at as bytes, and is accepted as text: twice, both by the person's doing
  expect(ben.window.trace.received.filter(holds)).toEqual([]);
  const asked = ben.window.trace.sent.filter(
    (frame) => holds(frame) || frame.includes(Buffer.from(link).toString("base64").slice(0, 80)),
  );
  expect(asked.map((frame) => (JSON.parse(frame) as { name: string }).name)).toEqual([
    "invites.inspect",
    "invites.accept",
  ]);

  await Promise.all([ana.window.stop(), ben.window.stop()]);
  const secrets = [code.secret, root].flatMap((bytes) => {
    const buffer = Buffer.from(bytes);
    return [
      buffer,
      ...[buffer.toString("hex"), buffer.toString("base64").replace(/=+$/, ""), buffer.toString("base64url")].map(
        (text) => Buffer.from(text),
      ),
      Buffer.from(toBase32(bytes)),
    ];
  });
  secrets.push(Buffer.from(payload.slice(0, 40)), Buffer.from(payload.slice(-40)), Buffer.from("chat.tessera.sj="));
  // what is looked for is what the link holds
  expect(secrets.some((secret) => Buffer.from(link).includes(secret))).toBe(true);
  const everything = [
    ...people.flatMap(({ app }) => filesIn(app.profile)),
    ...[ana, ben].map(({ window }) => ["stderr", Buffer.from(window.said())] as const),
    ...people.map(({ app }) => ["headless", Buffer.from(app.stderr)] as const),
  ];
  expect(everything.some(([file]) => file.endsWith("tessera.log"))).toBe(true);
  const found = everything
    .filter(([, bytes]) => secrets.some((secret) => bytes.includes(secret)))
    .map(([file]) => file);
  expect(found).toEqual([]);
  // page and door spoke of it by opaque ids: nothing but the link holds any of it
  const spoken = [...frames, ...ben.window.trace.sent, ...ben.window.trace.received].filter(
    (frame) => !holds(frame) && !asked.includes(frame),
  );
  expect(spoken.filter((frame) => secrets.some((secret) => Buffer.from(frame).includes(secret)))).toEqual([]);
}, 480_000);

function filesIn(root: string): [string, Buffer][] {
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((name) => path.join(root, name))
    .filter((file) => statSync(file).isFile())
    .map((file) => [file, readFileSync(file)]);
}

test("group: whoever scans the code of a group is in it, verified, without a chat beside it", async () => {
  const [cara, dan] = await Promise.all([someone("cara"), someone("dan")]);
  const { roomId } = await cara.window.call("rooms.create", { kind: "group", name: "Walking group" });
  await cara.window.page.locator(`[data-room="${roomId}"]`).click();
  await cara.window.page.getByRole("button", { name: "People", exact: true }).click();
  await cara.window.page.getByRole("button", { name: "By code" }).click();
  await cara.window.page.getByRole("img", { name: "The code to be scanned" }).waitFor();
  await scan(dan.window, await shownCode(cara.window.page));
  await heading(dan.window.page, "Join a group of cara?");
  await dan.window.page.getByRole("button", { name: "Verify and join" }).click();
  await heading(dan.window.page, "Walking group");
  await said(dan.window.page, "You and cara have verified each other");
  await verified(cara.window, dan.person.userId);
  await verified(dan.window, cara.person.userId);
  const rooms = await dan.window.call("rooms.list", {});
  expect(rooms.map((room) => [room.roomId, room.membership])).toEqual([[roomId, "join"]]);
}, 480_000);

test("inviter offline: the chat is there to be written in at once, and completes when they are back", async () => {
  const [eve, finn] = await Promise.all([someone("eve"), someone("finn")]);
  const code = await showCode(eve.window);
  await eve.window.stop();
  await scan(finn.window, code);
  await finn.window.page.getByRole("button", { name: "Start verified chat" }).click(patience);
  await said(finn.window.page, "eve will answer when online");
  await verified(finn.window, eve.person.userId);
  await finn.window.page.getByRole("textbox", { name: /^Write to/ }).fill("Read this when you are back");
  await finn.window.page.keyboard.press("Enter");
  const back = await windowOf(eve.person);
  await said(finn.window.page, "You and eve have verified each other");
  await verified(back, finn.person.userId);
  await back.page.getByText("Read this when you are back").first().waitFor(patience);
}, 480_000);

test("withdrawn: whoever scans it is never answered, and is told nothing but that", async () => {
  const [gus, hana] = await Promise.all([someone("gus"), someone("hana")]);
  const code = await showCode(gus.window);
  await gus.window.page.getByRole("button", { name: "Withdraw the code" }).click();
  await gus.window.page.getByText("Nobody can join with this code any more.").waitFor();
  await scan(hana.window, code);
  await hana.window.page.getByRole("button", { name: "Start verified chat" }).click(patience);
  await said(hana.window.page, "gus will answer when online");
  // a full turn of both syncs later there is still no answer and no use
  for (const window of [gus.window, hana.window]) await window.call("account.sync", {});
  expect((await gus.window.call("invites.list", {})).map((one) => [one.state, one.uses])).toEqual([["withdrawn", []]]);
  expect(await identity(gus.window, hana.person.userId)).not.toBe("verified");
  // the window's clock and the core's need not agree on when "waiting" begins
  await expect
    .poll(async () => (await hana.window.call("invites.joins", {})).map((join) => join.state.at))
    .toEqual(["waiting"]);

  // one's own code, held into one's own camera
  await gus.window.page.getByRole("button", { name: "Show a new one" }).click();
  await gus.window.page.getByRole("img", { name: "The code to be scanned" }).waitFor();
  const own = await shownCode(gus.window.page);
  await gus.window.page.keyboard.press("Escape");
  await scan(gus.window, own);
  await heading(gus.window.page, "This is your own code");
  await gus.window.page.getByRole("button", { name: "See my codes" }).click();
  await heading(gus.window.page, "Codes in use");
  expect(await gus.window.call("invites.joins", {})).toEqual([]);
  await gus.window.page.getByRole("button", { name: "Back" }).click();

  // a code of something else
  await scan(gus.window, "https://example.org/menu");
  await heading(gus.window.page, "This is not an invitation");
  await gus.window.page.getByRole("button", { name: "Scan another" }).click();
  await gus.window.page.locator("[data-camera]").waitFor();
}, 480_000);

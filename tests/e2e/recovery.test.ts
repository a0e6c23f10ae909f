import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import AxeBuilder from "@axe-core/playwright";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Answer } from "../../preload/contract/define.ts";
import type { CommandName, Input, Output } from "../../preload/contract/index.ts";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { launch } from "../ui/harness/browser.ts";
import { newPerson, password, received, type Person } from "./people.ts";
import { addressOf } from "./windows.ts";

// Somebody's way through the window, from the first sign-in to the last sign-out: the built app behind its loopback door, real Synapse.
const loopback = fileURLToPath(new URL("../../dist/main/loopback.js", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "tessera-recovery-e2e-"));
let homeserver: Homeserver;
let proxy: FaultProxy;
let ben: Person;
let browser: Browser;
let profiles = 0;
type PageSide = { core: { call: (name: string, input: unknown) => Promise<unknown> } };
type Computer = { page: Page; profile: string; passphraseFile: string; door: ChildProcess };
const computers = new Set<Computer>();

beforeAll(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  ben = await newPerson(homeserver.url, "ben");
  await ben.app.call("trust.setUp", { password, recovery: { kind: "key" } });
  browser = await launch();
});
afterEach(() => {
  proxy.clear();
});
afterAll(async () => {
  await browser.close();
  for (const computer of computers) await shut(computer);
  await ben.app.remove();
  await proxy.stop();
  await homeserver.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function openDoor(profile: string, passphraseFile: string): Promise<Computer> {
  const args = [loopback, "--no-open", "--profile", profile, "--passphrase-file", passphraseFile];
  const door = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const address = await addressOf(door);
  const page = await (await browser.newContext({ locale: "en-GB" })).newPage();
  page.setDefaultTimeout(110_000);
  const computer = { page, profile, passphraseFile, door };
  computers.add(computer);
  await page.goto(address);
  return computer;
}
/** A computer that nobody used before. */
function newComputer(): Promise<Computer> {
  const place = path.join(folder, `computer-${++profiles}`);
  mkdirSync(place);
  const passphraseFile = path.join(place, "passphrase");
  writeFileSync(passphraseFile, `${randomBytes(18).toString("base64url")}\n`, { mode: 0o600 });
  return openDoor(path.join(place, "profile"), passphraseFile);
}
async function shut(computer: Computer): Promise<void> {
  computers.delete(computer);
  await computer.page.context().close();
  if (computer.door.exitCode !== null || computer.door.signalCode !== null) return;
  const ended = new Promise((resolve) => computer.door.once("exit", resolve));
  computer.door.kill("SIGTERM");
  await ended;
}

async function core<N extends CommandName>({ page }: Computer, name: N, input: Input<N>): Promise<Output<N>> {
  const answer = (await page.evaluate(
    ([called, given]) => (globalThis as unknown as PageSide).core.call(called, given),
    [name, input] as const,
  )) as Answer<Output<N>>;
  if (!answer.ok) throw new Error(`${name}: ${answer.error.code}`);
  return answer.value;
}

async function signIn({ page }: Computer, user: string, at = homeserver.url, secret = password): Promise<void> {
  await page.getByLabel("Server").fill(at);
  await page.getByText(/^Found /).waitFor();
  await page.getByLabel("User name").fill(user);
  await page.getByLabel("Password").fill(secret);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}
async function expectAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join("; ")}`)).toEqual(
    [],
  );
}
const dialog = (page: Page, name: string | RegExp) => page.getByRole("dialog", { name });

/** What the window asks after the first sign-in of an account; answers the key that it showed. */
async function keepSafe({ page }: Computer): Promise<string> {
  await dialog(page, "Keep your history safe").getByRole("button", { name: "Keep it safe" }).click();
  // the server wants to know who asks, or has just been told by the sign-in
  const asked = page.getByLabel("Password of your account");
  const groups = page.locator(".groups");
  await asked.or(groups).first().waitFor();
  if (await asked.isVisible()) {
    await asked.fill(password);
    await page.getByRole("dialog").locator(".primary").click();
  }
  const label = (await groups.getAttribute("aria-label")) ?? "";
  const recoveryKey = label.replace(/^[^:]*: /, "").replaceAll(",", "");
  await page.getByRole("button", { name: "I have kept it" }).click();
  await page.getByLabel("Last group of the recovery key").fill(recoveryKey.slice(-4));
  await page.getByRole("button", { name: "Check" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Done" }).click();
  return recoveryKey;
}

/** An encrypted chat with ben in which both have written, made through the window's own commands. */
async function chatWithBen(computer: Computer, from: string, to: string): Promise<string> {
  const { roomId } = await core(computer, "rooms.create", { kind: "dm", invite: [ben.userId] });
  await ben.app.call("account.sync", {});
  await ben.app.call("rooms.join", { room: roomId });
  await core(computer, "account.sync", {});
  await core(computer, "timeline.send", { roomId, body: from });
  await received(ben.app, roomId, from);
  await ben.app.call("timeline.send", { roomId, body: to });
  await computer.page.locator(`[data-room="${roomId}"]`).click();
  await computer.page.locator("article", { hasText: to }).waitFor();
  return roomId;
}
const backedUp = async (computer: Computer): Promise<void> => {
  for (;;) {
    const status = await core(computer, "backup.status", {});
    if (status.at === "on" && status.total > 0 && status.backedUp === status.total) return;
    await computer.page.waitForTimeout(100);
  }
};
async function reads({ page }: Computer, roomId: string, ...bodies: string[]): Promise<void> {
  await page.locator(`[data-room="${roomId}"]`).click();
  for (const body of bodies) await page.locator("article", { hasText: body }).waitFor();
}

/** ana's, which the tests hand on to each other in order. */
const ana = { recoveryKey: "", roomId: "", first: undefined as Computer | undefined };
const first = (): Computer => {
  if (ana.first === undefined) throw new Error("The first test makes it.");
  return ana.first;
};

test("the first sign-in: one step makes the way back, and its key is shown once and asked for", async () => {
  await homeserver.register("ana", { password });
  const computer = await newComputer();
  ana.first = computer;
  await signIn(computer, "ana");
  ana.recoveryKey = await keepSafe(computer);
  expect(ana.recoveryKey).toMatch(/^([1-9A-Za-z]{4} ){11}[1-9A-Za-z]{4}$/);
  ana.roomId = await chatWithBen(computer, "from ana", "from ben");
  await backedUp(computer);
  const { page } = computer;
  await page.locator(".own").click();
  await page.getByRole("tab", { name: "Recovery" }).click();
  const card = page.getByRole("region", { name: "Your way back" });
  await card.getByText("Your recovery key opens your history on any new device.").waitFor();
  await card.getByText("Opens everything").waitFor();
  await card.getByText(/^100\s?%$/).waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Back", exact: true }).click();
  // and the key is nowhere on the disk
  const bare = ana.recoveryKey.replaceAll(" ", "");
  for (const name of readdirSync(computer.profile, { recursive: true, encoding: "utf8" })) {
    const file = path.join(computer.profile, name);
    const bytes = await Promise.resolve()
      .then(() => readFileSync(file))
      .catch(() => Buffer.alloc(0));
    for (const form of [bare, ana.recoveryKey]) expect(bytes.includes(form), name).toBe(false);
  }
});

test("a new computer with the recovery key: a wrong one is said to be wrong, the right one brings the history back", async () => {
  const computer = await newComputer();
  const { page } = computer;
  await signIn(computer, "ana");
  await dialog(page, "Is it you?")
    .getByRole("button", { name: /^Recovery key/ })
    .click();
  const field = page.getByRole("dialog").locator("textarea");
  // well-formed, and of ben
  const other = await ben.app.call("trust.reset", { password, keepHistory: true });
  await field.fill(other.recoveryKey);
  await page.getByRole("dialog").getByRole("button", { name: "Confirm" }).click();
  await page.getByText("This is a recovery key, but not the one of this account.").waitFor();
  await field.fill(ana.recoveryKey.toLowerCase().replaceAll(" ", "-"));
  expect(await page.getByRole("dialog").getByRole("button", { name: "Confirm" }).isDisabled()).toBe(true);
  await field.fill(`  ${ana.recoveryKey.replaceAll(" ", "")}\n`);
  await page.getByRole("dialog").getByRole("button", { name: "Confirm" }).click();
  await dialog(page, "Welcome back").waitFor();
  // the restore began by itself, and is seen
  await page.getByRole("dialog").getByText(/keys/).first().waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Done" }).click();
  await reads(computer, ana.roomId, "from ana", "from ben");
  await shut(computer);
});

test("a new computer confirmed from the other one, by comparing pictures", async () => {
  const computer = await newComputer();
  const { page } = computer;
  await signIn(computer, "ana");
  await dialog(page, "Is it you?")
    .getByRole("button", { name: /^Confirm on another device/ })
    .click();
  const { page: old } = first();
  await old.getByRole("dialog").getByRole("button", { name: "Yes, it is me" }).click();
  await page.getByRole("button", { name: "Show the pictures" }).click();
  const shown = async (one: Page) => await one.locator("[role=dialog] .glyph").allTextContents();
  for (const one of [page, old]) await one.getByRole("button", { name: "They match" }).waitFor();
  expect(await shown(page)).toHaveLength(7);
  expect(await shown(page)).toEqual(await shown(old));
  for (const one of [page, old]) await one.getByRole("button", { name: "They match" }).click();
  for (;;) {
    const status = await core(computer, "trust.status", {});
    if (status.identity === "verified" && Object.values(status.secrets).every(Boolean)) break;
    await page.waitForTimeout(200);
  }
  for (const one of [page, old]) {
    while ((await one.getByRole("dialog").count()) > 0) {
      await one.getByRole("dialog").getByRole("button", { name: "Done" }).first().click();
      await one.waitForTimeout(300);
    }
  }
  await reads(computer, ana.roomId, "from ana", "from ben");
  await shut(computer);
});

test("a passphrase is a way in too, and a wrong one is said beside its field", async () => {
  const passphrase = "nine otters cross the river";
  const cora = await newPerson(homeserver.url, "cora");
  await cora.app.call("trust.setUp", { password, recovery: { kind: "passphrase", passphrase } });
  await cora.app.remove();
  const computer = await newComputer();
  const { page } = computer;
  await signIn(computer, "cora");
  await dialog(page, "Is it you?")
    .getByRole("button", { name: /^Passphrase/ })
    .click();
  const field = page.getByLabel("Recovery passphrase");
  await field.fill("eight otters");
  await page.getByRole("dialog").getByRole("button", { name: "Confirm" }).click();
  await page.getByRole("dialog").locator("[aria-invalid=true]").waitFor();
  await field.fill(passphrase);
  await page.getByRole("dialog").getByRole("button", { name: "Confirm" }).click();
  await dialog(page, "Welcome back").getByRole("button", { name: "Done" }).click();
  expect((await core(computer, "trust.status", {})).identity).toBe("verified");
  await shut(computer);
});

test("locked, the window shows nothing; the passphrase opens it where it was", async () => {
  const computer = first();
  const { page } = computer;
  await reads(computer, ana.roomId, "from ben");
  await page.locator(".own").click();
  await page.getByRole("tab", { name: "Privacy" }).click();
  await page.getByRole("button", { name: "Lock now" }).click();
  await page.getByRole("heading", { name: "Tessera is locked" }).waitFor();
  expect(await page.locator("body").textContent()).not.toContain("from ben");
  expect(await page.evaluate(() => (globalThis as unknown as PageSide).core.call("rooms.list", {}))).toMatchObject({
    ok: false,
    error: { code: "locked" },
  });
  await page.getByLabel("Passphrase").fill("not it");
  await page.getByRole("button", { name: "Unlock" }).click();
  await page.getByText("That is not the passphrase.").waitFor();
  await page.getByLabel("Passphrase").fill(readFileSync(computer.passphraseFile, "utf8").trim());
  await page.getByRole("button", { name: "Unlock" }).click();
  await reads(computer, ana.roomId, "from ana", "from ben");
});

test("a damaged file: nothing is begun anew; what reads is saved into a new device, and the chats are there again", async () => {
  let computer = first();
  const { profile, passphraseFile } = computer;
  await backedUp(computer);
  const { deviceId } = (await core(computer, "account.list", {}))[0] ?? { deviceId: "" };
  await shut(computer);
  const name =
    readdirSync(profile, { recursive: true, encoding: "utf8" }).find((one) => /[/\\]crypto\.db$/.test(one)) ?? "";
  const file = path.join(profile, name);
  const bytes = readFileSync(file);
  for (let at = 4096 * 3; at + 1100 < bytes.length; at += 4096 * 4) bytes.fill(0x5a, at + 1000, at + 1100);
  writeFileSync(file, bytes);
  // as after a power cut: that is when files are looked through
  writeFileSync(path.join(path.dirname(file), "in-use"), "");
  computer = await openDoor(profile, passphraseFile);
  ana.first = computer;
  const { page } = computer;
  await page.getByRole("heading", { name: "A file of your account is damaged" }).waitFor();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Save what can be saved" }).click();
  await page.getByLabel(/^Password/).fill("not the password");
  await page.getByRole("button", { name: "Save what can be saved" }).click();
  await page.getByText("That is not the password of your account. Nothing was changed; try again.").waitFor();
  expect(readFileSync(file).equals(bytes)).toBe(true);
  await page.getByLabel(/^Password/).fill(password);
  await page.getByRole("button", { name: "Save what can be saved" }).click();
  await page.getByRole("heading", { name: "This was saved" }).waitFor();
  await page.getByText("Your chats, as they were").waitFor();
  await page.getByRole("button", { name: "Go on" }).click();
  const now = (await core(computer, "account.list", {}))[0];
  expect(now?.deviceId).not.toBe(deviceId);
  // what a new device is asked, the window asks when it gets to it
  const question = dialog(page, /^(Is it you\?|It is you|Welcome back|Keep your history safe)$/);
  await page.addLocatorHandler(question, () => page.keyboard.press("Escape"));
  // where the identity did not read it is recovered like on any new device
  const { identity } = await core(computer, "trust.status", {});
  if (identity !== "verified") await core(computer, "trust.recover", { recoveryKey: ana.recoveryKey });
  await reads(computer, ana.roomId, "from ana", "from ben");
});

test("signing out: what would be lost is counted, typed or waited for; with nothing to lose it is one press", async () => {
  await homeserver.register("dora", { password });
  const computer = await newComputer();
  const { page } = computer;
  await signIn(computer, "dora", proxy.url);
  await keepSafe(computer);
  const away = proxy.on({ method: "PUT", path: /\/room_keys\/keys/ }, { kind: "status", status: 503 });
  await chatWithBen(computer, "from dora", "to dora");
  await page.locator(".own").click();
  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByRole("button", { name: "Sign out and delete from this computer" }).click();
  await page.getByRole("heading", { name: "Part of your history would be lost" }).waitFor();
  await page.getByRole("button", { name: /^Sign out and lose it/ }).click();
  const phrase = "sign out and lose 1 conversation’s keys";
  await page.getByLabel(`Type “${phrase}” to go on`).fill("sign out");
  expect(await page.getByRole("button", { name: "Sign out and lose them" }).isDisabled()).toBe(true);
  await page.getByLabel(`Type “${phrase}” to go on`).fill(phrase.replace("’", "'"));
  expect(await page.getByRole("button", { name: "Sign out and lose them" }).isDisabled()).toBe(false);
  await page.getByRole("dialog").getByRole("button", { name: "Back" }).click();
  await page.getByRole("button", { name: /^Wait until it is backed up/ }).click();
  const out = page.getByRole("button", { name: "Sign out and delete from this computer" });
  expect(await out.isDisabled()).toBe(true);
  away.remove();
  await page.getByText("Everything is backed up. Nothing is lost by signing out.").waitFor();
  await out.click();
  await page.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
  await shut(computer);

  // all of ana's is backed up: one press
  const { page: last } = first();
  await backedUp(first());
  await last.locator(".own").click();
  await last.getByRole("button", { name: "Sign out", exact: true }).click();
  await last.getByRole("button", { name: "Sign out and delete from this computer" }).click();
  await last.getByRole("heading", { name: "Sign in to Tessera" }).waitFor();
});

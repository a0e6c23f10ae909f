import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Page } from "playwright-core";
import { associatedData, idKey, rootKey, seal, stepKey, tokenTag } from "../../main/core/features/invites/keys.ts";
import { parseText } from "../../main/core/features/invites/link.ts";
import { messageTypes, pad, paddedBytes, wire } from "../../main/core/features/invites/messages.ts";
import { chromiumPath } from "../../scripts/setup-system.mjs";
import { openHeadless } from "../e2e/headless-app.ts";
import { newPerson, password } from "../e2e/people.ts";
import { startFaultProxy, type Exchange } from "../homeserver/fault-proxy.ts";
import { startHomeserver } from "../homeserver/homeserver.ts";
import { openDoor } from "./window.ts";

const bad = 10_000;
const good = 500;
const servers = 400;
const floodMs = 60_000;
const quietMs = 20_000;
const nudgeEveryMs = 400;
const pressEveryMs = 200;
/** A server hands out so many to-device messages a sync at most. */
const fullBatch = 100;
/** What Linux counts processor time in. */
const ticksASecond = 100;

type Event = { type: string; sender: string; content: Record<string, unknown> };
type Flooded = {
  bad: number;
  good: number;
  seconds: number;
  cpuShare: number;
  quietCpuShare: number;
  inputMs: number[];
  quietInputMs: number[];
  queriesAtOnce: number;
  answers: number;
  alarm: boolean;
};
const inPage = fileURLToPath(new URL("./invites-page.js", import.meta.url));
/** What the page notes of each key that was pressed. */
type PageSide = { presses: number[] };

/** As a joiner's app makes it who has the code. */
function goodHello(link: string, joiner: string): Event {
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("The app made no code.");
  const { userId: inviter, code } = parsed;
  const root = rootKey(inviter, code.header, code.secret);
  const [t, x, n] = [tokenTag(idKey(root), joiner, inviter), randomBytes(16), randomBytes(12)];
  const message = wire({
    ...{ s: "hello", from: joiner, to: inviter, msk: randomBytes(32), nb: randomBytes(16), knd: "dm" },
    dev: { deviceId: "ABCDEFGHIJ", ed25519: randomBytes(32), curve25519: randomBytes(32) },
  });
  const aad = associatedData("hello", { sender: joiner, recipient: inviter, tag: t, transaction: x });
  const c = seal(stepKey(root, "hello", joiner, x), n, aad, pad(JSON.stringify(message)));
  return { type: messageTypes.open, sender: joiner, content: wire({ v: 1, t, x, n, c }) };
}
/** Of the right shape, for no code, as most of a flood would be; each tenth is not even that. */
function badHello(joiner: string, index: number): Event {
  const content = wire({
    v: 1,
    t: randomBytes(16),
    x: randomBytes(16),
    n: randomBytes(12),
    c: randomBytes(paddedBytes + 16),
  });
  return { type: messageTypes.open, sender: joiner, content: index % 10 === 0 ? { ...content, n: "short" } : content };
}
/** Nobody writes twice, and no server has so many that its limit spares us work. */
function hellos(link: string): Event[] {
  const all = bad + good;
  const every = all / good;
  return Array.from({ length: all }, (_, index) => {
    const joiner = `@stranger-${index}:server-${index % servers}.test`;
    return index % every < 1 ? goodHello(link, joiner) : badHello(joiner, index);
  });
}

function cpuMs(pid: number): number {
  // the name in brackets may hold spaces; user and system time are the 14th and 15th fields (proc(5))
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return ((Number(fields[11]) + Number(fields[12])) / ticksASecond) * 1000;
}

async function pressing(page: Page, untilMs: number): Promise<number[]> {
  await page.evaluate(() => {
    (globalThis as unknown as PageSide).presses = [];
  });
  while (performance.now() < untilMs) {
    await page.keyboard.press("a");
    await page.waitForTimeout(pressEveryMs);
  }
  return await page.evaluate(() => (globalThis as unknown as PageSide).presses);
}

/** The most of these that were under way at one time. */
function mostAtOnce(exchanges: Exchange[]): number {
  const changes = exchanges.flatMap(({ startedMs, endedMs }) => [
    { atMs: startedMs, by: 1 },
    { atMs: endedMs ?? Number.MAX_VALUE, by: -1 },
  ]);
  let now = 0;
  let most = 0;
  for (const { by } of changes.sort((a, b) => a.atMs - b.atMs || a.by - b.by)) most = Math.max(most, (now += by));
  return most;
}

/** The built app at its loopback door, its window open, while its server brings the first messages of 10,500 strangers in a minute. */
export async function flood(): Promise<Flooded> {
  const homeserver = await startHomeserver();
  const proxy = await startFaultProxy(homeserver.url, { recordBytes: 4096 });
  const home = mkdtempSync(path.join(tmpdir(), "tessera-flood-"));
  const where = { profile: path.join(home, "profile"), passphraseFile: path.join(home, "passphrase") };
  writeFileSync(where.passphraseFile, `${randomBytes(18).toString("base64url")}\n`, { mode: 0o600 });
  const executablePath = chromiumPath();
  if (executablePath === undefined) throw new Error("There is no Chromium here.");
  const browser = await chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
  try {
    const alice = await newPerson(proxy.url, "alice", where);
    await alice.app.call("trust.setUp", { password, recovery: { kind: "key" } });
    const { roomId } = await alice.app.call("rooms.create", { kind: "group", name: "Desk" });
    await alice.app.call("rooms.lastOpened", { roomId });
    const { link } = await alice.app.call("invites.create", { kind: "contact", preset: "show" });
    await alice.app.stop();

    const waiting: Event[] = [];
    proxy.on(
      { path: /\/v3\/sync$/ },
      {
        kind: "rewrite-response",
        json: (body) => {
          const answer = body as { to_device?: { events?: unknown[] } };
          const events = answer.to_device?.events ?? [];
          return { ...answer, to_device: { events: [...events, ...waiting.splice(0, fullBatch - events.length)] } };
        },
      },
    );
    // the strangers' servers do not exist: nothing leaves this machine
    const answers = proxy.on(
      { method: "PUT", path: /\/sendToDevice\/chat\.tessera\.securejoin\// },
      { kind: "status", status: 200, body: {} },
    );
    const door = await openDoor(where);
    try {
      const page = await browser.newPage({ viewport: { width: 1180, height: 760 } });
      await page.addInitScript({ path: inPage });
      await page.goto(door.address);
      await page.locator("form textarea").click();
      const sender = await homeserver.register("nudger");
      let nudges = 0;
      const nudge = () =>
        homeserver.api("PUT", `v3/sendToDevice/m.dummy/nudge${++nudges}`, {
          token: sender.accessToken,
          body: { messages: { [alice.userId]: { [alice.deviceId]: {} } } },
        });
      const span = async (ms: number, events: Event[]) => {
        const fromMs = performance.now();
        const fromCpuMs = cpuMs(door.pid);
        let given = 0;
        const typed = pressing(page, fromMs + ms);
        for (;;) {
          const passedMs = performance.now() - fromMs;
          const due = Math.min(events.length, Math.ceil((events.length * passedMs) / ms));
          waiting.push(...events.slice(given, due));
          given = due;
          if (passedMs >= ms && waiting.length === 0) break;
          await Promise.all([nudge(), new Promise((resolve) => setTimeout(resolve, nudgeEveryMs))]);
        }
        const tookMs = performance.now() - fromMs;
        return {
          inputMs: await typed,
          seconds: tookMs / 1000,
          cpuShare: (100 * (cpuMs(door.pid) - fromCpuMs)) / tookMs,
        };
      };
      // what starting costs is over by then
      await span(5_000, []);
      const quiet = await span(quietMs, []);
      const seen = proxy.exchanges.length;
      const loud = await span(floodMs, hellos(link));
      const queriesAtOnce = mostAtOnce(proxy.exchanges.slice(seen).filter((one) => one.path.endsWith("/keys/query")));
      await page.close();
      await door.stop();
      const again = await openHeadless(where);
      const alarms = await again.call("invites.alarms", {});
      await again.remove();
      return {
        ...loud,
        bad,
        good,
        quietCpuShare: quiet.cpuShare,
        quietInputMs: quiet.inputMs,
        queriesAtOnce,
        answers: answers.used,
        alarm: alarms.some(({ kind }) => kind === "flood"),
      };
    } finally {
      await door.stop();
    }
  } finally {
    await browser.close();
    await proxy.stop();
    await homeserver.stop();
    rmSync(home, { recursive: true, force: true });
  }
}

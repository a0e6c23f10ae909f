import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { chromiumPath } from "../../scripts/setup-system.mjs";
import { addressOf } from "../e2e/windows.ts";
import { eventually } from "../eventually.ts";
import { startHomeserver } from "../homeserver/homeserver.ts";
import { largeProfile, type LargeProfile } from "./large-profile.ts";
import { atMost, quantile, rounded, type BenchResult } from "./result.ts";

const size = { rooms: 1000, items: 30_000 };
const rounds = 3;
const switches = 6;
const echoes = 10;
const entry = fileURLToPath(new URL("../../dist/main/loopback.js", import.meta.url));

type Door = { address: string; readyMs: number; pid: number; stop: () => Promise<void> };
type Marks = { list?: number; newest?: number; tasks: { startMs: number; ms: number }[] };

type Action = { room: string } | { text: string };
/** What window-page.js puts into the page. */
type PageSide = { bench: { marks: Marks; timed: (action: Action) => Promise<number> } };

const inPage = fileURLToPath(new URL("./window-page.js", import.meta.url));

export async function openDoor({
  profile,
  passphraseFile,
}: Pick<LargeProfile, "profile" | "passphraseFile">): Promise<Door> {
  const fromMs = performance.now();
  const args = [entry, "--no-open", "--profile", profile, "--passphrase-file", passphraseFile];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise<void>((resolve) =>
    child.once("exit", () => {
      resolve();
    }),
  );
  const address = await addressOf(child);
  return {
    address,
    readyMs: performance.now() - fromMs,
    pid: child.pid ?? 0,
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

async function startOnce(browser: Browser, large: LargeProfile) {
  const door = await openDoor(large);
  try {
    const page = await browser.newPage({ viewport: { width: 1180, height: 760 } });
    await page.addInitScript({ path: inPage });
    const bytes = { raw: 0, gzip: 0 };
    page.on("response", (response) => {
      if (!/\.(js|css)$/.test(new URL(response.url()).pathname)) return;
      void response.body().then((body) => {
        bytes.raw += body.length;
        bytes.gzip += gzipSync(body).length;
      });
    });
    await page.goto(door.address);
    await eventually(
      () => page.evaluate(() => (globalThis as unknown as PageSide).bench.marks),
      ({ list, newest }) => list !== undefined && newest !== undefined,
    );
    const loaded = { ...bytes };
    // what begins before the person could do anything still counts as the start
    await page.waitForTimeout(500);
    const marks = await page.evaluate(() => (globalThis as unknown as PageSide).bench.marks);
    const tasks = marks.tasks.map((task) => task.ms);
    const used = await use(page, large);
    const heapMb = await heapAfterCollection(page);
    await page.close();
    return {
      doorMs: door.readyMs,
      listMs: marks.list ?? Number.NaN,
      newestMs: marks.newest ?? Number.NaN,
      longestMs: Math.max(0, ...tasks),
      blockedMs: tasks.reduce((sum, ms) => sum + Math.max(0, ms - 50), 0),
      ...used,
      heapMb,
      loaded,
    };
  } finally {
    await door.stop();
  }
}

/** From the action to the frame in which the page shows what came of it, measured in the page. */
const timed = (page: Page, action: Action): Promise<number> =>
  page.evaluate((what) => (globalThis as unknown as PageSide).bench.timed(what), action);

async function use(page: Page, { roomIds }: LargeProfile) {
  const [first = "", ...others] = roomIds;
  const visible = others.slice(0, switches);
  const newRoomMs: number[] = [];
  const seenRoomMs: number[] = [];
  const echoMs: number[] = [];
  for (const room of visible) newRoomMs.push(await timed(page, { room }));
  for (const room of visible) seenRoomMs.push(await timed(page, { room }));
  // in a room of its own, for these stay and would stand before what a later round looks for
  const written = `[data-room="${others[switches] ?? ""}"]`;
  await page.locator(written).click();
  await page.locator(`${written}[aria-selected="true"]`).waitFor();
  for (let index = 0; index < echoes; index++) {
    const text = `echo ${randomUUID()}`;
    await page.locator("form textarea").fill(text);
    echoMs.push(await timed(page, { text }));
  }
  await timed(page, { room: first });
  return { newRoomMs, seenRoomMs, echoMs };
}

async function heapAfterCollection(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize / 2 ** 20;
}

/** The built window over the loopback door in Chromium, on a profile of 1,000 rooms and 30,000 messages, network off. */
export async function bench(): Promise<BenchResult> {
  const homeserver = await startHomeserver();
  const executablePath = chromiumPath();
  if (executablePath === undefined) throw new Error("There is no Chromium here.");
  const browser = await chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
  let large: LargeProfile | undefined;
  try {
    large = await largeProfile(homeserver.url, size);
    await homeserver.stop();
    const app = await large.open();
    await app.call("rooms.lastOpened", { roomId: large.roomIds[0] ?? "" });
    await app.remove();
    await startOnce(browser, large);
    const all: Awaited<ReturnType<typeof startOnce>>[] = [];
    const passphrase: number[] = [];
    for (let round = 0; round < rounds; round++) {
      all.push(await startOnce(browser, large));
      passphrase.push(await large.derive());
    }
    const median = (of: (one: (typeof all)[number]) => number) => quantile(all.map(of), 0.5);
    const loaded = all[0]?.loaded ?? { raw: 0, gzip: 0 };
    const figures = [
      {
        what: "page opened to room list painted",
        unit: "ms",
        ours: median((one) => one.listMs),
        goal: 500,
        "best peer": 1049,
      },
      {
        what: "page opened to newest message painted",
        unit: "ms",
        ours: median((one) => one.newestMs),
        goal: 700,
        "best peer": 1266,
      },
      { what: "longest task at start", unit: "ms", ours: median((one) => one.longestMs), goal: 50, "best peer": 245 },
      { what: "blocking time at start", unit: "ms", ours: median((one) => one.blockedMs), goal: 100, "best peer": 295 },
      {
        what: "send to own echo painted",
        unit: "ms",
        ours: quantile(
          all.flatMap((one) => one.echoMs),
          0.5,
        ),
        goal: 16,
        "best peer": 37,
      },
      {
        what: "switch to a new room",
        unit: "ms",
        ours: quantile(
          all.flatMap((one) => one.newRoomMs),
          0.5,
        ),
        goal: 30,
        "best peer": 63,
      },
      {
        what: "switch to a seen room",
        unit: "ms",
        ours: quantile(
          all.flatMap((one) => one.seenRoomMs),
          0.5,
        ),
        goal: 16,
        "best peer": 65,
      },
      {
        what: "script heap after garbage collection",
        unit: "MB",
        ours: median((one) => one.heapMb),
        goal: 10,
        "best peer": 8,
      },
      { what: "code to the room list, raw", unit: "KiB", ours: loaded.raw / 1024, goal: 500, "best peer": 1028 },
      { what: "code to the room list, gzip", unit: "KiB", ours: loaded.gzip / 1024, goal: 160, "best peer": 295 },
    ];
    return {
      name: "window",
      rows: [
        ...figures.map(({ ours, ...row }) => ({ ...row, ours: rounded(ours) })),
        // the door answers at once; the vault opens beside the page's start, which waits for it
        {
          what: "before that: process start to the door's address",
          unit: "ms",
          ours: rounded(median((one) => one.doorMs)),
        },
        {
          what: "of the start: deriving the key from the passphrase, no part of a start by the keychain",
          unit: "ms",
          ours: rounded(quantile(passphrase, 0.5)),
        },
      ],
      targets: figures.map(({ what, ours, goal, unit }) => atMost(what, ours, goal, unit)),
    };
  } finally {
    await browser.close();
    large?.remove();
    await homeserver.stop();
  }
}

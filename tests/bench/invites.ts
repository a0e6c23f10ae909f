import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Worker } from "node:worker_threads";
import { randomBytes } from "node:crypto";
import { encodeHeader, encodePayload } from "../../main/core/features/invites/codec.ts";
import { idKey, rootKey, tokenTag } from "../../main/core/features/invites/keys.ts";
import { inviteLink } from "../../main/core/features/invites/link.ts";
import { modulesOf, segmentsOf } from "../../renderer/src/qr/drawing.ts";
import type { Core } from "../core/core.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { launch } from "../ui/harness/browser.ts";
import { me, ownDevicesOf } from "../unit/invites/siblings.ts";
import { degradedSet } from "../webcam/degraded.ts";
import { drawFrame, plain, type Flat } from "../webcam/scene.ts";
import { flood } from "./invites-flood.ts";
import { readFrame, serveDecoder } from "./qr.ts";
import { atLeast, atMost, quantile, rounded, type BenchResult } from "./result.ts";

const joiners = 15;
const rows = 5_000;
const looks = 200;
const eachKind = 30;
const seed = 20_261_122;
const pxPerModule = 5;
const quietModules = 4;

/** CPU milliseconds of a core's own thread since the last call for it. */
function cpuOf(worker: Worker) {
  let before: { user: number; system: number } | undefined;
  return async (): Promise<number> => {
    const now = await worker.cpuUsage();
    const took = now.user + now.system - (before === undefined ? 0 : before.user + before.system);
    before = now;
    return took / 1000;
  };
}

/** The bundle's worker: sources would be compiled while the clock runs. */
function builtCore() {
  process.env["TESSERA_BUILT"] = "1";
  return import("../core/core.ts");
}

async function ready(homeserver: Homeserver, name: string): Promise<{ core: Core; userId: string }> {
  const { sessionOf, startCore } = await builtCore();
  const account = await homeserver.register(name);
  const core = await startCore({ session: sessionOf(account, homeserver.url) });
  await core.sync();
  await core.ok("trust.setUp", { password: account.password, recovery: { kind: "key" } });
  return { core, userId: account.userId };
}

/** From the tap on the joiner's sheet to each having the other as verified, on real cores and a real homeserver. */
async function joins(): Promise<{ totalMs: number[]; joinerMs: number[]; inviterMs: number[] }> {
  const homeserver = await startHomeserver();
  try {
    const alice = await ready(homeserver, "alice");
    const aliceCpu = cpuOf(alice.core.worker);
    const found = { totalMs: [] as number[], joinerMs: [] as number[], inviterMs: [] as number[] };
    for (let n = 0; n <= joiners; n++) {
      const bob = await ready(homeserver, `bob-${n}`);
      const { link } = await alice.core.ok("invites.create", { kind: "contact", preset: "show" });
      const bobCpu = cpuOf(bob.core.worker);
      await Promise.all([aliceCpu(), bobCpu()]);
      const marks = [alice.core.events.length, bob.core.events.length] as const;
      const fromMs = performance.now();
      await bob.core.ok("invites.accept", { text: link });
      await Promise.all([
        bob.core.nextEvent(
          "invites.changed",
          ({ joins: list }) => list?.some(({ state }) => state.at === "done" && state.result === "mutual") === true,
          marks[1],
        ),
        alice.core.nextEvent("trust.changed", ({ userIds }) => userIds?.includes(bob.userId) === true, marks[0]),
      ]);
      await alice.core.until(
        async () => (await alice.core.ok("trust.user", { userId: bob.userId })).identity === "verified",
        "the tick",
      );
      const tookMs = performance.now() - fromMs;
      const [inviter, joiner] = await Promise.all([aliceCpu(), bobCpu()]);
      // the first pays for what is loaded once
      if (n > 0) {
        found.totalMs.push(tookMs);
        found.inviterMs.push(inviter);
        found.joinerMs.push(joiner);
      }
      await bob.core.stop();
    }
    return found;
  } finally {
    await (await builtCore()).endCores();
    await homeserver.stop();
  }
}

/** A joiner's call among 5,000 live codes in a database, of which the product keeps no more than 256. */
async function lookups(): Promise<{ missMs: number[]; hitMs: number[] }> {
  const account = ownDevicesOf({ maxLive: rows });
  try {
    const laptop = await account.add("LAPTOP");
    const masterKey = Buffer.from(account.world.masterKey, "base64");
    const header = encodeHeader({ kind: "contact", preset: "public", expiresAtMs: 0, masterKey, label: "" });
    const ids: Buffer[] = [];
    laptop.db.transaction(() => {
      for (let n = 0; n < rows; n++) {
        const secret = randomBytes(16);
        const id = idKey(rootKey(me, header, secret));
        ids.push(id);
        laptop.store.put({
          ...{ token_id: `row${n}`, id_key: id, header: Buffer.from(header), secret, room_id: null },
          ...{ created_at_ms: n, verify_until_ms: 0, told: 1 },
          ...{ state: "active", state_rev: 1, state_by: "LAPTOP", state_at_ms: n },
          ...{ owner: "LAPTOP", owner_rev: 1, owner_by: "LAPTOP" },
        });
      }
    });
    await laptop.restart();
    const joiner = "@bob:tessera.test";
    const timed = (tag: Buffer, wanted: string | undefined): number => {
      const fromMs = performance.now();
      const token = laptop.tokens.find(tag, joiner);
      const tookMs = performance.now() - fromMs;
      if (token?.tokenId !== wanted) throw new Error("The lookup found another code.");
      return tookMs;
    };
    const times = { missMs: [] as number[], hitMs: [] as number[] };
    timed(randomBytes(16), undefined);
    for (let n = 0; n < looks; n++) {
      times.missMs.push(timed(randomBytes(16), undefined));
      // the oldest is the last that is tried
      times.hitMs.push(timed(tokenTag(ids[0] ?? Buffer.alloc(0), joiner, me), "row0"));
    }
    return times;
  } finally {
    account.end();
  }
}

const linkOf = (userId: string, label: string): string => {
  const header = encodeHeader({
    ...{ kind: "contact", preset: "show", expiresAtMs: 1_900_000_020_000, label },
    masterKey: Buffer.alloc(32, 0xa7),
  });
  return inviteLink(userId, encodePayload(userId, header, Buffer.alloc(16, 0x5c)));
};
const addresses = [
  { what: "an ordinary address", link: linkOf("@alice:example.org", "") },
  { what: "with a label of 16 bytes", link: linkOf("@alice:example.org", "Stand am Fenster") },
  {
    what: "a long address with a label of 24 bytes",
    link: linkOf(`@${"a".repeat(30)}:matrix.example-of-a-long.org`, "x".repeat(24)),
  },
];

function drawn(link: string, level: "L" | "M"): { modules: number; flat: Flat } {
  const square = modulesOf(segmentsOf(link), level);
  if (square === undefined) throw new Error("The code has no place in a symbol.");
  const size = square.length + 2 * quietModules;
  const dark = new Uint8Array(size * size);
  square.forEach((row, y) => {
    row.forEach((isDark, x) => {
      if (isDark) dark[(y + quietModules) * size + x + quietModules] = 1;
    });
  });
  return { modules: square.length, flat: { size, dark } };
}

/** The share of the degraded frames that the window's decoder reads, each code as the app draws it, at five pixels a module. */
async function reading(): Promise<{ kind: string; read: number; of: number }[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-invites-"));
  const { url, server } = await serveDecoder(path.join(folder, "page"));
  const browser = await launch();
  try {
    const page = await (await browser.newContext()).newPage();
    await page.goto(url);
    await readFrame(page, drawFrame(undefined, plain));
    const found = new Map<string, { read: number; of: number }>();
    for (const { link } of addresses) {
      const { flat } = drawn(link, "L");
      const wanted = Buffer.from(link).toString("base64");
      // how near it is held is what is given here
      const size = (pxPerModule * flat.size) / 480;
      for (const { kind, look } of degradedSet(eachKind, seed).filter((one) => one.kind !== "small")) {
        const half = (size * 480) / 2 / 640;
        const x = look.at[0] === 0.5 ? 0.5 : look.at[0] < 0.5 ? half : 1 - half;
        const { code } = await readFrame(page, drawFrame(flat, { ...look, size, at: [x, 0.5] }));
        const row = found.get(kind) ?? { read: 0, of: 0 };
        found.set(kind, { read: row.read + Number(code === wanted), of: row.of + 1 });
      }
    }
    return [...found].map(([kind, row]) => ({ kind, ...row }));
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Joining, finding a code among many, a flood of strangers, and how large and how readable the drawn codes are. */
export async function bench(): Promise<BenchResult> {
  const found = await lookups();
  const read = await reading();
  const flooded = await flood();
  const joined = await joins();
  const times = (what: string, values: number[]) => ({
    what,
    "p50 ms": rounded(quantile(values, 0.5), 2),
    "p95 ms": rounded(quantile(values, 0.95), 2),
  });
  const sizes = addresses.map(({ what, link }) => ({
    what,
    screen: drawn(link, "L").modules,
    print: drawn(link, "M").modules,
  }));
  const share = (100 * read.reduce((sum, one) => sum + one.read, 0)) / read.reduce((sum, one) => sum + one.of, 0);
  const own = joined.inviterMs.map((ms, index) => ms + (joined.joinerMs[index] ?? 0));
  return {
    name: "invites",
    rows: [
      times(`accepting a code to both verified, of ${joiners} joins`, joined.totalMs),
      times("of that own computing: the inviter's core, CPU", joined.inviterMs),
      times("of that own computing: the joiner's core, CPU", joined.joinerMs),
      times(`a code looked up among ${rows}, there`, found.hitMs),
      times(`a code looked up among ${rows}, unknown`, found.missMs),
      times("flood: a key pressed in the window to the next frame", flooded.inputMs),
      times("before it: a key pressed in the window to the next frame", flooded.quietInputMs),
      ...[
        {
          what: `flood: ${flooded.bad} bad and ${flooded.good} good first messages in ${rounded(flooded.seconds, 0)} s: CPU of the app, % of a core`,
          value: rounded(flooded.cpuShare),
        },
        { what: "the same syncs without them: CPU of the app, % of a core", value: rounded(flooded.quietCpuShare) },
        { what: "flood: answers sent", value: flooded.answers },
        ...sizes.flatMap(({ what, screen, print }) => [
          { what: `modules a side, screen: ${what}`, value: screen },
          { what: `modules a side, print: ${what}`, value: print },
        ]),
        ...read.map(({ kind, read: count, of }) => ({
          what: `frames read at ${pxPerModule} px a module: ${kind}, %`,
          value: rounded((100 * count) / of),
        })),
      ],
    ],
    targets: [
      atMost("accepting a code to both verified, p95", quantile(joined.totalMs, 0.95), 3000, "ms"),
      atMost("of that own computing of both cores together, p95", quantile(own, 0.95), 150, "ms"),
      atMost(
        `a code looked up among ${rows}, p95, there or not`,
        quantile([...found.hitMs, ...found.missMs], 0.95),
        25,
        "ms",
      ),
      atMost("flood: CPU", flooded.cpuShare, 15, "% of a core"),
      atMost("flood: key queries at once", flooded.queriesAtOnce, 3, ""),
      atMost("flood: a key pressed to the next frame, p95", quantile(flooded.inputMs, 0.95), 50, "ms"),
      {
        name: "flood: the owner is told",
        wanted: "an alarm",
        got: flooded.alarm ? "an alarm" : "none",
        met: flooded.alarm,
      },
      atMost(
        "modules a side of the largest code",
        Math.max(...sizes.flatMap(({ screen, print }) => [screen, print])),
        57,
        "",
      ),
      atLeast(`frames read at ${pxPerModule} px a module`, share, 95, "%"),
    ],
  };
}

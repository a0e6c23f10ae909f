import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { CoreStartError, makeFolder, restarted, sameAs, sessionOf, startCore, texts } from "../core.ts";
import { announce } from "../../homeserver/homeserver.ts";
import { isSend, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

const { person, room, server, proxyFor, account } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

/** Repeats itself from its seed, so that a failure can be looked at again. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
function mountSmall(folder: string): boolean {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]);
  return true;
}
/** Writes until nothing more fits. */
function fillUp(file: string): void {
  for (let sizeBytes = 4 * 1024 * 1024; sizeBytes >= 512;)
    try {
      writeFileSync(file, Buffer.alloc(sizeBytes), { flag: "a" });
    } catch {
      sizeBytes /= 2; // as much as fits
    }
}
const kills = process.env["TESSERA_FULL"] === undefined ? 10 : 200;
const killsTimeoutMs = kills * 6000 + 120_000;

test(
  "a core that is ended at any moment loses nothing it acknowledged, doubles nothing and keeps the order",
  { timeout: killsTimeoutMs },
  async () => {
    const roomId = await room(ana, [ben]);
    const random = seeded(20);
    const acknowledged: string[] = [];
    for (let round = 0; round < kills; round++) {
      const sending = (async () => {
        for (let n = 0; n < 3; n++) {
          const body = `round ${round} message ${n}`;
          if (!(await ana.core.call("timeline.send", { roomId, body })).ok) return;
          acknowledged.push(body);
        }
      })();
      await new Promise((resolve) => setTimeout(resolve, random() * 120));
      await ana.core.kill();
      await sending;
      ana.core = await startCore({ ...sameAs(ana.core), lastStopOrderly: false });
    }
    await ana.core.send(roomId, "the last");
    await ben.core.message(roomId, "the last");
    const seen = texts(await ben.core.history(roomId));
    expect(seen.filter((body) => acknowledged.includes(body))).toEqual(acknowledged);
    expect(new Set(seen).size).toBe(seen.length);
    expect(
      (await ben.core.history(roomId)).filter((item) => item.kind === "undecryptable" || item.replayed === true),
    ).toEqual([]);
  },
);

test("no file of the account's folder holds a body, a name, a token or a draft in clear", async () => {
  const roomId = await room(ana, [ben], { name: "the secret of the harbour" });
  await ana.core.say(roomId, "a body nobody else may read");
  await ana.core.ok("timeline.draft", { roomId, body: "a draft nobody else may read" });
  await ben.core.message(roomId, "a body nobody else may read");
  const words = [
    "nobody else may read",
    "secret of the harbour",
    ana.account.accessToken,
    ben.account.accessToken,
    roomId,
    "megolm",
    "-----BEGIN",
  ];
  const forms = words.flatMap((word) => [
    Buffer.from(word),
    Buffer.from(word, "utf16le"),
    Buffer.from(
      Buffer.from(word)
        .toString("base64")
        .replace(/..?=*$/, ""),
    ),
  ]);
  for (const who of [ana, ben]) {
    const names = readdirSync(who.core.folder);
    expect(names).toEqual(expect.arrayContaining(["account.db", "crypto.db"]) as string[]);
    for (const name of names) {
      const bytes = readFileSync(path.join(who.core.folder, name));
      for (const form of forms) expect(bytes.includes(form), `${form.toString()} in ${name}`).toBe(false);
    }
    const told = who.core.logs.map((line) => line.text).join("\n");
    for (const word of ["nobody else may read", "secret of the harbour", who.account.accessToken])
      expect(told).not.toContain(word);
  }
});

test("wrong keys and damaged files are told as database-corrupt, and nothing is deleted", async () => {
  const who = await person("dora");
  await who.core.stop();
  const same = sameAs(who.core);
  const start = async (more: object) => {
    try {
      await (await startCore({ ...same, ...more })).kill();
      return "started";
    } catch (error) {
      return error instanceof CoreStartError ? error.failure.code : error;
    }
  };
  expect(await start({ keysOf: "somebody else" })).toBe("database-corrupt");
  for (const name of ["account.db", "crypto.db"]) {
    const file = path.join(who.core.folder, name);
    const whole = readFileSync(file);
    const damaged = Buffer.from(whole);
    for (let at = 4096; at + 200 < damaged.length; at += 4096) damaged.fill(0x5a, at + 100, at + 200);
    writeFileSync(file, damaged);
    expect(await start({ lastStopOrderly: false })).toBe("database-corrupt");
    expect(readFileSync(file).length).toBe(whole.length);
    rmSync(`${file}-wal`, { force: true });
    rmSync(`${file}-shm`, { force: true });
    writeFileSync(file, whole);
  }
  expect(await start({ lastStopOrderly: false })).toBe("started");
});

test("rooms and messages are the same after a restart, without the network", async () => {
  const roomId = await room(ana, [ben], { name: "kept" });
  await ana.core.say(roomId, "one");
  await ben.core.send(roomId, "two");
  await ana.core.message(roomId, "two");
  await ana.core.sync();
  const before = { rooms: await ana.core.ok("rooms.list", {}), items: await ana.core.load(roomId) };
  ana.proxy.setOnline(false);
  ana.core = await restarted(ana.core);
  expect({ rooms: await ana.core.ok("rooms.list", {}), items: await ana.core.load(roomId) }).toEqual(before);
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
});

/** A real full disk, which only root can mount; account-database.test.ts fills a database by SQLite's own limit for all others. */
test("on a full disk the token stays, the process lives, and all goes on when there is room", async () => {
  const folder = makeFolder();
  // without a small disk of its own this would fill the machine's
  if (!mountSmall(folder)) {
    announce("no full disk for the whole core: only root can mount one");
    return;
  }
  try {
    const mine = await account("full");
    const proxy = await proxyFor();
    const core = await startCore({ session: sessionOf(mine, server().url), folder, via: proxy.url });
    await core.sync();
    const eli: Person = { core, account: mine, userId: mine.userId, proxy };
    const roomId = await room(eli, [ben]);
    await core.say(roomId, "while there is room");
    const ballast = path.join(folder, "ballast");
    fillUp(ballast);
    const from = core.events.length;
    for (let n = 0; n < 30; n++) await ben.core.send(roomId, `${n} ${"large ".repeat(2000)}`);
    await core.nextEvent(
      "account.changed",
      ({ status }) => status.at === "signed-in" && status.sync.at === "offline" && status.sync.code === "disk-full",
      from,
    );
    const refused = await core.call("timeline.send", { roomId, body: "y".repeat(40_000) });
    expect(refused).toMatchObject({ ok: false, error: { code: "disk-full", retryable: true } });
    expect((await core.ok("rooms.list", {})).length).toBe(1);
    rmSync(ballast);
    await core.reconnected();
    await core.sync();
    const items = await core.until(async () => {
      const all = await core.history(roomId);
      return all.filter((item) => item.kind === "text").length === 31 && all;
    });
    expect(texts(items)[0]).toBe("while there is room");
    expect(
      texts(items)
        .slice(1)
        .map((body) => Number.parseInt(body)),
    ).toEqual(Array.from({ length: 30 }, (_, n) => n));
    await core.say(roomId, "there is room again");
    await core.stop();
    expect(proxy.seen(isSend)).toHaveLength(2);
  } finally {
    execFileSync("umount", ["-l", folder]);
  }
});

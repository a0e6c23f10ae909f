import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { CoreError } from "../../../main/core/errors.ts";
import { runRestore, type RestoreParts } from "../../../main/core/features/backup/restore.ts";
import { createPace } from "../../../main/core/features/backup/pace.ts";
import type { FromBackup } from "../../../main/core/matrix/backed-up-key.ts";
import type { Fetched } from "../../../main/core/matrix/backup-fetch.ts";
import { importSound } from "../../../main/core/matrix/backup-import.ts";
import { createBackupStore } from "../../../main/core/storage/backup-store.ts";
import { openAccountDatabase } from "../../../main/core/storage/database.ts";
import type { BackupProgress } from "../../../preload/contract/backup.ts";

/** The engine alone: the server, the machine and the clock are made up, the database is a real one. */
const folder = mkdtempSync(path.join(tmpdir(), "tessera-restore-"));
const db = openAccountDatabase(path.join(folder, "account.db"), new Uint8Array(32).fill(7), false);
let operations = 0;
afterAll(() => {
  db.close();
  rmSync(folder, { recursive: true, force: true });
});

type Server = Record<string, string[]>;
const server = (rooms: number, each: number): Server =>
  Object.fromEntries(
    Array.from({ length: rooms }, (_, room) => [
      `!${room}:x.test`,
      Array.from({ length: each }, (_, n) => `session ${room} ${n}`),
    ]),
  );
const sessionsIn = (rooms: Server, roomId: string): Fetched[] =>
  (rooms[roomId] ?? []).map((sessionId) => ({ roomId, sessionId, data: "{}" }));
const asKeys = (sessions: Fetched[]): FromBackup[] =>
  sessions.map(({ roomId, sessionId }) => ({ ok: true, roomId, sessionId, key: "" }));
/** The next try waits a moment, not seconds. */
const retryAfterMs = 2;
const answered = (status: number, errcode = "M_UNKNOWN") =>
  new CoreError(status >= 500 ? "unreachable" : status === 404 ? "not-found" : "forbidden", {
    details: { status, errcode },
    retryAfterMs,
  });
const brokenOff = () => new CoreError("unreachable", { details: { kind: "bad-answer" }, retryAfterMs });

function scene(rooms: Server, more: Partial<RestoreParts> & { known?: string[]; operationId?: string } = {}) {
  const store = createBackupStore(db);
  const { known = Object.keys(rooms), operationId = `operation ${++operations}`, ...parts } = more;
  const here = new Set<string>();
  const asked: (string | undefined)[] = [];
  const progress: BackupProgress[] = [];
  const controller = new AbortController();
  async function* fetch(_version: string, roomId: string | undefined) {
    asked.push(roomId);
    await Promise.resolve();
    for (const one of roomId === undefined ? Object.keys(rooms) : [roomId]) yield sessionsIn(rooms, one);
  }
  const all: RestoreParts = {
    store,
    nowMs: () => Date.now(),
    rooms: () => known,
    fetch,
    importKeys: (_version, keys) => {
      const fresh = keys.filter(({ roomId, sessionId }) => !here.has(`${roomId} ${sessionId}`));
      for (const { roomId, sessionId } of fresh) here.add(`${roomId} ${sessionId}`);
      return Promise.resolve({ imported: fresh.length, alreadyHad: keys.length - fresh.length, refused: [] });
    },
    isThere: () => Promise.resolve(true),
    progress: (one) => progress.push(one),
    ...parts,
  };
  const run = () => {
    store.begin(operationId, "restore", 0);
    const operation = store.operation(operationId);
    if (operation === undefined) throw new Error("The operation was just begun.");
    return runRestore(all, {
      operation,
      version: "1",
      count: Object.values(rooms).flat().length,
      decryptor: {
        width: 2,
        decrypt: (sessions) => Promise.resolve(asKeys(sessions)),
        close: () => Promise.resolve(),
      },
      signal: controller.signal,
    });
  };
  return { run, store, here, asked, progress, controller, fetch, operationId };
}

test("rooms known here come one by one, all others by one download", async () => {
  const rooms = server(6, 70);
  const { run, asked, here } = scene(rooms, { known: Object.keys(rooms).slice(0, 4) });
  expect(await run()).toMatchObject({ total: 420, imported: 420, alreadyHad: 0, failed: [] });
  expect(asked).toEqual([...Object.keys(rooms).slice(0, 4), undefined]);
  expect(here.size).toBe(420);
});

test("a session that an answer holds twice counts once", async () => {
  const rooms = { "!a:x.test": ["one", "two", "one", "one"] };
  expect(await scene(rooms).run()).toMatchObject({ total: 2, imported: 2, alreadyHad: 0 });
});

test("what is decrypted is imported at once, though the server keeps the rest to itself", async () => {
  const rooms = server(2, 10);
  const gate = Promise.withResolvers<undefined>();
  const made = scene(rooms);
  const held = scene(rooms, {
    fetch: async function* (version, roomId) {
      if (roomId !== "!0:x.test") await gate.promise;
      yield* made.fetch(version, roomId);
    },
  });
  const running = held.run();
  await expect.poll(() => held.here.size).toBe(10);
  expect(held.progress.length).toBeGreaterThan(0);
  gate.resolve(undefined);
  expect(await running).toMatchObject({ imported: 20 });
});

test.each([
  ["500 each time", () => answered(500)],
  ["403", () => answered(403, "M_FORBIDDEN")],
  ["404 while the version is there", () => answered(404, "M_NOT_FOUND")],
  ["an answer that breaks off at the same place", () => brokenOff()],
])("a room that is refused (%s) stops no other, and comes with the download of all", async (_, refusal) => {
  const rooms = server(8, 5);
  const made = scene(rooms);
  const { run } = scene(rooms, {
    fetch: async function* (version, roomId) {
      if (roomId === "!3:x.test") throw refusal();
      yield* made.fetch(version, roomId);
    },
  });
  expect(await run()).toMatchObject({ total: 40, imported: 40, failed: [] });
  expect(made.asked.filter((roomId) => roomId === undefined)).toHaveLength(1);
});

test("what nothing brings is told as what the server answered, and the same operation goes on from there", async () => {
  const rooms = server(8, 5);
  const made = scene(rooms);
  let refuses = true;
  const { run, store, operationId, here } = scene(rooms, {
    fetch: async function* (version, roomId) {
      if (refuses && (roomId === undefined || roomId === "!3:x.test")) throw answered(500);
      yield* made.fetch(version, roomId);
    },
  });
  await expect(run()).rejects.toMatchObject({ code: "unreachable", details: { status: 500 } });
  expect(here.size).toBe(35);
  expect(store.operation(operationId)).toMatchObject({ imported: 35 });
  refuses = false;
  made.asked.length = 0;
  expect(await run()).toMatchObject({ total: 40, imported: 40, alreadyHad: 0 });
  expect(made.asked).toEqual(["!3:x.test"]);
});

test("a download of all that breaks off at the same place each time is given up, one that comes further each time is not", async () => {
  const rooms = server(30, 5);
  const breaking = (after: (tries: number) => number) => {
    const tries = { count: 0 };
    const { run } = scene(rooms, {
      known: [],
      fetch: async function* () {
        const end = after(++tries.count);
        await Promise.resolve();
        for (const roomId of Object.keys(rooms).slice(0, end)) yield sessionsIn(rooms, roomId);
        if (end < 30) throw brokenOff();
      },
    });
    return { run, tries };
  };
  const same = breaking(() => 12);
  await expect(same.run()).rejects.toMatchObject({ code: "unreachable", details: { kind: "bad-answer" } });
  expect(same.tries.count).toBeLessThan(10);
  const further = breaking((tries) => tries * 3);
  expect(await further.run()).toMatchObject({ total: 150, imported: 150, alreadyHad: 0 });
});

test("while the server as a whole is away nothing is given up; a version that is gone ends it", async () => {
  const rooms = server(2, 5);
  const made = scene(rooms);
  let away = 7;
  const { run } = scene(rooms, {
    fetch: async function* (version, roomId) {
      if (roomId === "!1:x.test" && away-- > 0) throw answered(502);
      yield* made.fetch(version, roomId);
    },
    isThere: () => Promise.reject(answered(502)),
  });
  expect(await run()).toMatchObject({ imported: 10 });
  expect(made.asked).not.toContain(undefined);
  const gone = scene(rooms, {
    fetch: async function* () {
      await Promise.reject(answered(404, "M_NOT_FOUND"));
      yield [];
    },
    isThere: () => Promise.resolve(false),
  });
  await expect(gone.run()).rejects.toMatchObject({ code: "not-found", details: { kind: "backup" } });
});

test("a disk that is full ends it at once, by whichever way the keys came", async () => {
  const rooms = server(3, 5);
  const full = () => {
    throw new CoreError("disk-full");
  };
  const whole = scene(rooms, { known: [] });
  whole.store.addSessions = full;
  await expect(whole.run()).rejects.toMatchObject({ code: "disk-full" });
  expect(whole.asked).toEqual([undefined]);
  await expect(scene(rooms, { importKeys: full }).run()).rejects.toMatchObject({ code: "disk-full" });
});

test("stopped and begun again at every import, it brings each key once and asks for no finished room again", async () => {
  const rooms = server(5, 450);
  const operationId = "resumed";
  const here = new Set<string>();
  let finished: string[] = [];
  for (let stops = 0; ; stops++) {
    let imports = 0;
    const { run, store, asked } = scene(rooms, {
      operationId,
      known: Object.keys(rooms).slice(0, 3),
      importKeys: (_version, keys) => {
        if (++imports > 1) throw new CoreError("unexpected");
        const fresh = keys.filter(({ roomId, sessionId }) => !here.has(`${roomId} ${sessionId}`));
        for (const { roomId, sessionId } of fresh) here.add(`${roomId} ${sessionId}`);
        return Promise.resolve({ imported: fresh.length, alreadyHad: keys.length - fresh.length, refused: [] });
      },
    });
    const outcome = await run().catch((error: unknown) => error);
    expect(asked.filter((roomId) => roomId !== undefined && finished.includes(roomId))).toEqual([]);
    finished = [...store.finishedRooms(operationId)];
    if (outcome instanceof Error) {
      expect(stops).toBeLessThan(40);
      continue;
    }
    expect(outcome).toMatchObject({ total: 2250, imported: 2250, alreadyHad: 0, failed: [] });
    return;
  }
});

test.each([
  ["an hour back", -3_600_000],
  ["a day ahead", 86_400_000],
  ["to the beginning of time", -Infinity],
])("a clock that jumps %s in the middle spoils neither counts nor times", async (_, byMs) => {
  const rooms = server(20, 100);
  const imported = { calls: 0 };
  let nowMs = 1_700_000_000_000;
  const { run, progress } = scene(rooms, {
    nowMs: () => Math.max(0, (nowMs += 40)),
    importKeys: (_version, keys) => {
      if (++imported.calls === 5) nowMs = byMs === -Infinity ? 0 : nowMs + byMs;
      return Promise.resolve({ imported: keys.length, alreadyHad: 0, refused: [] });
    },
  });
  const result = await run();
  expect(result).toMatchObject({ total: 2000, imported: 2000 });
  expect(result.tookMs).toBeGreaterThanOrEqual(0);
  expect(progress.map((one) => one.done)).toEqual(progress.map((one) => one.done).toSorted((a, b) => a - b));
  expect(progress.at(-1)).toMatchObject({ done: 2000, total: 2000, failed: 0 });
  for (const { keysPerSecond, remainingMs = 0 } of progress) {
    expect(keysPerSecond).toBeGreaterThanOrEqual(0);
    expect(keysPerSecond).toBeLessThan(1_000_000);
    expect(remainingMs).toBeGreaterThanOrEqual(0);
    expect(Number.isFinite(remainingMs)).toBe(true);
  }
});

test("a pace is smooth over a sleep and a clock that was set", () => {
  let nowMs = 0;
  const pace = createPace(() => nowMs);
  pace.at(0);
  for (let done = 100; done <= 1000; done += 100) {
    nowMs += 1000;
    pace.at(done);
  }
  const before = pace.at(1000);
  expect(before).toBeCloseTo(100, 0);
  nowMs += 8 * 3_600_000;
  expect(pace.at(1100)).toBe(before);
  nowMs -= 86_400_000;
  expect(pace.at(1200)).toBe(before);
  nowMs += 1000;
  expect(pace.at(1300)).toBeCloseTo(100, 0);
});

test("bad keys among good ones are found by halves, whatever the machine does with them", async () => {
  const keys = Array.from({ length: 200 }, (_, n) => n);
  const bad = new Set([0, 17, 18, 199]);
  for (const throws of [true, false]) {
    const here = new Set<number>([5, 6]);
    let calls = 0;
    const result = await importSound(keys, (some) => {
      calls++;
      if (throws && some.some((key) => bad.has(key))) return Promise.reject(new Error("one of them is bad"));
      const readable = some.filter((key) => !bad.has(key));
      const imported = readable.filter((key) => !here.has(key));
      for (const key of imported) here.add(key);
      return Promise.resolve({ imported: imported.length, readable: readable.length });
    });
    expect(result).toEqual({ imported: 194, alreadyHad: 2, refused: [...bad] });
    expect(calls).toBeLessThan(70);
  }
});

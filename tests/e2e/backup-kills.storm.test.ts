import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openKeyFile } from "../../main/core/features/backup/key-file/read.ts";
import { writeKeyFile } from "../../main/core/features/backup/key-file/write.ts";
import type { Restored } from "../../preload/contract/backup.ts";
import { madeUpKeys } from "../bench/made-up-keys.ts";
import { madeUpBackup } from "../core/backup/made-up-backup.ts";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Account, type Homeserver } from "../homeserver/homeserver.ts";
import { AppGone } from "./headless-app.ts";
import { newPerson, password, type Person } from "./people.ts";
import { randomFrom, stormSeed } from "./random.ts";

// in full: TESSERA_FULL=1
const kills = process.env["TESSERA_FULL"] === "1" ? 50 : 2;
const timeoutMs = kills * 30_000 + 300_000;
const chunk = 200;
const passphrase = "a passphrase of the file";
const isUpload = { method: "PUT", path: /\/room_keys\/keys/ };

let homeserver: Homeserver;
let proxy: FaultProxy;
let ana: Person;
let account: Account;
let folder: string;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tessera-storm-"));
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  ana = await newPerson(proxy.url, "ana");
  await ana.app.call("trust.setUp", { password, recovery: { kind: "key" } });
  account = await homeserver.login({ userId: ana.userId, localpart: "ana", password });
});
afterEach(async () => {
  await ana.app.remove();
  await proxy.stop();
  await homeserver.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Undefined where the process was killed before it answered. */
const unlessGone = <T>(work: Promise<T>): Promise<T | undefined> =>
  work.catch((error: unknown) => {
    if (error instanceof AppGone) return undefined;
    throw error;
  });
/** Killed at a moment within so many milliseconds of its beginning, and started again. */
async function killedWithin<T>(ms: number, random: () => number, begin: () => Promise<T>): Promise<T | undefined> {
  const answer = unlessGone(begin());
  await sleep(random() * ms);
  await ana.app.kill("SIGKILL");
  const value = await answer;
  await ana.app.start();
  return value;
}
const operation = async (operationId: string) =>
  (await ana.app.call("backup.operations", {})).find((one) => one.operationId === operationId);
/** Nothing that was told as done is undone by a kill. */
async function goesOnFrom(operationId: string, before: number): Promise<number> {
  const after = await operation(operationId);
  // killed before the first row was written
  if (after === undefined) return before;
  expect(["interrupted", "done"]).toContain(after.at);
  expect(after.done).toBeGreaterThanOrEqual(before);
  return after.done;
}
const expectWhole = (result: Restored, total: number) => {
  expect(result).toMatchObject({ total, failed: [] });
  expect(result.imported + result.alreadyHad).toBe(total);
};
const version = () =>
  homeserver.api<{ version: string; count: number; auth_data: { public_key: string } }>("GET", "v3/room_keys/version", {
    token: account.accessToken,
  });
const backedUp = async (total: number) => {
  for (;;) {
    const status = await ana.app.call("backup.status", {});
    if (status.at === "on" && status.total === total && status.backedUp === total) return;
    await sleep(100);
  }
};
async function fileOf(count: number): Promise<string> {
  const file = path.join(folder, `${randomUUID()}.txt`);
  async function* sessions() {
    yield (JSON.parse(madeUpKeys(count, 40)) as unknown[]).map((one) => JSON.stringify(one));
    await Promise.resolve();
  }
  const signal = new AbortController().signal;
  await writeKeyFile({ path: file, passphrase, sessions: sessions(), signal, wrote: () => undefined, rounds: 1000 });
  return file;
}
const sessionsIn = async (file: string): Promise<number> => {
  const opened = await openKeyFile(file, passphrase, new AbortController().signal);
  let count = 0;
  for await (const { sessions } of opened.batches()) count += sessions.length;
  await opened.close();
  return count;
};

test(
  `a restore killed ${kills} times brings each key once, does a chunk a kill again at most, and uploads nothing (seed ${stormSeed})`,
  { timeout: timeoutMs },
  async () => {
    const random = randomFrom(stormSeed + 10);
    const rooms: string[] = ["!left:x.test"];
    for (let n = 0; n < 4; n++) rooms.push((await ana.app.call("rooms.create", { kind: "group" })).roomId);
    const { auth_data: authData, version: number } = await version();
    let there = 0;
    let operationId = "";
    let done = 0;
    let again = 0;
    const more = async () => {
      await homeserver.api("PUT", "v3/room_keys/keys", {
        token: account.accessToken,
        query: { version: number },
        body: { rooms: madeUpBackup(authData.public_key, rooms, 2500) },
      });
      there += 2500;
      operationId = randomUUID();
      done = 0;
      again = 0;
    };
    const ended = (result: Restored) => {
      expectWhole(result, there);
      // all that an earlier operation had brought is here already, and a chunk more for each kill of this one
      expect(result.alreadyHad).toBeGreaterThanOrEqual(there - 2500);
      expect(result.alreadyHad).toBeLessThanOrEqual(there - 2500 + again * chunk);
    };
    await more();
    for (let kill = 0; kill < kills; kill++) {
      const from = done;
      const result = await killedWithin(1500, random, () => ana.app.call("backup.restore", { operationId }));
      again++;
      done = await goesOnFrom(operationId, from);
      if (result === undefined && (await operation(operationId))?.at !== "done") continue;
      ended(await ana.app.call("backup.restore", { operationId }));
      await more();
    }
    ended(await ana.app.call("backup.restore", { operationId }));
    await backedUp(there);
    expect(proxy.seen(isUpload)).toEqual([]);
    expect((await version()).count).toBe(there);
  },
);

test(
  `an import killed ${kills} times has every key of the file, and all go up (seed ${stormSeed})`,
  { timeout: timeoutMs },
  async () => {
    const random = randomFrom(stormSeed + 11);
    const count = 3000;
    let file = await fileOf(count);
    let operationId = randomUUID() as string;
    let [done, again, files] = [0, 0, 1];
    const run = () => ana.app.call("backup.importKeys", { path: file, passphrase, operationId });
    const ended = (result: Restored) => {
      expectWhole(result, count);
      expect(result.alreadyHad).toBeLessThanOrEqual(again * chunk);
    };
    for (let kill = 0; kill < kills; kill++) {
      const result = await killedWithin(900, random, run);
      again++;
      done = await goesOnFrom(operationId, done);
      if (result === undefined && (await operation(operationId))?.at !== "done") continue;
      ended(await run());
      [file, operationId, done, again] = [await fileOf(count), randomUUID(), 0, 0];
      files++;
    }
    ended(await run());
    await backedUp(files * count);
    expect((await version()).count).toBe(files * count);
  },
);

test(
  `an export killed ${kills} times leaves a whole file under its name or none (seed ${stormSeed})`,
  { timeout: timeoutMs },
  async () => {
    const random = randomFrom(stormSeed + 12);
    const count = 4000;
    await ana.app.call("backup.importKeys", { path: await fileOf(count), passphrase, operationId: randomUUID() });
    const place = path.join(folder, "exports");
    const file = path.join(place, "keys.txt");
    mkdirSync(place);
    for (let kill = 0; kill < kills; kill++) {
      const answer = await killedWithin(1500, random, () =>
        ana.app.call("backup.exportKeys", { path: file, passphrase, operationId: randomUUID() }),
      );
      if (answer !== undefined) expect(existsSync(file)).toBe(true);
      if (existsSync(file)) expect(await sessionsIn(file)).toBe(count);
      rmSync(file, { force: true });
    }
    const { exported } = await ana.app.call("backup.exportKeys", {
      path: file,
      passphrase,
      operationId: randomUUID(),
    });
    expect(exported).toBe(count);
    expect(await sessionsIn(file)).toBe(count);
    // what kills left half-written is gone with the next export to that place
    expect(readdirSync(place)).toEqual(["keys.txt"]);
  },
);

test(
  `an upload killed ${kills} times ends with every key on the server, and says so (seed ${stormSeed})`,
  { timeout: timeoutMs },
  async () => {
    const random = randomFrom(stormSeed + 13);
    const count = 3000;
    let total = 0;
    for (let kill = 0; kill < kills; kill++) {
      const status = await ana.app.call("backup.status", {});
      if (status.at === "on" && status.backedUp === total) {
        const operationId = randomUUID();
        await ana.app.call("backup.importKeys", { path: await fileOf(count), passphrase, operationId });
        total += count;
      }
      await killedWithin(800, random, () => Promise.resolve());
      const after = await ana.app.call("backup.status", {});
      expect(after).toMatchObject({ at: "on", total });
      // never more than the server has
      expect(after.at === "on" ? after.backedUp : 0).toBeLessThanOrEqual((await version()).count);
    }
    await backedUp(total);
    expect((await version()).count).toBe(total);
  },
);

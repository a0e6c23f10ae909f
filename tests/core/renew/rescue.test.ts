import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import type { FromWorker, WorkerStart } from "../../../main/core/worker-port.ts";
import { openCryptoStore } from "../../../main/core/storage/crypto-store/index.ts";
import { openAccountDatabase } from "../../../main/core/storage/database.ts";
import type { Rescued } from "../../../preload/contract/account.ts";
import type { Failure } from "../../../preload/contract/define.ts";
import { madeUpBackup } from "../backup/made-up-backup.ts";
import { CoreStartError, databaseKey, sameAs, sessionOf, startCore, texts, type Core } from "../core.ts";
import { useHomeserver, type Person } from "../people.ts";

// Real files with damaged pages: what still reads goes into a new device, the old one is never run again.
const { server, person, room } = useHomeserver();
const pageSize = 4096;

const keysOf = async (core: Core) => (await core.ok("account.atRisk", {})).total;
const file = (core: Core, name: string) => path.join(core.folder, name);
const filesOf = (core: Core) => readdirSync(core.folder).toSorted();

/** Two who wrote to each other; ana has an identity, and as many room keys as fill many pages. */
async function chat(name: string, keys = 0): Promise<{ ana: Person; ben: Person; roomId: string }> {
  const [ana, ben] = await Promise.all([person(`${name}-ana`), person(`${name}-ben`)]);
  await Promise.all([ana, ben].map(({ core }) => core.ok("trust.setUp", { recovery: { kind: "key" } })));
  const roomId = await room(ana, [ben], { encrypted: true, name: "chat" });
  await ana.core.send(roomId, "from ana");
  await ben.core.message(roomId, "from ana");
  await ben.core.send(roomId, "from ben");
  await ana.core.message(roomId, "from ben");
  if (keys > 0) {
    const token = ana.account.accessToken;
    const { version, auth_data } = await server().api<{ version: string; auth_data: { public_key: string } }>(
      "GET",
      "v3/room_keys/version",
      { token },
    );
    const rooms = madeUpBackup(auth_data.public_key, [roomId], keys);
    await server().api("PUT", "v3/room_keys/keys", { token, query: { version }, body: { rooms } });
    await ana.core.ok("backup.restore", { operationId: randomUUID() });
  }
  return { ana, ben, roomId };
}

/** Every n-th page from one on is overwritten in its middle. */
function damage(
  name: string,
  { from = 1, every = 1, pages = Infinity }: { from?: number; every?: number; pages?: number },
) {
  const bytes = readFileSync(name);
  let done = 0;
  for (let page = from; (page + 1) * pageSize <= bytes.length && done < pages; page += every, done++)
    bytes.fill(0x5a, page * pageSize + 1000, page * pageSize + 1100);
  writeFileSync(name, bytes);
  expect(done).toBeGreaterThan(0);
}
async function snapshot(core: Core): Promise<void> {
  const store = openCryptoStore({ file: file(core, "crypto.db"), key: databaseKey(core.session, "crypto") });
  await store.snapshot(file(core, "crypto.snapshot.db"));
  store.close();
}
function rootPage(core: Core, table: string): number {
  const db = openAccountDatabase(file(core, "account.db"), databaseKey(core.session, "account"), false);
  const row = db.get<{ rootpage: number }>("select rootpage from sqlite_schema where name = ?", table);
  db.close();
  return row?.rootpage ?? 0;
}
const startOf = async (core: Core) => {
  try {
    await (await startCore({ ...sameAs(core), lastStopOrderly: false })).kill();
    return "started";
  } catch (error) {
    return error instanceof CoreStartError ? error.failure.code : error;
  }
};

/** As the host does it: a worker of its own, which is asked once. */
async function rescued({ session, folder }: Core): Promise<Rescued> {
  const keys = { crypto: databaseKey(session, "crypto"), account: databaseKey(session, "account") };
  const start: WorkerStart = { kind: "rescue", folder, keys, session };
  const worker = new Worker(new URL("../../../main/core/worker.ts", import.meta.url), { workerData: start });
  try {
    return await new Promise<Rescued>((resolve, reject) => {
      const fail = (error: Failure) => {
        reject(new Error(`${error.code}: ${error.message}`));
      };
      worker.on("error", reject);
      worker.on("message", (message: FromWorker) => {
        if (message.kind === "failed") fail(message.error);
        if (message.kind !== "answer") return;
        if (message.answer.ok) resolve(message.answer.value as Rescued);
        else fail(message.answer.error);
      });
      worker.postMessage({ kind: "call", id: 1, name: "rescue.run", input: {} });
    });
  } finally {
    await worker.terminate();
  }
}
const newDevice = async ({ core, account, proxy }: Person) =>
  startCore({ session: sessionOf(await server().login(account), server().url), folder: core.folder, via: proxy.url });
const verified = (core: Core) =>
  core.until(async () => {
    const { identity, problems } = await core.ok("trust.status", {});
    return identity === "verified" && problems.length === 0;
  }, "a verified device that lacks nothing");
const everySecret = ["backup", "master", "selfSigning", "userSigning"];

test("damaged pages of crypto.db and a snapshot: every key and secret, in a new device that others write to", async () => {
  const { ana, ben, roomId } = await chat("snapshot", 600);
  const had = await keysOf(ana.core);
  await ana.core.stop();
  await snapshot(ana.core);
  damage(file(ana.core, "crypto.db"), { from: 3, every: 5 });
  expect(await startOf(ana.core)).toBe("database-corrupt");
  const before = filesOf(ana.core);

  const saved = await rescued(ana.core);
  expect(saved).toEqual({ roomKeys: had, roomKeysComplete: false, secrets: everySecret, messages: "kept" });
  expect(filesOf(ana.core)).toEqual(before);

  const core = await newDevice(ana);
  await core.until(async () => (await keysOf(core)) >= had, "the old keys");
  await verified(core);
  expect(texts(await core.history(roomId))).toEqual(["from ana", "from ben"]);
  await ben.core.until(
    async () =>
      (await ben.core.ok("trust.recipients", { roomId })).receives.some(
        ({ deviceId }) => deviceId === core.session.deviceId,
      ),
    "ana's new device",
  );
  await ben.core.send(roomId, "to the new device");
  await core.message(roomId, "to the new device");
  await core.send(roomId, "from the new device");
  await ben.core.message(roomId, "from the new device");
  // put aside, and not deleted
  expect(filesOf(core).filter((name) => /^crypto\.[0-9a-f]{16}.*\.db$/.test(name))).toHaveLength(2);
  expect(existsSync(file(core, "crypto.workshop.db"))).toBe(false);
});

test("damaged pages and no snapshot: what reads is saved, and that it is not all is said", async () => {
  const { ana, roomId } = await chat("partly", 600);
  const had = await keysOf(ana.core);
  await ana.core.stop();
  damage(file(ana.core, "crypto.db"), { from: 40, every: 6 });
  expect(await startOf(ana.core)).toBe("database-corrupt");
  const saved = await rescued(ana.core);
  expect(saved.roomKeysComplete).toBe(false);
  expect(saved.roomKeys).toBeGreaterThan(had / 2);
  expect(saved.roomKeys).toBeLessThan(had);
  const core = await newDevice(ana);
  await core.until(async () => (await keysOf(core)) >= saved.roomKeys, "the keys that were saved");
  // the rest is in the backup, whose key was saved too
  if (saved.secrets.includes("backup")) {
    await verified(core);
    await core.ok("backup.restore", { operationId: randomUUID() });
    expect(await keysOf(core)).toBeGreaterThanOrEqual(had);
  }
  expect(texts(await core.history(roomId))).toEqual(["from ana", "from ben"]);
});

test("the first page gone and no snapshot: nothing is saved, it is said, and recovery is the way back", async () => {
  const { ana } = await chat("headless");
  await ana.core.stop();
  damage(file(ana.core, "crypto.db"), { from: 0, pages: 1 });
  expect(await startOf(ana.core)).toBe("database-corrupt");
  expect(await rescued(ana.core)).toEqual({ roomKeys: 0, roomKeysComplete: false, secrets: [], messages: "kept" });
  const core = await newDevice(ana);
  await core.sync();
  await core.until(
    async () => (await core.ok("trust.status", {})).identity === "this-device-unverified",
    "a device that is not verified",
  );
});

test("account.db damaged: rooms come from the server again, decisions about people stay, keys are all there", async () => {
  const { ana, ben, roomId } = await chat("account");
  const had = await keysOf(ana.core);
  await ana.core.ok("devices.block", { userId: ben.userId, deviceId: ben.account.deviceId, blocked: true });
  ana.proxy.setOnline(false);
  await ana.core.send(roomId, "never sent");
  await ana.core.message(roomId, "never sent");
  const ledger = await ana.core.ok("trust.ledger", { userId: ben.userId });
  await ana.core.stop();
  ana.proxy.setOnline(true);
  // the messages' own page
  damage(file(ana.core, "account.db"), { from: rootPage(ana.core, "events") - 1, pages: 1 });
  expect(await startOf(ana.core)).toBe("database-corrupt");
  const saved = await rescued(ana.core);
  expect(saved).toMatchObject({ roomKeysComplete: true, secrets: everySecret, messages: "fetched-again" });
  expect(saved.roomKeys).toBeGreaterThanOrEqual(had);
  const core = await newDevice(ana);
  await core.sync();
  await core.until(async () => texts(await core.load(roomId)).includes("from ben"), "the messages");
  await verified(core);
  const devices = await core.ok("devices.list", { userId: ben.userId });
  expect(devices.find(({ deviceId }) => deviceId === ben.account.deviceId)?.blocked).toBe(true);
  const now = await core.ok("trust.ledger", { userId: ben.userId });
  expect(now).toEqual(expect.arrayContaining(ledger) as unknown);
  await core.item(
    roomId,
    (item) => item.body === "never sent" && item.state === "failed",
    "the message that was not sent",
  );
  expect(filesOf(core).filter((name) => /^account\.[0-9a-f]{16}.*\.db$/.test(name))).toHaveLength(1);
});

test("killed after the rescue and before the change of devices: the files are as damaged as before, and it is done again", async () => {
  const { ana } = await chat("again");
  const had = await keysOf(ana.core);
  await ana.core.stop();
  await snapshot(ana.core);
  damage(file(ana.core, "crypto.db"), { from: 2, every: 4 });
  expect((await rescued(ana.core)).roomKeys).toBe(had);
  expect(await startOf(ana.core)).toBe("database-corrupt");
  expect((await rescued(ana.core)).roomKeys).toBe(had);
  rmSync(file(ana.core, "crypto.snapshot.db"));
  const core = await newDevice(ana);
  await core.until(async () => (await keysOf(core)) >= had, "the old keys");
});

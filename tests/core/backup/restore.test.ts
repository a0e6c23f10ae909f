import { randomUUID } from "node:crypto";
import path from "node:path";
import { expect, test } from "vitest";
import { createBackupStore } from "../../../main/core/storage/backup-store.ts";
import { openAccountDatabase } from "../../../main/core/storage/database.ts";
import { databaseKey, sameAs, startCore } from "../core.ts";
import { eventually, useHomeserver } from "../people.ts";
import { backupScene } from "./backup-scene.ts";
import { backedUp, clearSession, madeUpBackup, madeUpSession, sealFor } from "./made-up-backup.ts";

const { server, person, room } = useHomeserver();

const { put, versionOf, safe, newDevice, uploaded, restore } = backupScene({ server, person });
const keysPath = /\/room_keys\/keys/;
const answerOf = (roomId: string) => ({
  method: "GET",
  path: new RegExp(`/room_keys/keys/${encodeURIComponent(roomId)}$`),
});

test("a new device reads the whole history again by the recovery key, and uploads nothing of it", async () => {
  const ana = await safe("ana");
  // a device that nobody vouches for would get no key
  const ben = await safe("ben");
  const roomId = await room(ana, [ben]);
  await ana.core.send(roomId, "from before");
  await ben.core.message(roomId, "from before");
  await ben.core.send(roomId, "an answer");
  await ana.core.message(roomId, "an answer");
  const before = await uploaded(ana.core);
  await ana.core.stop();

  const again = await newDevice(ana);
  await again.core.room(roomId);
  const result = await restore(again.core, ana.recoveryKey);
  expect(result).toMatchObject({ total: before.total, failed: [] });
  // what a message on screen waits for may have been had one by one just before
  expect(result.imported + result.alreadyHad).toBe(before.total);
  const bodies = await again.core.until(async () => {
    const items = await again.core.history(roomId);
    return items.every((item) => item.kind !== "undecryptable") && items.map((item) => item.body);
  }, "a readable history");
  expect(bodies).toEqual(expect.arrayContaining(["from before", "an answer"]));
  await eventually(
    () => again.core.ok("backup.status", {}),
    (status) => status.at === "on" && status.backedUp === status.total && !status.uploading,
  );
  expect(again.proxy.seen({ method: "PUT", path: keysPath })).toEqual([]);
  expect(await again.core.ok("backup.operations", {})).toMatchObject([
    { kind: "restore", at: "done", done: before.total },
  ]);
});

test("a restore asked for again with the same operation is not done again", async () => {
  const ana = await safe("ana");
  await put(ana.account, madeUpBackup((await versionOf(ana.account)).auth_data.public_key, ["!a:x.test"], 30));
  const operationId = randomUUID();
  const [first, second] = await Promise.all([
    restore(ana.core, undefined, operationId),
    restore(ana.core, undefined, operationId),
  ]);
  expect(first).toMatchObject({ total: 30, imported: 30 });
  expect(second).toEqual(first);
  expect(await restore(ana.core, undefined, operationId)).toMatchObject({ total: 30, imported: 30 });
  expect(await restore(ana.core)).toMatchObject({ total: 30, imported: 0, alreadyHad: 30 });
});

test("rooms that were left come too, and bad keys are named and stop nothing", async () => {
  const ana = await safe("ana");
  const publicKey = (await versionOf(ana.account)).auth_data.public_key;
  const rooms = madeUpBackup(publicKey, ["!left:x.test", "!gone:x.test"], 300);
  const left = rooms["!left:x.test"]?.sessions ?? {};
  const named = (sessionData: Record<string, unknown>, sessionId = madeUpSession().sessionId) => {
    left[sessionId] = backedUp(sessionData);
    return sessionId;
  };
  const good = madeUpSession();
  const other = madeUpSession();
  const expected = new Map([
    [
      named({ ...sealFor(publicKey, clearSession(good.sessionKey)), mac: "AAAAAAAAAAA" }, good.sessionId),
      "not-decryptable",
    ],
    [named({}), "malformed"],
    [named(sealFor(publicKey, "not json")), "malformed"],
    [named(sealFor(publicKey, clearSession("AAAA"))), "malformed"],
    [named(sealFor(publicKey, clearSession(other.sessionKey))), "other-session"],
    [named({ ...sealFor(publicKey, "x"), ciphertext: "A".repeat(70_000) }), "too-large"],
  ]);
  await put(ana.account, rooms);
  const result = await restore(ana.core);
  expect(result).toMatchObject({ total: 306, imported: 300, alreadyHad: 0 });
  expect(new Map(result.failed.map((key) => [key.sessionId, key.reason]))).toEqual(expected);
  expect(result.failed.every((key) => key.roomId === "!left:x.test")).toBe(true);
});

test("a killed restore goes on where it was: no finished room is asked for again, and the counts are of the whole", async () => {
  const ana = await safe("ana");
  const publicKey = (await versionOf(ana.account)).auth_data.public_key;
  const joined: string[] = [];
  // the core's own rooms: no endpoint lists those of a backup
  for (let made = 0; made < 8; made++) joined.push((await ana.core.ok("rooms.create", { kind: "group" })).roomId);
  await put(ana.account, madeUpBackup(publicKey, joined, 2000));
  const asked = () => ana.proxy.seen({ method: "GET", path: /\/room_keys\/keys\// });
  // it cannot be faster than the kill
  const kept = ana.proxy.on(answerOf(joined[0] ?? ""), { kind: "hold" });
  const operationId = randomUUID();
  const begun = ana.core.call("backup.restore", { operationId });
  await ana.core.until(async () => {
    const status = await ana.core.ok("backup.status", {});
    // more than the four rooms hold that are fetched at once: one is finished
    return status.at === "on" && status.total >= 1400;
  }, "most of the keys");
  await ana.core.kill();
  kept.remove();
  expect((await begun).ok).toBe(false);
  const told = ana.core.events.flatMap((one) => (one.event === "backup.progress" ? [one.payload.done] : [])).at(-1);
  expect(told).toBeGreaterThan(0);

  const db = openAccountDatabase(
    path.join(ana.core.folder, "account.db"),
    databaseKey(ana.core.session, "account"),
    false,
  );
  const finished = [...createBackupStore(db).finishedRooms(operationId)];
  db.close();
  expect(finished.length).toBeGreaterThan(0);
  const again = await startCore(sameAs(ana.core));
  const [operation] = await again.ok("backup.operations", {});
  expect(operation).toMatchObject({ operationId, at: "interrupted" });
  expect(operation?.done).toBeGreaterThanOrEqual(told ?? 0);
  const before = asked().length;
  const events = again.events.length;
  const result = await again.ok("backup.resume", { operationId });
  expect(result.total).toBe(result.imported + result.alreadyHad + result.failed.length);
  expect(result).toMatchObject({ total: 2000, failed: [] });
  // at most one chunk is done twice
  expect(result.alreadyHad).toBeLessThanOrEqual(200);
  const first = await again.nextEvent("backup.progress", () => true, events);
  expect(first.done).toBeGreaterThanOrEqual(operation?.done ?? 0);
  const after = asked()
    .slice(before)
    .map((exchange) => decodeURIComponent(exchange.path.split("/").at(-1) ?? ""));
  expect(after.toSorted()).toEqual(joined.filter((roomId) => !finished.includes(roomId)).toSorted());
  await again.stop();
});

test("a wrong but well-formed recovery key is told at once, without a download of keys", async () => {
  const ana = await safe("ana");
  const other = await safe("other");
  const again = await newDevice(ana);
  const wrong = await again.core.call("backup.restore", { operationId: randomUUID(), recoveryKey: other.recoveryKey });
  expect(wrong).toMatchObject({ ok: false, error: { code: "wrong-key", details: { kind: "recovery-key" } } });
  const typo = await again.core.call("backup.restore", { operationId: randomUUID(), recoveryKey: "EsTj 1234" });
  expect(typo).toMatchObject({ ok: false, error: { code: "wrong-key", details: { kind: "malformed" } } });
  expect(again.proxy.seen({ path: keysPath })).toEqual([]);
});

test("the network may go and come back in the middle", async () => {
  const ana = await safe("ana");
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
  await put(ana.account, madeUpBackup((await versionOf(ana.account)).auth_data.public_key, [roomId], 500));
  const cut = ana.proxy.on({ method: "GET", path: keysPath }, { kind: "cut", afterBytes: 150_000 }, { times: 1 });
  const result = await restore(ana.core);
  expect(result).toMatchObject({ total: 500, imported: 500, failed: [] });
  expect(cut.used).toBe(1);
});

test("cancelled, it says so and can be resumed; another restore beside it is refused", async () => {
  const ana = await safe("ana");
  const [roomId, other] = [
    (await ana.core.ok("rooms.create", { kind: "group" })).roomId,
    (await ana.core.ok("rooms.create", { kind: "group" })).roomId,
  ];
  await put(ana.account, madeUpBackup((await versionOf(ana.account)).auth_data.public_key, [roomId, other], 1500));
  // it cannot be over before it is cancelled
  const kept = ana.proxy.on(answerOf(other), { kind: "hold" });
  const operationId = randomUUID();
  const begun = ana.core.call("backup.restore", { operationId });
  await ana.core.nextEvent("backup.progress", (progress) => progress.done > 0);
  expect(await ana.core.call("backup.restore", { operationId: randomUUID() })).toMatchObject({
    ok: false,
    error: { code: "conflict" },
  });
  await ana.core.ok("backup.cancel", { operationId });
  expect(await begun).toMatchObject({ ok: false, error: { code: "cancelled" } });
  expect(await ana.core.ok("backup.operations", {})).toMatchObject([
    { operationId, at: "interrupted", failure: { code: "cancelled" } },
  ]);
  kept.remove();
  expect(await ana.core.ok("backup.resume", { operationId })).toMatchObject({ total: 1500, failed: [] });
});

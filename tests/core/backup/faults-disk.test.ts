import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { OlmMachine, initAsync } from "@matrix-org/matrix-sdk-crypto-wasm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { madeUpKeys } from "../../bench/made-up-keys.ts";
import type { Account } from "../../homeserver/homeserver.ts";
import { smallDisk, type SmallDisk } from "../../small-disk.ts";
import { sessionOf, startCore, type Core } from "../core.ts";
import { useHomeserver } from "../people.ts";
import { backupScene } from "./backup-scene.ts";
import { madeUpBackup } from "./made-up-backup.ts";

/** Each of the four on a disk that is full in the middle of it. */
const { server, person } = useHomeserver();
const { put, publicKeyOf, versionOf, uploaded } = backupScene({ server, person });
const folder = mkdtempSync(path.join(tmpdir(), "tessera-keys-"));
beforeAll(() => initAsync());
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const passphrase = "a passphrase of the file";
const keys = 6000;
/** Less than that many keys need. */
const leftBytes = 2 * 1024 * 1024;

/** Somebody with a backup whose whole folder lies on a disk of its own; undefined where there can be none. */
async function onSmallDisk(): Promise<{ core: Core; account: Account; disk: SmallDisk } | undefined> {
  const disk = smallDisk(64, "a backup");
  if (disk === undefined) return undefined;
  const account = await server().register(`small-${randomUUID().slice(0, 8)}`);
  const place = path.join(disk.folder, "account");
  mkdirSync(place);
  const core = await startCore({ session: sessionOf(account, server().url), folder: place });
  await core.sync();
  await core.ok("trust.setUp", { password: account.password, recovery: { kind: "key" } });
  return { core, account, disk };
}
const lives = async (core: Core) => {
  expect(await core.call("rooms.list", {})).toMatchObject({ ok: true });
};
const fileOf = (count: number): string => {
  const file = path.join(folder, `${randomUUID()}.txt`);
  writeFileSync(file, OlmMachine.encryptExportedRoomKeys(madeUpKeys(count, 40), passphrase, 1000));
  return file;
};
/** Done on a full disk it says so; with room again the same call ends well. The counts are of the whole. */
async function failsThenEnds(
  { core, disk }: { core: Core; disk: SmallDisk },
  operationId: string,
  run: () => ReturnType<Core["call"]>,
) {
  disk.fill(leftBytes);
  expect(await run()).toMatchObject({ ok: false, error: { code: "disk-full", retryable: true } });
  await lives(core);
  const [operation] = await core.ok("backup.operations", {});
  expect(operation).toMatchObject({ operationId, at: "interrupted" });
  expect(operation?.done).toBeLessThan(keys);
  disk.empty();
  const again = await core.until(async () => {
    const answer = await run();
    return answer.ok && answer;
  }, "an end with room");
  const value = again.value as { total: number; imported: number; alreadyHad: number; failed: unknown[] };
  expect(value).toMatchObject({ total: keys, failed: [] });
  expect(value.imported + value.alreadyHad).toBe(keys);
  const status = await core.ok("backup.status", {});
  expect(status).toMatchObject({ at: "on", total: keys });
  return value;
}

test("a restore", async () => {
  const scene = await onSmallDisk();
  if (scene === undefined) return;
  const { core, account, disk } = scene;
  try {
    const rooms = Array.from({ length: 40 }, (_, n) => `!room${n}:x.test`);
    await put(account, madeUpBackup(await publicKeyOf(account), rooms, keys));
    const operationId = randomUUID();
    await failsThenEnds(scene, operationId, () => core.call("backup.restore", { operationId }));
    expect((await versionOf(account)).count).toBe(keys);
  } finally {
    await core.kill();
    disk.remove();
  }
});

test("an import", async () => {
  const scene = await onSmallDisk();
  if (scene === undefined) return;
  const { core, disk } = scene;
  try {
    const operationId = randomUUID();
    const file = fileOf(keys);
    await failsThenEnds(scene, operationId, () =>
      core.call("backup.importKeys", { path: file, passphrase, operationId }),
    );
  } finally {
    await core.kill();
    disk.remove();
  }
});

test("an export: no file under its name, nor beside it", async () => {
  const disk = smallDisk(8, "a backup");
  if (disk === undefined) return;
  try {
    const { core } = await person("ana");
    await core.ok("backup.importKeys", { path: fileOf(keys), passphrase, operationId: randomUUID() });
    disk.fill(leftBytes);
    const file = path.join(disk.folder, "keys.txt");
    const operationId = randomUUID();
    const refused = await core.call("backup.exportKeys", { path: file, passphrase, operationId });
    expect(refused).toMatchObject({ ok: false, error: { code: "disk-full" } });
    expect(readdirSync(disk.folder)).toEqual(["ballast"]);
    disk.empty();
    const { exported } = await core.ok("backup.exportKeys", { path: file, passphrase, operationId });
    expect(exported).toBe(keys);
    expect(existsSync(file)).toBe(true);
    expect(await core.ok("backup.importKeys", { path: file, passphrase, operationId: randomUUID() })).toMatchObject({
      total: keys,
      alreadyHad: keys,
      failed: [],
    });
  } finally {
    disk.remove();
  }
});

test("an upload: it waits for room, and every key is there in the end", async () => {
  const scene = await onSmallDisk();
  if (scene === undefined) return;
  const { core, account, disk } = scene;
  try {
    await core.ok("backup.importKeys", { path: fileOf(3000), passphrase, operationId: randomUUID() });
    disk.fill();
    await core.until(async () => {
      const status = await core.ok("backup.status", {});
      return status.at === "on" && (status.failure?.code === "disk-full" || status.backedUp === status.total);
    }, "a full disk");
    await lives(core);
    disk.empty();
    const { total } = await uploaded(core);
    expect(total).toBe(3000);
    expect((await versionOf(account)).count).toBe(3000);
  } finally {
    await core.kill();
    disk.remove();
  }
});

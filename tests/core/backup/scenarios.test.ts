import { createPrivateKey, createPublicKey, randomUUID, sign } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { canonicalJson } from "../../../main/core/matrix/canonical-json.ts";
import { decodeRecoveryKey, encodeRecoveryKey } from "../../../main/core/matrix/recovery-key.ts";
import type { Account } from "../../homeserver/homeserver.ts";
import { texts, type Core } from "../core.ts";
import { eventually, useHomeserver, type Person } from "../people.ts";
import { accountOnServer, publicHalf } from "../trust/account-on-server.ts";
import { agree, comparing, done, ready } from "../verification/verifying.ts";
import { backupScene } from "./backup-scene.ts";
import { backedUp, backupKeyPair, madeUpBackup, madeUpSession, strangersKey } from "./made-up-backup.ts";

// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const { server, person, room } = useHomeserver();
const { put, publicKeyOf, versionOf, safe, newDevice, uploaded, restore } = backupScene({ server, person });
const isUpload = { method: "PUT", path: /\/room_keys\/keys/ };
const folder = mkdtempSync(path.join(tmpdir(), "tessera-scenarios-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const said = ["one", "two", "three", "four"];

/** A room in which two have written to each other. */
async function conversation(ana: Person, ben: Person): Promise<string> {
  const roomId = await room(ana, [ben]);
  for (const [n, body] of said.entries()) {
    const [from, to] = n % 2 === 0 ? [ana, ben] : [ben, ana];
    await from.core.send(roomId, body);
    await to.core.message(roomId, body);
  }
  return roomId;
}
const readable = (core: Core, roomId: string, wanted = said) =>
  core.until(async () => {
    const items = await core.history(roomId);
    return items.every((item) => item.kind !== "undecryptable") && wanted.every((body) => texts(items).includes(body));
  }, "the whole history");

describe("a new device reads the whole history", () => {
  const passphrase = "plötzlich vier Otter im Fluss";
  let ana: Person & { recoveryKey: string };
  let roomId: string;
  let keys: number;
  beforeAll(async () => {
    ana = await safe("ana", passphrase);
    roomId = await conversation(ana, await safe("ben"));
    keys = (await uploaded(ana.core)).total;
  });
  const ways: [string, (device: Person) => Promise<unknown>][] = [
    [
      "by the recovery key",
      ({ core }) => core.ok("backup.restore", { operationId: randomUUID(), recoveryKey: ana.recoveryKey }),
    ],
    ["by the passphrase", ({ core }) => core.ok("backup.restore", { operationId: randomUUID(), passphrase })],
    [
      "by another device that verified it",
      async (device) => {
        const flowId = await ready(device, ana);
        await comparing(device, ana, flowId);
        await agree([device, ana], flowId);
        await done([device, ana], flowId);
        return await restore(device.core);
      },
    ],
    [
      "by a file of keys",
      async ({ core }) => {
        const file = { path: path.join(folder, "keys.txt"), passphrase, operationId: randomUUID() };
        await ana.core.ok("backup.exportKeys", file);
        return await core.ok("backup.importKeys", { ...file, operationId: randomUUID() });
      },
    ],
  ];
  test.each(ways)("%s", async (_, way) => {
    const device = await newDevice(ana);
    await device.core.room(roomId);
    const result = (await way(device)) as { imported: number; alreadyHad: number };
    expect(result).toMatchObject({ total: keys, failed: [] });
    // what a message on screen waits for may have been had one by one just before
    expect(result.imported + result.alreadyHad).toBe(keys);
    await readable(device.core, roomId);
    await device.core.stop();
  });
});

test("messages that arrive while a restore runs are read as they come, and the restore ends as it would have", async () => {
  const ana = await safe("ana");
  const ben = await safe("ben");
  const roomId = await conversation(ana, ben);
  const { total } = await uploaded(ana.core);
  await put(
    ana.account,
    madeUpBackup(
      await publicKeyOf(ana.account),
      Array.from({ length: 30 }, (_, n) => `!left${n}:x.test`),
      1500,
    ),
  );
  await ana.core.stop();
  const again = await newDevice(ana);
  await again.core.ok("trust.recover", { recoveryKey: ana.recoveryKey });
  await again.core.room(roomId);
  const running = restore(again.core);
  const arriving = Array.from({ length: 10 }, (_, n) => `arrives ${n}`);
  for (const body of arriving) await ben.core.send(roomId, body);
  const result = await running;
  expect(result).toMatchObject({ total: total + 1500, failed: [] });
  expect(result.imported + result.alreadyHad).toBe(total + 1500);
  await readable(again.core, roomId, [...said, ...arriving]);
});

test("rooms that were left and forgotten since come back too, under the same names", async () => {
  const ana = await safe("ana");
  const ben = await safe("ben");
  const stays = await conversation(ana, ben);
  const left = await conversation(ana, ben);
  const { total } = await uploaded(ana.core);
  await ana.core.ok("rooms.leave", { roomId: left });
  const token = ana.account.accessToken;
  await server().api("POST", `v3/rooms/${encodeURIComponent(left)}/forget`, { token, body: {} });
  const again = await newDevice(ana);
  await again.core.room(stays);
  expect(await restore(again.core, ana.recoveryKey)).toMatchObject({ total, failed: [] });
  const asked = again.proxy.seen({ method: "GET", path: /\/room_keys\/keys(\/[^/]+)?$/ });
  expect(asked.filter(({ path: one }) => decodeURIComponent(one).includes(left))).toEqual([]);
  await readable(again.core, stays);
  // invited again: what was said before can be read
  await ben.core.until(
    async () => (await ben.core.ok("rooms.members", { roomId: left })).every((one) => one.userId !== ana.userId),
    "the other has left",
  );
  await ben.core.ok("rooms.invite", { roomId: left, userId: ana.userId });
  await again.core.room(left);
  await again.core.ok("rooms.join", { room: left });
  await readable(again.core, left);
});

test("two new devices that restore at the same time get everything, and neither uploads anything", async () => {
  const ana = await safe("ana");
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
  await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), [roomId, "!left:x.test"], 1200));
  const devices = [await newDevice(ana), await newDevice(ana)];
  const results = await Promise.all(devices.map(({ core }) => restore(core, ana.recoveryKey)));
  for (const result of results) expect(result).toMatchObject({ total: 1200, imported: 1200, failed: [] });
  for (const device of devices) {
    await device.core.sync();
    expect(device.proxy.seen(isUpload)).toEqual([]);
  }
  expect((await versionOf(ana.account)).count).toBe(1200);
});

describe("the public suite's", () => {
  test("can back up keys", async () => {
    const ana = await safe("ana");
    const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
    await ana.core.say(roomId, "a key");
    expect(await uploaded(ana.core)).toMatchObject({ at: "on", total: 1 });
    expect((await versionOf(ana.account)).count).toBe(1);
  });

  test("import full backup in chunks", async () => {
    const ana = await safe("ana");
    const rooms = ["!a:x.test", "!b:x.test", "!c:x.test"];
    await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), rooms, 1000));
    const from = ana.core.events.length;
    expect(await restore(ana.core)).toMatchObject({ total: 1000, imported: 1000 });
    const told = ana.core.events.slice(from).flatMap((one) => (one.event === "backup.progress" ? [one.payload] : []));
    expect(told[0]).toMatchObject({ kind: "restore", done: 0, total: 1000 });
    expect(told.at(-1)).toMatchObject({ done: 1000, total: 1000, failed: 0 });
    for (const { done: at } of told) expect(at % 200).toBe(0);
  });

  test("continues if a chunk fails", async () => {
    const ana = await safe("ana");
    const rooms = madeUpBackup(await publicKeyOf(ana.account), ["!a:x.test", "!c:x.test"], 400);
    const sessions = Array.from({ length: 400 }, () => [madeUpSession().sessionId, backedUp({ mac: "none" })] as const);
    await put(ana.account, { ...rooms, "!b:x.test": { sessions: Object.fromEntries(sessions) } });
    const result = await restore(ana.core);
    expect(result).toMatchObject({ total: 800, imported: 400 });
    expect(result.failed).toHaveLength(400);
    expect(new Set(result.failed.map((one) => `${one.roomId} ${one.reason}`))).toEqual(
      new Set(["!b:x.test malformed"]),
    );
  });

  test("decryption key does not match", async () => {
    const ana = await safe("ana");
    await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), ["!a:x.test"], 10));
    // well-formed, and the private half of no backup of hers
    const recoveryKey = encodeRecoveryKey(backupKeyPair().privateKey);
    const answer = await ana.core.call("backup.restore", { operationId: randomUUID(), recoveryKey });
    expect(answer).toMatchObject({ ok: false, error: { code: "wrong-key", details: { kind: "recovery-key" } } });
    expect(ana.proxy.seen({ method: "GET", path: /\/room_keys\/keys/ })).toEqual([]);
  });

  test("backup loop survives network failures", async () => {
    const ana = await safe("ana");
    const faults = [
      ana.proxy.on(isUpload, { kind: "drop" }, { times: 1 }),
      ana.proxy.on(isUpload, { kind: "drop-response" }, { times: 1 }),
      ana.proxy.on(isUpload, { kind: "status", status: 500, body: {} }, { times: 1 }),
    ];
    const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
    await ana.core.say(roomId, "a key");
    await ana.core.until(async () => {
      const status = await ana.core.ok("backup.status", {});
      return status.at === "on" && status.total === 1 && status.backedUp === 1 && status.failure === undefined;
    }, "a whole backup, and no failure any more");
    expect(faults.map((one) => one.used)).toEqual([1, 1, 1]);
    expect((await versionOf(ana.account)).count).toBe(1);
  });
});

describe("a backup that another client made", () => {
  const algorithm = "m.megolm_backup.v1.curve25519-aes-sha2";
  const make = async (account: Account, authData: Record<string, unknown>) =>
    (
      await server().api<{ version: string }>("POST", "v3/room_keys/version", {
        token: account.accessToken,
        body: { algorithm, auth_data: authData },
      })
    ).version;
  /** By the account's master key, as a client that holds the identity signs. */
  const signed = async (ana: Person & { recoveryKey: string }, publicKey: string) => {
    const seed = await accountOnServer(server(), ana.account).secret("m.cross_signing.master", ana.recoveryKey);
    const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(seed, "base64")]);
    const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    expect(createPublicKey(key).asymmetricKeyType).toBe("ed25519");
    const bare = { public_key: publicKey };
    const signature = sign(null, Buffer.from(canonicalJson(bare)), key)
      .toString("base64")
      .replaceAll("=", "");
    return { ...bare, signatures: { [ana.userId]: { [`ed25519:${publicHalf(seed)}`]: signature } } };
  };
  const newKey = async (core: Core) => {
    const { roomId } = await core.ok("rooms.create", { kind: "group" });
    await core.say(roomId, "a key");
  };
  const statusIs = (core: Core, at: string) =>
    eventually(
      () => core.ok("backup.status", {}),
      (status) => status.at === at,
    );

  test("signed by the identity, it is found and filled without its key, which is said to be missing", async () => {
    const ana = await safe("ana");
    const { publicKey } = backupKeyPair();
    const version = await make(ana.account, await signed(ana, publicKey));
    await newKey(ana.core);
    const status = await eventually(
      () => ana.core.ok("backup.status", {}),
      (now) => now.at === "key-missing" && now.backedUp === 1 && !now.uploading,
    );
    expect(status).toMatchObject({ version, total: 1 });
    expect(await versionOf(ana.account)).toMatchObject({ version, count: 1 });
    expect(await ana.core.call("backup.restore", { operationId: randomUUID() })).toMatchObject({ ok: false });
  });

  test("signed by nobody, its key from secret storage is proof enough: trusted, used, and read", async () => {
    const ana = await safe("ana");
    const { publicKey, privateKey } = backupKeyPair();
    const version = await make(ana.account, { public_key: publicKey });
    await put(ana.account, madeUpBackup(publicKey, ["!a:x.test"], 20));
    const account = accountOnServer(server(), ana.account);
    const keyId = (await account.defaultKey()) ?? "";
    const name = "m.megolm_backup.v1";
    const secret = privateKey.toString("base64");
    await account.setData(name, {
      encrypted: { [keyId]: await account.seal(secret, decodeRecoveryKey(ana.recoveryKey), name) },
    });
    const again = await newDevice(ana);
    expect(await again.core.ok("trust.recover", { recoveryKey: ana.recoveryKey })).toEqual({ missing: [] });
    expect(await statusIs(again.core, "on")).toMatchObject({ version });
    expect(await restore(again.core)).toMatchObject({ total: 20, imported: 20, failed: [] });
    await newKey(again.core);
    expect(await uploaded(again.core)).toMatchObject({ version, total: 21 });
    expect((await versionOf(ana.account)).count).toBe(21);
  });

  test("signed by nobody and of a key that nobody gave, it is not trusted, said so, and gets nothing", async () => {
    const account = await server().register("not-trusting");
    const version = await make(account, { public_key: strangersKey(), signatures: {} });
    const ana = await person("ana", account);
    expect(await statusIs(ana.core, "not-trusted")).toMatchObject({ version, backedUp: 0 });
    await newKey(ana.core);
    await ana.core.sync();
    expect(await ana.core.ok("backup.status", {})).toMatchObject({ at: "not-trusted", total: 1, backedUp: 0 });
    expect(ana.proxy.seen(isUpload)).toEqual([]);
    expect(await ana.core.call("backup.restore", { operationId: randomUUID() })).toMatchObject({
      ok: false,
      error: { code: "not-found", details: { kind: "backup-key" } },
    });
  });
});

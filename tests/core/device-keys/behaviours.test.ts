import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { UserId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { inOrder } from "../../../main/core/features/device-keys/uploads.ts";
import { useHomeserver, isSync } from "../people.ts";
import type { Account, ClaimedKey } from "../../homeserver/homeserver.ts";
import {
  dayMs,
  deviceFolder,
  fallbackIds,
  hourMs,
  isUpload,
  oneTimeIds,
  uploadBody,
  useDevices,
  withUnused,
  type Device,
} from "./rig.ts";

/**
 * What homeservers were seen to do, by its number in the list of behaviours, on real Synapse where it does so and through the fault
 * proxy where another does. 17 (a wrong version echoed) and 18 (half a reset) are behaviours of the backup and of the identity.
 */
const people = useHomeserver();
const { server, person, room } = people;
const made = useDevices(people);
/** Claims until nothing but the fallback key is left, whatever the device uploads meanwhile. */
const useUp = async ({ userId, deviceId }: Account): Promise<ClaimedKey> => {
  const { fallback } = await server().claimAllOneTimeKeysOf({ userId, deviceId });
  if (fallback === undefined) throw new Error("The fallback key was not handed out.");
  return fallback;
};
const isClaim = { method: "POST", path: /\/keys\/claim$/ };

/** Bob's device makes an Olm session with Ana's, and says whether it could. */
async function reaches(bob: Device, ana: Account): Promise<boolean> {
  const users = () => [new UserId(ana.userId)];
  await bob.crypto.track([ana.userId]);
  await bob.crypto.processOutgoing();
  await bob.crypto.inner.backend.keyClaimManager.ensureSessionsForUsers(quiet, users());
  return (await bob.crypto.inner.machine.getMissingSessions(users())) === null;
}
const nothing = () => undefined;
const quiet = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing, getChild: () => quiet };

test("1: a server that never sends the field counts as one without fallback keys, and nothing is rotated", async () => {
  const { proxy, start, clock } = await made("one");
  proxy.on(isSync, withUnused(undefined));
  const device = await start();
  expect(device.status().fallback.support).toBe("unknown");
  for (let syncs = 0; syncs < 4; syncs++) {
    await device.sync();
    clock.nowMs += dayMs;
  }
  expect(device.status().fallback.support).toBe("unsupported");
  expect(fallbackIds(proxy.seen(isUpload))).toEqual([]);
  expect(device.problems()).toEqual([]);
});

test("2: support belongs to the account: where one answer lacks the field no key counts as used", async () => {
  const { proxy, start, clock } = await made("two");
  const device = await start();
  await device.sync();
  const before = device.status().fallback.current;
  const rule = proxy.on(isSync, withUnused(undefined));
  clock.nowMs += dayMs;
  for (let syncs = 0; syncs < 3; syncs++) await device.sync();
  expect(device.status().fallback).toMatchObject({ support: "supported", unusedOnServer: true });
  rule.remove();
  await device.sync();
  expect(device.status().fallback.current).toEqual(before);
  expect(fallbackIds(proxy.seen(isUpload))).toHaveLength(1);
});

test("3: an empty list means never uploaded or used, and the own history tells which", async () => {
  const { proxy, mine, start } = await made("three");
  const device = await start();
  const batch = await device.sync();
  expect(batch.unusedFallbackKeys).toEqual([]);
  expect(device.kinds()).not.toContain("reported-used");
  expect(device.kinds()).not.toContain("rotated");
  const { keyId } = await useUp(mine);
  expect((await device.sync()).unusedFallbackKeys).toEqual([]);
  expect(device.kinds()).toContain("reported-used");
  const [first, second] = fallbackIds(proxy.seen(isUpload));
  expect(`signed_curve25519:${first}`).toBe(keyId);
  expect(device.status().fallback.current?.keyId).toBe(second);
});

test("4: a server that drops fallback keys with 200 gets one an interval, which doubles to a day, and is named", async () => {
  const { proxy, start, clock } = await made("four");
  proxy.on(isUpload, {
    kind: "rewrite-request",
    json: (body) => {
      const { fallback_keys: _dropped, ...others } = body as Record<string, unknown>;
      return others;
    },
  });
  proxy.on(isSync, withUnused([]));
  const device = await start();
  const startedMs = clock.nowMs;
  const uploadedAt: number[] = [];
  for (let step = 0; step < 4 * 24 * 2; step++) {
    const before = device.status().fallback.current?.keyId;
    await device.sync();
    if (device.status().fallback.current?.keyId !== before) uploadedAt.push(clock.nowMs - startedMs);
    clock.nowMs += hourMs / 2;
  }
  const gaps = uploadedAt.slice(1).map((at, index) => at - (uploadedAt[index] ?? 0));
  // the first may have been used at once; from then on 1, 2, 4, 8, 16 and 24 hours
  const hours = gaps.slice(1).map((gap) => Math.round(gap / hourMs));
  expect(hours).toEqual(hours.map((_, index) => Math.min(2 ** index, 24)));
  expect(gaps.length).toBeGreaterThan(7);
  expect(device.problems()).toEqual(["server-drops-fallback-keys"]);
  // the server changes its mind
  proxy.clear();
  clock.nowMs += dayMs;
  await device.sync();
  await device.sync();
  expect(device.problems()).toEqual([]);
  expect(device.kinds().slice(0, 3)).toContain("recovered");
}, 240_000);

test("5: a claim does not end a long poll, and the next sync replaces the key all the same", async () => {
  const alice = await person("five");
  const keyBefore = await alice.core.until(
    async () => (await alice.core.ok("deviceKeys.status", {})).fallback.current?.keyId,
  );
  await useUp(alice.account);
  await alice.core.sync();
  await alice.core.until(async () => {
    const { current } = (await alice.core.ok("deviceKeys.status", {})).fallback;
    return current !== undefined && current.keyId !== keyBefore;
  });
});

test("6: a used key is handed to everyone, and what they write is read, also after it was replaced", async () => {
  const [ana, ben, cem] = await Promise.all([person("ana"), person("ben"), person("cem")]);
  await ana.core.until(async () => (await ana.core.ok("deviceKeys.status", {})).fallback.current);
  ana.proxy.setOnline(false);
  await server().claimAllOneTimeKeysOf(ana.account);
  const ids = [];
  for (const other of [ben, cem]) {
    const roomId = (await other.core.ok("rooms.create", { kind: "group", invite: [ana.userId], encrypted: true }))
      .roomId;
    await other.core.say(roomId, `from ${other.userId}`);
    ids.push(roomId);
  }
  const claims = [ben, cem].flatMap(({ proxy }) =>
    proxy.seen(isClaim).map((one) => one.responseBody?.toString("utf8") ?? ""),
  );
  expect(claims.filter((answer) => answer.includes('"fallback":true')).length).toBe(2);
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
  for (const [index, other] of [ben, cem].entries()) {
    const roomId = ids[index] ?? "";
    await ana.core.room(roomId);
    await ana.core.ok("rooms.join", { room: roomId });
    await ana.core.message(roomId, `from ${other.userId}`);
  }
  // the report of the use may come with a later sync than the messages
  await ana.core.until(
    async () => (await ana.core.ok("deviceKeys.status", {})).fallback.previous !== undefined,
    "the replaced key",
  );
});

test("7: the same fallback key is never uploaded twice, and keys go up in the order of canonical JSON", async () => {
  const { proxy, mine, start, clock } = await made("seven");
  const device = await start();
  for (let times = 0; times < 3; times++) {
    await device.sync();
    await device.sync();
    await useUp(mine);
    clock.nowMs += 2 * hourMs;
    await device.sync();
  }
  const uploads = proxy.seen(isUpload);
  const ids = fallbackIds(uploads);
  expect(ids.length).toBeGreaterThan(3);
  expect(new Set(ids).size).toBe(ids.length);
  for (const upload of uploads) {
    const text = upload.requestBody.toString("utf8");
    expect(text).toBe(JSON.stringify(inOrder(JSON.parse(text))));
  }
});

test("8: one key an algorithm, marked as fallback; a peer's that lacks the mark is taken as well", async () => {
  const [ana, bob] = [await made("eight-a"), await made("eight-b")];
  const device = await ana.start();
  await device.sync();
  for (const upload of ana.proxy.seen(isUpload)) {
    const keys = Object.values(uploadBody(upload).fallback_keys ?? {});
    expect(keys.length).toBeLessThanOrEqual(1);
    for (const key of keys) expect(key.fallback).toBe(true);
  }
  const key = { key: randomBytes(32).toString("base64").replace(/=+$/, "") };
  const signatures = JSON.parse((await device.crypto.inner.machine.sign(JSON.stringify(key))).asJSON()) as unknown;
  await server().api("POST", "v3/keys/upload", {
    token: ana.mine.accessToken,
    body: { fallback_keys: { "signed_curve25519:unmarked": { ...key, signatures } } },
  });
  await server().claimAllOneTimeKeysOf(ana.mine);
  const other = await bob.start();
  await other.sync();
  expect(await reaches(other, ana.mine)).toBe(true);
  expect(bob.proxy.seen(isClaim)[0]?.responseBody?.toString("utf8")).toContain("unmarked");
});

test("9: a missing count is zero with sync v2, and still makes no loop of uploads", async () => {
  const { proxy, start, clock } = await made("nine");
  proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => {
      const { device_one_time_keys_count: _left, ...others } = body as Record<string, unknown>;
      return others;
    },
  });
  const device = await start();
  for (let syncs = 0; syncs < 10; syncs++) await device.sync();
  const ofKeys = () => proxy.seen(isUpload).filter((upload) => oneTimeIds(upload).length > 0);
  expect(ofKeys()).toHaveLength(1);
  // an upload of nothing asks once an interval, and what was claimed meanwhile is filled up
  await server().claimAllOneTimeKeysOf(device.account);
  clock.nowMs += hourMs + 1;
  await device.sync();
  await device.sync();
  expect(ofKeys().map((upload) => oneTimeIds(upload).length)).toEqual([50, 50]);
  expect(device.status().oneTime.onServer).toBe(50);
});

test("9: an upload's answer without the count is zero, and still makes no loop of uploads", async () => {
  const { proxy, start } = await made("nine-b");
  proxy.on(isUpload, { kind: "rewrite-response", json: () => ({ one_time_key_counts: {} }) });
  const device = await start();
  await device.sync();
  expect(device.status().oneTime.onServer).toBe(0);
  for (let syncs = 0; syncs < 5; syncs++) await device.sync();
  expect(device.status().oneTime.onServer).toBe(50);
  expect(proxy.seen(isUpload)).toHaveLength(1);
});

test("10: a report of a sync that began before an upload finished starts nothing", async () => {
  const { proxy, start } = await made("ten");
  const device = await start();
  const held = proxy.on(isUpload, { kind: "hold" });
  // the first upload leaves after the first sync and hangs
  const first = device.sync();
  await proxy.waitFor(isUpload, { state: "arrived" });
  const report = await device.sync(async () => {
    held.release();
    await first;
  });
  expect(report.unusedFallbackKeys).toEqual([]);
  expect(report.counts["signed_curve25519"] ?? 0).toBe(0);
  for (let syncs = 0; syncs < 3; syncs++) await device.sync();
  expect(proxy.seen(isUpload)).toHaveLength(1);
  expect(device.kinds()).not.toContain("reported-used");
});

test("11: where the server has another key under an id, that id is lost and skipped, and all else goes up", async () => {
  const { mine, proxy, start, clock } = await made("eleven");
  const foreign = { key: randomBytes(32).toString("base64"), signatures: {} };
  await server().api("POST", "v3/keys/upload", {
    token: mine.accessToken,
    body: { one_time_keys: { "signed_curve25519:AAAAAAAAAAo": foreign } },
  });
  const device = await start();
  await device.sync();
  const [refused, taken, ...more] = proxy.seen(isUpload);
  if (refused === undefined || taken === undefined) throw new Error("two uploads were expected");
  expect(refused.status).toBe(400);
  expect(oneTimeIds(refused)).toContain("AAAAAAAAAAo");
  expect(oneTimeIds(taken)).toEqual(oneTimeIds(refused).filter((id) => id !== "AAAAAAAAAAo"));
  expect(more).toEqual([]);
  expect(device.problems()).toEqual(["one-time-key-conflict"]);
  expect(device.status().log).toContainEqual(expect.objectContaining({ kind: "rejected", keyId: "AAAAAAAAAAo" }));
  for (let syncs = 0; syncs < 3; syncs++) await device.sync();
  expect(proxy.seen(isUpload)).toHaveLength(2);
  // the next upload without a conflict ends the problem
  await server().claimAllOneTimeKeysOf(mine);
  clock.nowMs += 61_000;
  await device.sync();
  expect(device.problems()).toEqual([]);
  expect(device.kinds()).toContain("recovered");
});

test("11: a server that refuses every upload so gets no more than five in the first minute", async () => {
  const { proxy, start, clock } = await made("eleven-b");
  proxy.on(isUpload, {
    kind: "status",
    status: 400,
    body: { errcode: "M_UNKNOWN", error: "One time key signed_curve25519:AAAAAAAAAA0 already exists." },
  });
  const device = await start();
  const startedMs = clock.nowMs;
  for (; clock.nowMs < startedMs + 60_000; clock.nowMs += 2_500) await device.sync();
  expect(proxy.seen(isUpload).length).toBeGreaterThan(1);
  expect(proxy.seen(isUpload).length).toBeLessThanOrEqual(5);
  expect(device.problems()).toEqual(expect.arrayContaining(["one-time-key-conflict", "upload-failing"]));
  for (; clock.nowMs < startedMs + hourMs; clock.nowMs += 300_000) await device.sync();
  expect(proxy.seen(isUpload).length).toBeLessThan(20);
  proxy.clear();
  clock.nowMs += hourMs;
  await device.sync();
  expect(device.problems()).not.toContain("upload-failing");
  expect(device.status().fallback.current).toBeDefined();
  expect(device.kinds()).toContain("recovered");
});

test("12: keys that had arrived before the answer was lost are not uploaded again, so none is handed out twice", async () => {
  const { proxy, mine, clock, start } = await made("twelve");
  proxy.on(isUpload, { kind: "drop-response" }, { times: 1 });
  const device = await start();
  await device.sync();
  const first = proxy.seen(isUpload)[0];
  const claimed = await server().claim(mine);
  // as SIGKILL does: nothing of it was learned
  await device.end();
  clock.nowMs += 60_000;
  const again = await start(device.folder);
  await again.sync();
  const uploads = proxy.seen(isUpload).slice(1);
  const ids = first === undefined ? [] : oneTimeIds(first);
  expect(ids).toContain(claimed?.keyId.replace("signed_curve25519:", ""));
  expect(uploads.flatMap(oneTimeIds).filter((id) => ids.includes(id))).toEqual([]);
  const later = await server().claimAllOneTimeKeysOf(mine);
  expect(later.oneTime.map((key) => key.keyId)).not.toContain(claimed?.keyId);
  expect(again.status()).toMatchObject({ oneTime: { uploadedTotal: 50 + uploads.flatMap(oneTimeIds).length } });
  expect(again.status().fallback.current).toBeDefined();
  expect(again.problems()).toEqual([]);
});

test("13: keys are claimed in any order: the newest opens as well as the oldest", async () => {
  const ana = await person("thirteen-a");
  await ana.core.until(async () => (await ana.core.ok("deviceKeys.status", {})).oneTime.onServer);
  const { oneTime } = await server().claimAllOneTimeKeysOf({ ...ana.account });
  const order = oneTime.toReversed();
  const chosen = [order[0], order[49]].filter((key) => key !== undefined);
  expect(chosen.length).toBe(2);
  for (const [index, key] of chosen.entries()) {
    const ben = await person(`thirteen-${index}`);
    ben.proxy.on(isClaim, {
      kind: "rewrite-response",
      json: () => ({
        failures: {},
        one_time_keys: { [ana.userId]: { [ana.account.deviceId]: { [key.keyId]: key.body } } },
      }),
    });
    const roomId = await room(ben, [ana], { encrypted: true });
    await ben.core.send(roomId, `with ${key.keyId}`);
    await ana.core.message(roomId, `with ${key.keyId}`);
  }
});

test("14: a device id that comes back with other identity keys is not believed", async () => {
  const [ana, bob] = [await made("fourteen-a"), await made("fourteen-b")];
  const before = await ana.start();
  await before.sync();
  const other = await bob.start();
  await other.sync();
  expect(await reaches(other, ana.mine)).toBe(true);
  await before.end();
  // the same device id with an empty store: what must not be done, and Synapse lets pass
  const after = await ana.start(deviceFolder());
  await after.sync();
  expect(after.crypto.fingerprint).not.toBe(before.crypto.fingerprint);
  await other.crypto.inner.machine.markAllTrackedUsersAsDirty();
  await other.crypto.processOutgoing();
  const devices = await other.crypto.inner.machine.getUserDevices(new UserId(ana.mine.userId));
  const keys = devices.devices().map((device) => device.ed25519Key?.toBase64());
  expect(keys).toEqual([before.crypto.fingerprint]);
});

test("15: a device without keys, or a server that is down, is asked again later", async () => {
  const [ana, bob] = [await made("fifteen-a"), await made("fifteen-b")];
  const device = await ana.start();
  await device.sync();
  const other = await bob.start();
  await other.sync();
  const none = bob.proxy.on(isClaim, {
    kind: "status",
    status: 200,
    body: { one_time_keys: {}, failures: { "tessera.test": { status: 503 } } },
  });
  const claims = () => bob.proxy.seen(isClaim).length;
  while (claims() === 0) await reaches(other, ana.mine);
  none.remove();
  // Rust crypto leaves such a device in peace for some seconds first
  while (claims() === 1) {
    await reaches(other, ana.mine);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  expect(await reaches(other, ana.mine)).toBe(true);
  expect(bob.proxy.seen(isClaim).at(-1)?.responseBody?.toString("utf8")).toContain("signed_curve25519:");
});

test("16: no empty part and no unstable name goes up", async () => {
  const { proxy, mine, start, clock } = await made("sixteen");
  const device = await start();
  await device.sync();
  await device.sync();
  await server().claimAllOneTimeKeysOf(mine);
  await device.sync();
  await useUp(mine);
  clock.nowMs += 2 * hourMs;
  await device.sync();
  const uploads = proxy.seen(isUpload);
  expect(uploads.length).toBeGreaterThan(2);
  for (const upload of uploads)
    for (const [name, part] of Object.entries(uploadBody(upload))) {
      expect(["device_keys", "one_time_keys", "fallback_keys"]).toContain(name);
      expect(Object.keys(part as object).length).toBeGreaterThan(0);
    }
});

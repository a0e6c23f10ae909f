import { cpSync } from "node:fs";
import { expect, test } from "vitest";
import { eventually } from "../../eventually.ts";
import type { FaultProxy } from "../../homeserver/fault-proxy.ts";
import { useHomeserver } from "../people.ts";
import { dayMs, deviceFolder, fallbackId, fallbackIds, hourMs, isUpload, oneTimeIds, useDevices } from "./rig.ts";

const people = useHomeserver();
const { server } = people;
const made = useDevices(people);
const isMark = { method: "PUT", path: /\/account_data\// };
/** So many runs have left their mark. */
const marksLeft = (proxy: FaultProxy, count: number) =>
  eventually(
    () => proxy.seen(isMark).filter((one) => one.endedMs !== undefined).length,
    (left) => left >= count,
  );

test("an upload that failed is tried again after 2, 5, 10 and 20 seconds, and is a problem from the second time on", async () => {
  const { proxy, clock, start } = await made("retried");
  const rule = proxy.on(isUpload, { kind: "status", status: 503, body: {} });
  const device = await start();
  const startedMs = clock.nowMs;
  const triedAt: number[] = [];
  for (; clock.nowMs < startedMs + 60_000; clock.nowMs += 1_000) {
    const before = proxy.seen(isUpload).length;
    await device.sync();
    if (proxy.seen(isUpload).length > before) triedAt.push((clock.nowMs - startedMs) / 1_000);
    expect(device.problems()).toEqual(triedAt.length < 2 ? [] : ["upload-failing"]);
  }
  expect(triedAt).toEqual([0, 2, 7, 17, 37]);
  rule.remove();
  clock.nowMs += 60_000;
  await device.sync();
  expect(device.problems()).toEqual([]);
  expect(device.kinds()[0]).toBe("recovered");
  expect(await server().claim(device.account)).toBeDefined();
});

test("an upload that the server asks to wait with leaves after that, also across a restart", async () => {
  const { proxy, clock, start } = await made("limited");
  proxy.on(
    isUpload,
    { kind: "status", status: 429, body: { errcode: "M_LIMIT_EXCEEDED", retry_after_ms: 120_000 } },
    { times: 1 },
  );
  const device = await start();
  await device.sync();
  await device.end();
  clock.nowMs += 100_000;
  const again = await start(device.folder);
  await again.sync();
  expect(proxy.seen(isUpload)).toHaveLength(1);
  clock.nowMs += 21_000;
  await again.sync();
  expect(proxy.seen(isUpload)).toHaveLength(2);
  expect(again.status().fallback.current).toBeDefined();
});

test("a rotation whose answer was lost, and then the process, goes on with the same new key", async () => {
  const { proxy, mine, clock, start } = await made("lost");
  const device = await start();
  await device.sync();
  await device.sync();
  await server().claimAllOneTimeKeysOf({ userId: mine.userId, deviceId: mine.deviceId });
  proxy.on(isUpload, { kind: "drop-response" }, { times: 1 });
  await device.sync();
  const [first, second] = fallbackIds(proxy.seen(isUpload));
  await device.end();
  clock.nowMs += 10_000;
  const again = await start(device.folder);
  await again.sync();
  await again.sync();
  expect(again.status().fallback).toMatchObject({ current: { keyId: second }, previous: { keyId: first } });
  expect(new Set(fallbackIds(proxy.seen(isUpload)))).toEqual(new Set([first, second]));
  expect(again.problems()).toEqual([]);
});

test("a rotation that never reached the server is finished after a kill, and not begun a second time", async () => {
  const { proxy, mine, clock, start } = await made("dropped");
  const device = await start();
  await device.sync();
  const first = device.status().fallback.current?.keyId;
  await server().claimAllOneTimeKeysOf({ userId: mine.userId, deviceId: mine.deviceId });
  const rule = proxy.on(isUpload, { kind: "drop" });
  await device.sync();
  await device.sync();
  await device.end();
  rule.remove();
  clock.nowMs += 120_000;
  const again = await start(device.folder);
  await again.sync();
  const ids = fallbackIds(proxy.seen(isUpload).filter((upload) => upload.status === 200));
  expect(ids).toHaveLength(2);
  expect(again.status().fallback).toMatchObject({ current: { keyId: ids[1] }, previous: { keyId: first } });
});

test("the interval after a rotation holds across a kill", async () => {
  const { proxy, mine, clock, start } = await made("interval");
  const used = { userId: mine.userId, deviceId: mine.deviceId };
  const device = await start();
  await device.sync();
  await server().claimAllOneTimeKeysOf(used);
  await device.sync();
  await device.sync();
  await device.end();
  const again = await start(device.folder);
  await again.sync();
  await server().claimAllOneTimeKeysOf(used);
  await again.sync();
  expect(fallbackIds(proxy.seen(isUpload))).toHaveLength(2);
  clock.nowMs += hourMs;
  await again.sync();
  expect(fallbackIds(proxy.seen(isUpload))).toHaveLength(3);
});

test("a key that is not up yet does not count as published when an earlier upload is answered", async () => {
  const { proxy, mine, start } = await made("race");
  const device = await start();
  await device.sync();
  const first = device.status().fallback.current?.keyId;
  // a top-up hangs, and meanwhile the key is reported used
  await server().claimAllOneTimeKeysOf(mine);
  const held = proxy.on(isUpload, { kind: "hold" });
  const topUp = device.sync();
  const arrived = await proxy.waitFor(
    { ...isUpload, when: (one) => oneTimeIds(one).length > 0 && one.n > 3 },
    { state: "arrived" },
  );
  expect(fallbackId(arrived)).toBeUndefined();
  const claimed = await server().claim(mine);
  expect(claimed?.fallback).toBe(true);
  await device.deviceKeys.receive(device.crypto, {
    toDevice: [],
    changed: [],
    left: [],
    counts: { signed_curve25519: 0 },
    unusedFallbackKeys: [],
    accountData: [],
  });
  held.release();
  await topUp;
  expect(device.status().fallback.current?.keyId).toBe(first);
  await device.sync();
  const second = device.status().fallback.current?.keyId;
  expect(second).not.toBe(first);
  // what the server hands out is what is shown
  const { fallback } = await server().claimAllOneTimeKeysOf({ userId: mine.userId, deviceId: mine.deviceId });
  expect(fallback?.keyId).toBe(`signed_curve25519:${second}`);
});

test("a profile that was copied and run elsewhere is recognised by both, and by neither where it was only restarted", async () => {
  const { proxy, start, clock } = await made("cloned");
  const device = await start();
  await device.sync();
  await marksLeft(proxy, 1);
  await device.end();
  const copy = deviceFolder();
  cpSync(device.folder, copy, { recursive: true });

  const original = await start(device.folder);
  await original.sync();
  await marksLeft(proxy, 2);
  await original.sync();
  expect(original.problems()).toEqual([]);

  const other = await start(copy);
  await other.sync();
  await eventually(other.problems, (codes) => codes.includes("cloned-profile"));
  // the copy's own run is seen by the original as soon as it syncs
  await marksLeft(proxy, 3);
  await original.sync();
  expect(original.problems()).toEqual(["cloned-profile"]);
  expect(original.status().log).toContainEqual(
    expect.objectContaining({ kind: "rejected", detail: "another copy ran" }),
  );
  await other.end();

  // a week without a sign of it, and it is taken to be gone
  await original.end();
  clock.nowMs += 8 * dayMs;
  const later = await start(device.folder);
  expect(later.problems()).toEqual(["cloned-profile"]);
  await later.sync();
  await eventually(later.problems, (codes) => codes.length === 0);
});

test("keys of a copy that are on the server under our ids are skipped, the rest goes up, and it is shown", async () => {
  const { proxy, mine, start, clock } = await made("same-ids");
  const device = await start();
  await device.sync();
  await marksLeft(proxy, 1);
  await device.end();
  const copy = deviceFolder();
  cpSync(device.folder, copy, { recursive: true });
  // both make keys of the same ids from here on
  await server().claimAllOneTimeKeysOf(mine);
  const other = await start(copy);
  await other.sync();
  await marksLeft(proxy, 2);
  await other.end();
  await server().claim(mine);
  const from = proxy.seen(isUpload).length;
  const original = await start(device.folder);
  await original.sync();
  const uploads = proxy.seen(isUpload).slice(from);
  expect(uploads.some((upload) => upload.status === 400)).toBe(true);
  expect(uploads.length).toBeLessThanOrEqual(5);
  expect(original.problems()).toContain("one-time-key-conflict");
  await eventually(original.problems, (codes) => codes.includes("cloned-profile"));
  for (let syncs = 0; syncs < 3; syncs++) await original.sync();
  expect(proxy.seen(isUpload).length - from).toBeLessThanOrEqual(5);
  clock.nowMs += 61_000;
  await original.sync();
  expect(proxy.seen(isUpload).length - from).toBeLessThanOrEqual(10);
});

test("a clock that is far from the server's is a problem until it is not", async () => {
  const { clock, start } = await made("skew");
  const device = await start();
  const codes = () => device.status().problems.map((problem) => problem.code);
  await device.sync();
  expect(codes()).toEqual([]);
  clock.nowMs += hourMs;
  for (let syncs = 0; syncs < 3; syncs++) await device.sync();
  expect(codes()).toEqual(["clock-skew"]);
  clock.nowMs -= hourMs;
  await device.sync();
  expect(codes()).toEqual([]);
  expect(device.kinds()[0]).toBe("recovered");
});

test("a clock that was set back by days makes no rotation at each sync", async () => {
  const { proxy, clock, start } = await made("back");
  const device = await start();
  await device.sync();
  clock.nowMs -= 3 * dayMs;
  for (let syncs = 0; syncs < 4; syncs++) await device.sync();
  expect(fallbackIds(proxy.seen(isUpload))).toHaveLength(1);
});

test("one mark of a run goes into the account data, with nothing of the keys in it", async () => {
  const { proxy, start } = await made("mark");
  const device = await start();
  for (let syncs = 0; syncs < 3; syncs++) await device.sync();
  await marksLeft(proxy, 1);
  await device.sync();
  const written = proxy.seen(isMark);
  expect(written).toHaveLength(1);
  expect(JSON.parse(written[0]?.requestBody.toString("utf8") ?? "{}")).toEqual({
    run: 1,
    mark: expect.stringMatching(/^[\w-]{16}$/) as string,
  });
});

test("status and events name ids alone, newest rows first, and an unchanged sync tells nothing", async () => {
  const { start } = await made("told");
  const device = await start();
  await device.sync();
  await device.sync();
  const before = device.told.length;
  expect(before).toBeGreaterThan(0);
  await device.sync();
  expect(device.told.length).toBe(before);
  const status = device.status();
  expect(status.log.map((row) => row.atMs)).toEqual(status.log.map((row) => row.atMs).toSorted((a, b) => b - a));
  expect(JSON.stringify(status)).not.toMatch(/[A-Za-z0-9+/]{43}/);
});

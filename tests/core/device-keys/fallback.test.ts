import { expect, test } from "vitest";
import { useHomeserver } from "../people.ts";
import {
  dayMs,
  fallbackId,
  fallbackIds,
  hourMs,
  isUpload,
  oneTimeIds,
  startDevice,
  uploadBody,
  useDevices,
} from "./rig.ts";

const people = useHomeserver();
const { server } = people;
const made = useDevices(people);

/** A device whose first keys are up. */
async function started(name: string) {
  const { proxy, mine, clock, start } = await made(name);
  const device = await start();
  await device.sync();
  const usedUp = async () => {
    await server().claimAllOneTimeKeysOf(mine);
    const claimed = await server().claim(mine);
    expect(claimed?.fallback).toBe(true);
    return claimed?.keyId.replace("signed_curve25519:", "");
  };
  return { proxy, mine, clock, device, usedUp };
}

test("a new device uploads a signed fallback key with its first keys", async () => {
  const { proxy, device } = await started("new");
  const uploads = proxy.seen(isUpload);
  expect(uploads).toHaveLength(1);
  const [first] = uploads;
  if (first === undefined) throw new Error("no upload");
  expect(uploadBody(first).device_keys).toBeDefined();
  expect(oneTimeIds(first)).toHaveLength(50);
  const [key] = Object.values(uploadBody(first).fallback_keys ?? {});
  expect(key).toMatchObject({ fallback: true, signatures: expect.any(Object) as object });
  expect(device.status()).toMatchObject({
    oneTime: { onServer: 50, target: 50, uploadedTotal: 50 },
    fallback: { support: "supported", current: { keyId: fallbackId(first) }, unusedOnServer: true },
    problems: [],
  });
});

test("a fallback key that was used is replaced at that sync, also when it was uploaded seconds ago", async () => {
  const { proxy, device, usedUp } = await started("seconds");
  await device.sync();
  const used = await usedUp();
  await device.sync();
  const [first, second, ...more] = fallbackIds(proxy.seen(isUpload));
  expect(first).toBe(used);
  expect(second).not.toBe(first);
  expect(more).toEqual([]);
  const { fallback } = device.status();
  expect(fallback.current?.keyId).toBe(second);
  expect(fallback.previous).toEqual({ keyId: first, forgetAfterMs: device.clock.nowMs + hourMs });
  expect(device.kinds()).toContain("rotated");
  expect(device.kinds()).toContain("reported-used");
  const claimed = await server().claim(device.account);
  // the top-up came with it
  expect(claimed?.fallback).toBe(false);
});

test("a further rotation within an hour waits, and comes after it", async () => {
  const { proxy, device, clock, usedUp } = await started("hour");
  await usedUp();
  await device.sync();
  await device.sync();
  await usedUp();
  await device.sync();
  await device.sync();
  expect(fallbackIds(proxy.seen(isUpload))).toHaveLength(2);
  clock.nowMs += hourMs + 1;
  await device.sync();
  expect(fallbackIds(proxy.seen(isUpload))).toHaveLength(3);
  expect(new Set(fallbackIds(proxy.seen(isUpload))).size).toBe(3);
});

test("the key before is forgotten an hour after it was last reported used, by one further rotation", async () => {
  const { proxy, device, clock, usedUp } = await started("forget");
  const used = await usedUp();
  await device.sync();
  await device.sync();
  clock.nowMs += hourMs - 60_000;
  await device.sync();
  expect(device.status().fallback.previous?.keyId).toBe(used);
  clock.nowMs += 61_000;
  await device.sync();
  expect(device.status().log).toContainEqual({ atMs: clock.nowMs, kind: "forgotten", keyId: used });
  // the key in between was never used: nothing has to be forgotten in a hurry
  expect(device.status().fallback.previous?.forgetAfterMs).toBeUndefined();
  for (let days = 0; days < 3; days++) {
    clock.nowMs += dayMs;
    await device.sync();
  }
  expect(fallbackIds(proxy.seen(isUpload))).toHaveLength(3);
});

test("it is forgotten at the next start where the app was closed meanwhile", async () => {
  const { proxy, mine, device, clock, usedUp } = await started("closed");
  const used = await usedUp();
  await device.sync();
  await device.end();
  clock.nowMs += 20 * dayMs;
  const again = await startDevice(mine, proxy.url, { folder: device.folder, clock });
  await again.sync();
  expect(again.status().log).toContainEqual({ atMs: clock.nowMs, kind: "forgotten", keyId: used });
});

import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { newPerson, type Person } from "./people.ts";

let homeserver: Homeserver;
let ana: Person;
beforeAll(async () => {
  homeserver = await startHomeserver();
  ana = await newPerson(homeserver.url, "ana");
});
afterAll(async () => {
  await ana.app.remove();
  await homeserver.stop();
});

const fallback = async () => (await ana.app.call("deviceKeys.status", {})).fallback;

/** The clock seam stands in the built bundle as well: without it the status would say `unsupported`, and a used key would stay. */
test("the built app replaces a fallback key that was used, and tells it", async () => {
  const before = await eventually(fallback, ({ current }) => current !== undefined);
  expect(before.support).toBe("supported");
  const claimed = await homeserver.claimAllOneTimeKeysOf({ userId: ana.userId, deviceId: ana.deviceId });
  expect(claimed.fallback?.keyId).toBe(`signed_curve25519:${before.current?.keyId}`);
  // the server wakes no poll for it
  await eventually(
    async () => {
      await ana.app.call("account.sync", {});
      return await ana.app.call("deviceKeys.status", {});
    },
    (status) => status.fallback.previous !== undefined && (status.oneTime.onServer ?? 0) > 0,
  );
  await ana.app.waitFor(
    ({ event, payload }) =>
      event === "deviceKeys.changed" &&
      (payload as { status: { fallback: { previous?: unknown } } }).status.fallback.previous !== undefined,
  );
  const after = await fallback();
  expect(after).toMatchObject({ support: "supported", previous: { keyId: before.current?.keyId } });
  expect(after.current?.keyId).not.toBe(before.current?.keyId);
  expect((await homeserver.claim({ userId: ana.userId, deviceId: ana.deviceId }))?.fallback).toBe(false);
});

test("what the app knows of its keys is there after a restart", async () => {
  const before = await fallback();
  await ana.app.stop();
  await ana.app.start();
  await ana.app.call("account.sync", {});
  const after = await eventually(fallback, ({ support }) => support === "supported");
  expect(after.current).toEqual(before.current);
  expect(after.previous).toEqual(before.previous);
  const { problems, log } = await ana.app.call("deviceKeys.status", {});
  expect(problems).toEqual([]);
  expect(log.map((row) => row.kind)).toContain("rotated");
});

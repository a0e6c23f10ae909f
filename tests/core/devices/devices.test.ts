import { expect, test } from "vitest";
import { isSync, useHomeserver, type Person } from "../people.ts";

const people = useHomeserver();
const isDeleteAll = { method: "POST", path: /\/v3\/delete_devices$/ };
const isDevices = { method: "GET", path: /\/v3\/devices$/ };
const unrecognised = { kind: "status", status: 404, body: { errcode: "M_UNRECOGNIZED" } } as const;

/** A person and a second device of theirs, which the first knows. */
async function twoDevices(name: string) {
  const first = await people.person(name);
  const second = await people.person(name, await people.server().login(first.account));
  await first.core.until(
    async () => (await list(first)).length === 2 && (await list(first)).every((one) => one.fingerprint),
  );
  return { first, second, secondId: second.account.deviceId };
}
const list = ({ core }: Person) => core.ok("devices.list", {});
const ids = async (person: Person) => (await list(person)).map(({ deviceId }) => deviceId);

test("one's own devices are listed as the server and their keys have them, and renamed", async () => {
  const { first, secondId } = await twoDevices("alice");
  const [own, other] = await list(first);
  expect(own).toMatchObject({ deviceId: first.account.deviceId, current: true, signedByOwner: false, blocked: false });
  expect(other).toMatchObject({ deviceId: secondId, current: false, verified: false, stale: false, dehydrated: false });
  const { status } = await first.core.nextEvent(
    "account.changed",
    (changed) => changed.status.at === "signed-in" && changed.status.fingerprint !== undefined,
  );
  expect(status).toHaveProperty("fingerprint", own?.fingerprint);
  await first.core.ok("devices.rename", { deviceId: secondId, name: "The old laptop" });
  expect((await list(first)).find(({ deviceId }) => deviceId === secondId)?.name).toBe("The old laptop");
  expect(await first.core.call("devices.rename", { deviceId: "NOWHERE", name: "x" })).toMatchObject({
    ok: false,
    error: { code: "not-found" },
  });
});

test("a device that was not seen for ninety days is stale, and one without keys is listed too", async () => {
  const { first, secondId } = await twoDevices("alice");
  const dayMs = 24 * 3_600_000;
  first.proxy.on(isDevices, {
    kind: "rewrite-response",
    json: (body) => {
      const { devices } = body as { devices: Record<string, unknown>[] };
      return {
        devices: [
          ...devices.map((one) =>
            one["device_id"] === secondId
              ? { ...one, last_seen_ts: Date.now() - 91 * dayMs, last_seen_ip: "192.0.2.7" }
              : one,
          ),
          { device_id: "A SCRIPT", display_name: 7, last_seen_ts: "yesterday" },
          { device_id: 7 },
          null,
        ],
      };
    },
  });
  const devices = await list(first);
  expect(devices.find(({ deviceId }) => deviceId === secondId)).toMatchObject({ stale: true, lastSeenIp: "192.0.2.7" });
  expect(devices.find(({ deviceId }) => deviceId === "A SCRIPT")).toEqual({
    userId: first.userId,
    deviceId: "A SCRIPT",
    blocked: false,
    current: false,
    stale: false,
    signedByOwner: false,
    verified: false,
    dehydrated: false,
  });
  expect(devices).toHaveLength(3);
});

test("signing out wants the password, takes the right one alone, and never signs out the device itself", async () => {
  const { first, second, secondId } = await twoDevices("alice");
  const signOut = (deviceIds: string[], password?: string) =>
    first.core.call("devices.signOut", { deviceIds, ...(password === undefined ? {} : { password }) });
  expect(await signOut([secondId, first.account.deviceId], first.account.password)).toMatchObject({
    ok: false,
    error: { code: "bad-request", details: { path: "deviceIds" } },
  });
  expect(first.proxy.seen(isDeleteAll)).toHaveLength(0);
  expect(await signOut([secondId])).toMatchObject({
    ok: false,
    error: { code: "authentication-required", details: { flows: [["m.login.password"]] } },
  });
  expect(await signOut([secondId], "wrong")).toMatchObject({ ok: false, error: { code: "forbidden" } });
  expect(await ids(first)).toContain(secondId);
  const from = first.core.events.length;
  expect(await signOut([secondId, "GONE BEFORE"], first.account.password)).toEqual({
    ok: true,
    value: { signedOut: [secondId, "GONE BEFORE"], failed: [] },
  });
  await first.core.nextEvent("devices.changed", ({ userIds }) => userIds.includes(first.userId), from);
  expect(await ids(first)).toEqual([first.account.deviceId]);
  await second.core.nextEvent(
    "account.changed",
    ({ status }) => status.at === "signed-in" && status.sync.at === "stopped",
  );
  // what is gone already needs no password
  expect(await signOut([secondId])).toMatchObject({ ok: true, value: { signedOut: [secondId] } });
});

test("after an own device was signed out the next message has a new key, without waiting for a sync", async () => {
  const { first, secondId } = await twoDevices("alice");
  const { roomId } = await first.core.ok("rooms.create", { kind: "group" });
  const session = async (body: string) => {
    await first.core.say(roomId, body);
    const wire = (await people.timeline(first.account, roomId)).filter(({ type }) => type === "m.room.encrypted");
    return wire.at(-1)?.content["session_id"];
  };
  const before = await session("before");
  expect(await session("still before")).toBe(before);
  await first.core.ok("devices.signOut", { deviceIds: [secondId], password: first.account.password });
  expect(await session("after")).not.toBe(before);
});

test("a server that leaves accounts to OAuth sends the person to its page", async () => {
  const { first, secondId } = await twoDevices("alice");
  first.proxy.on(isDeleteAll, unrecognised);
  first.proxy.on(
    { method: "GET", path: /\/auth_metadata$/ },
    { kind: "status", status: 200, body: { account_management_uri: "https://account.example.org/me" } },
  );
  const answer = await first.core.call("devices.signOut", { deviceIds: [secondId], ...plainPassword(first) });
  expect(answer).toMatchObject({
    ok: false,
    error: {
      code: "authentication-required",
      details: { url: `https://account.example.org/me?action=org.matrix.session_end&device_id=${secondId}` },
    },
  });
  expect(await ids(first)).toContain(secondId);
});
const plainPassword = (person: Person) => ({ password: person.account.password });

test("a server that takes no list is asked for one after the other, and each failure is named", async () => {
  const { first, secondId } = await twoDevices("alice");
  const third = await people.server().login(first.account);
  first.proxy.on(isDeleteAll, unrecognised);
  first.proxy.on(
    { method: "DELETE", path: new RegExp(`/devices/${third.deviceId}$`) },
    { kind: "status", status: 500, body: { errcode: "M_UNKNOWN" } },
  );
  expect(
    await first.core.ok("devices.signOut", { deviceIds: [secondId, third.deviceId], ...plainPassword(first) }),
  ).toMatchObject({ signedOut: [secondId], failed: [{ deviceId: third.deviceId, error: { code: "unreachable" } }] });
});

test("a device that the server says it signed out and still lists counts as failed", async () => {
  const { first, secondId } = await twoDevices("alice");
  first.proxy.on(isDeleteAll, { kind: "status", status: 200, body: {} });
  expect(await first.core.ok("devices.signOut", { deviceIds: [secondId] })).toMatchObject({
    signedOut: [],
    failed: [{ deviceId: secondId, error: { code: "unexpected" } }],
  });
});

test("a new login is announced on the other device, and stands in the ledger", async () => {
  const { first } = await twoDevices("alice");
  const from = first.core.events.length;
  const account = await people.server().login(first.account);
  await people.person("alice", account);
  await first.core.nextEvent("trust.changed", ({ own }) => own === true, from);
  await first.core.nextEvent("devices.changed", ({ userIds }) => userIds.includes(first.userId), from);
  await first.core.until(
    async () =>
      (await first.core.ok("trust.ledger", { userId: first.userId })).some(
        ({ kind, deviceId }) => kind === "device-added" && deviceId === account.deviceId,
      ),
    "the new device in the ledger",
  );
});

test("the devices of another person are told, and what a blocked one wrote carries the red shield until it is unblocked", async () => {
  const alice = await people.person("alice");
  const bob = await people.person("bob");
  const roomId = await people.room(alice, [bob]);
  await bob.core.say(roomId, "from a device");
  const shield = async () => (await alice.core.message(roomId, "from a device")).encryption;
  // red until the keys of whoever wrote it are known
  await alice.core.until(async () => {
    const encryption = await shield();
    return encryption.at === "encrypted" && encryption.shield === "grey" && encryption;
  }, "the grey shield");
  expect(await shield()).toMatchObject({ device: bob.account.deviceId });
  const [device] = await alice.core.ok("devices.list", { userId: bob.userId });
  expect(device).toMatchObject({ userId: bob.userId, deviceId: bob.account.deviceId, current: false, blocked: false });
  const block = (blocked: boolean, deviceId = bob.account.deviceId) =>
    alice.core.call("devices.block", { userId: bob.userId, deviceId, blocked });
  expect((await block(true)).ok).toBe(true);
  expect(await shield()).toMatchObject({ shield: "red", reason: "blocked-device" });
  expect((await alice.core.ok("devices.list", { userId: bob.userId }))[0]?.blocked).toBe(true);
  expect((await block(false)).ok).toBe(true);
  expect(await shield()).toMatchObject({ shield: "grey" });
  expect(await block(true, "NOWHERE")).toMatchObject({ ok: false, error: { code: "not-found" } });
  expect(
    await alice.core.call("devices.block", { userId: alice.userId, deviceId: alice.account.deviceId, blocked: true }),
  ).toMatchObject({ ok: false, error: { code: "bad-request" } });
  const kinds = (await alice.core.ok("trust.ledger", { userId: bob.userId })).map(({ kind }) => kind);
  expect(kinds.filter((kind) => kind.endsWith("blocked"))).toEqual(["unblocked", "blocked"]);
});

test("without the server own devices are told as they were known", async () => {
  const { first, secondId } = await twoDevices("alice");
  first.proxy.on(isSync, { kind: "drop" });
  first.proxy.on(isDevices, { kind: "drop" });
  expect(await ids(first)).toContain(secondId);
});

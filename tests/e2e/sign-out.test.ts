import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Account, type Homeserver } from "../homeserver/homeserver.ts";
import type { HeadlessApp } from "./headless-app.ts";
import { joinedChat, newPerson, password, received, sent, texts, type Person } from "./people.ts";

let homeserver: Homeserver;
let proxy: FaultProxy;
let admin: Account;
let ben: Person;
let ana: Person;
let roomId: string;
let count = 0;

beforeAll(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  admin = await homeserver.register("admin", { admin: true });
  ben = await newPerson(homeserver.url, "ben");
});
afterAll(async () => {
  await ben.app.remove();
  await proxy.stop();
  await homeserver.stop();
});
beforeEach(async () => {
  ana = await newPerson(proxy.url, `ana-${++count}`);
  roomId = await joinedChat(ben, ana);
  await ben.app.call("timeline.send", { roomId, body: "a message to keep" });
  await received(ana.app, roomId, "a message to keep");
});
afterEach(async () => {
  proxy.setOnline(true);
  proxy.clear();
  await ana.app.remove();
});

const accountFolders = (app: HeadlessApp) => {
  const folder = path.join(app.profile, "accounts");
  return existsSync(folder) ? readdirSync(folder) : [];
};
const queryKeys = (userId: string) =>
  homeserver.api<{ device_keys: Record<string, Record<string, unknown>> }>("POST", "v3/keys/query", {
    token: admin.accessToken,
    body: { device_keys: { [userId]: [] } },
  });
const devicesOf = async (userId: string) => {
  const { devices } = await homeserver.api<{ devices: { device_id: string }[] }>(
    "GET",
    `/_synapse/admin/v2/users/${encodeURIComponent(userId)}/devices`,
    { token: admin.accessToken },
  );
  return devices.map((device) => device.device_id);
};
/** The server ended the session; a sync that is asked for finds out at once, a long poll when it ends. */
const expectStopped = async ({ app }: Person) => {
  expect(await app.ask("account.sync", { timeoutMs: 60_000 })).toMatchObject({
    ok: false,
    error: { code: "not-signed-in" },
  });
  expect(await app.call("account.status", {})).toMatchObject({
    at: "signed-in",
    sync: { at: "stopped", code: "not-signed-in" },
  });
};

test("signing out while history would be lost is refused; by force it tells the server, then wipes the account's files", async () => {
  const refused = await ana.app.ask("account.logout", {});
  expect(refused).toMatchObject({ ok: false, error: { code: "history-at-risk" } });
  const { unbackedUp, total } = (refused as { error: { details: { unbackedUp: number; total: number } } }).error
    .details;
  expect(unbackedUp).toBeGreaterThan(0);
  expect(total).toBeGreaterThanOrEqual(unbackedUp);
  expect(await ana.app.call("account.status", {})).toMatchObject({ at: "signed-in" });
  expect(accountFolders(ana.app)).toHaveLength(1);

  expect(await ana.app.call("account.logout", { force: true })).toEqual({ serverTold: true });
  expect(await ana.app.call("account.status", {})).toEqual({ at: "signed-out" });
  expect(accountFolders(ana.app)).toEqual([]);
  expect(await devicesOf(ana.userId)).not.toContain(ana.deviceId);
  expect(await ana.app.ask("rooms.list", {})).toMatchObject({ ok: false, error: { code: "not-signed-in" } });

  const again = await ana.app.call("account.login", { homeserver: proxy.url, user: ana.user, password });
  expect(again.deviceId).not.toBe(ana.deviceId);
});

test("the files stay until the server has agreed", async () => {
  // nothing is at risk for somebody who holds no keys
  const eve = await newPerson(proxy.url, `eve-${++count}`);
  try {
    const rule = proxy.on({ path: /\/logout$/ }, { kind: "status", status: 503, body: { errcode: "M_UNKNOWN" } });
    expect(await eve.app.ask("account.logout", {})).toMatchObject({
      ok: false,
      error: { code: "unreachable", retryable: true },
    });
    expect(accountFolders(eve.app)).toHaveLength(1);
    expect(await eve.app.call("account.status", {})).toMatchObject({ at: "signed-in" });
    rule.remove();
    expect(await eve.app.call("account.logout", {})).toEqual({ serverTold: true });
    expect(accountFolders(eve.app)).toEqual([]);
  } finally {
    await eve.app.remove();
  }
});

test("by force it works while the server is away, and says that the server does not know", async () => {
  proxy.setOnline(false);
  expect(await ana.app.call("account.logout", { force: true })).toEqual({ serverTold: false });
  expect(await ana.app.call("account.status", {})).toEqual({ at: "signed-out" });
  expect(accountFolders(ana.app)).toEqual([]);
  await ana.app.stop();
  await ana.app.start();
  expect(await ana.app.call("account.status", {})).toEqual({ at: "signed-out" });
});

test("a session that the server ended stops softly: nothing is deleted, and signing in again goes on", async () => {
  await homeserver.api("POST", `/_synapse/admin/v2/users/${encodeURIComponent(ana.userId)}/delete_devices`, {
    token: admin.accessToken,
    body: { devices: [ana.deviceId] },
  });
  await expectStopped(ana);
  expect(await texts(ana.app, roomId)).toEqual(["a message to keep"]);
  // written meanwhile: waits
  const { itemId } = await ana.app.call("timeline.send", { roomId, body: "written while signed out" });
  await ana.app.stop();
  await ana.app.start();
  expect(accountFolders(ana.app)).toHaveLength(1);
  expect(await texts(ana.app, roomId)).toEqual(["a message to keep", "written while signed out"]);
  await expectStopped(ana);

  expect(
    await ana.app.ask("account.login", { homeserver: proxy.url, user: ana.user, password: "wrong" }),
  ).toMatchObject({
    ok: false,
    error: { code: "forbidden" },
  });
  expect(accountFolders(ana.app)).toHaveLength(1);
  const again = await ana.app.call("account.login", { homeserver: proxy.url, user: ana.user, password });
  expect(again).toEqual({ userId: ana.userId, deviceId: ana.deviceId });
  await ana.app.call("account.sync", {});
  await sent(ana.app, roomId, itemId);
  await received(ben.app, roomId, "written while signed out");
  await received(ana.app, roomId, "written while signed out");
  expect(await texts(ana.app, roomId)).toEqual(["a message to keep", "written while signed out"]);
  // the server had forgotten the device's keys with the device: they are there again, and others reach it
  await expect
    .poll(async () => Object.keys((await queryKeys(ana.userId)).device_keys[ana.userId] ?? {}))
    .toContain(ana.deviceId);
  await ben.app.call("account.sync", {});
  await ben.app.call("timeline.send", { roomId, body: "reached again" });
  await received(ana.app, roomId, "reached again");
});

test("a token that has run out stops softly too; the same device goes on, its keys and all", async () => {
  const tokens = new Set(proxy.exchanges.map((one) => one.requestHeaders.authorization));
  tokens.delete(undefined);
  proxy.on(
    { when: ({ requestHeaders }) => tokens.has(requestHeaders.authorization) },
    { kind: "status", status: 401, body: { errcode: "M_UNKNOWN_TOKEN", error: "It ran out.", soft_logout: true } },
  );
  await expectStopped(ana);
  await ben.app.call("timeline.send", { roomId, body: "are you there" });
  const again = await ana.app.call("account.login", { homeserver: proxy.url, user: ana.user, password });
  expect(again).toEqual({ userId: ana.userId, deviceId: ana.deviceId });
  await received(ana.app, roomId, "are you there");
  const { itemId } = await ana.app.call("timeline.send", { roomId, body: "here I am" });
  await sent(ana.app, roomId, itemId);
  await ben.app.call("timeline.send", { roomId, body: "still the same device" });
  await received(ana.app, roomId, "still the same device");
  expect(await texts(ana.app, roomId)).toEqual([
    "a message to keep",
    "are you there",
    "here I am",
    "still the same device",
  ]);
});

test("a sign-in that the server answers with another device is refused, and that session does not stay on the server", async () => {
  await homeserver.api("POST", `/_synapse/admin/v2/users/${encodeURIComponent(ana.userId)}/delete_devices`, {
    token: admin.accessToken,
    body: { devices: [ana.deviceId] },
  });
  await expectStopped(ana);
  proxy.on(
    { method: "POST", path: /\/login$/ },
    {
      kind: "rewrite-request",
      json: (body) => Object.fromEntries(Object.entries(body as object).filter(([name]) => name !== "device_id")),
    },
    { times: 1 },
  );
  const credentials = { homeserver: proxy.url, user: ana.user, password };
  expect(await ana.app.ask("account.login", credentials)).toMatchObject({
    ok: false,
    error: { code: "already-signed-in" },
  });
  expect(await devicesOf(ana.userId)).toEqual([]);
  expect(await texts(ana.app, roomId)).toEqual(["a message to keep"]);
  // asked as the same device it goes on
  expect(await ana.app.call("account.login", credentials)).toEqual({ userId: ana.userId, deviceId: ana.deviceId });
  await ana.app.call("account.sync", {});
});

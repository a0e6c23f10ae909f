import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { openHeadless, type HeadlessApp } from "./headless-app.ts";
import { joinedChat, newPerson, password, received, texts, type Person } from "./people.ts";

// A profile that was copied and runs twice: one of the two becomes a device of its own, with its history, and the other goes on.
let homeserver: Homeserver;
let proxy: FaultProxy;
let ben: Person;
const folders: string[] = [];
const apps: HeadlessApp[] = [];
const isLogin = { method: "POST", path: /\/v3\/login$/ };

beforeAll(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  ben = await newPerson(homeserver.url, "ben");
  apps.push(ben.app);
});
afterAll(async () => {
  for (const app of apps) await app.remove();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  await proxy.stop();
  await homeserver.stop();
});

async function writer(name: string): Promise<{ ana: Person; roomId: string }> {
  const ana = await newPerson(proxy.url, name);
  apps.push(ana.app);
  const roomId = await joinedChat(ben, ana);
  await ben.app.call("timeline.send", { roomId, body: "from ben" });
  await received(ana.app, roomId, "from ben");
  await ana.app.call("timeline.send", { roomId, body: "from ana" });
  await received(ben.app, roomId, "from ana");
  return { ana, roomId };
}
async function copied(app: HeadlessApp): Promise<HeadlessApp> {
  await app.stop();
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-copy-"));
  folders.push(folder);
  const profile = path.join(folder, "profile");
  cpSync(app.profile, profile, { recursive: true });
  await app.start();
  const copy = await openHeadless({ profile, passphraseFile: app.passphraseFile });
  apps.push(copy);
  return copy;
}
const problems = async (app: HeadlessApp) =>
  (await app.call("deviceKeys.status", {})).problems.map((problem) => problem.code);
const deviceIdOf = async (app: HeadlessApp) => (await app.call("account.list", {}))[0]?.deviceId;
const devicesOf = async (app: HeadlessApp) =>
  (await app.call("devices.list", {})).map((device) => device.deviceId).toSorted();
const asideIn = (profile: string) =>
  readdirSync(profile, { recursive: true, encoding: "utf8" }).filter((name) =>
    /crypto\.[0-9a-f]{16}.*\.db$/.test(name),
  );
/** What ben writes once he knows this device of ana's. */
async function benWrites(roomId: string, deviceId: string, body: string): Promise<void> {
  await eventually(
    async () => (await ben.app.call("trust.recipients", { roomId })).receives.map((one) => one.deviceId),
    (ids) => ids.includes(deviceId),
  );
  await ben.app.call("timeline.send", { roomId, body });
}

test(
  "a copy is told, refuses a wrong password without a change, and becomes a device of its own",
  { timeout: 300_000 },
  async () => {
    const { ana, roomId } = await writer("ana");
    await ana.app.call("account.sync", {});
    const copy = await copied(ana.app);
    await ana.app.call("account.sync", {});
    await copy.call("account.sync", {});
    await eventually(
      () => problems(copy),
      (codes) => codes.includes("cloned-profile"),
    );

    const before = await devicesOf(copy);
    const refused = await copy.ask("account.renew", { password: "wrong" });
    expect(refused).toMatchObject({ ok: false, error: { code: "forbidden" } });
    expect(await deviceIdOf(copy)).toBe(ana.deviceId);
    expect(await devicesOf(copy)).toEqual(before);
    await copy.call("account.sync", {});

    const { userId, deviceId } = await copy.call("account.renew", { password, deviceName: "A copy" });
    expect(userId).toBe(ana.userId);
    expect(deviceId).not.toBe(ana.deviceId);
    expect(await deviceIdOf(copy)).toBe(deviceId);
    await copy.call("account.sync", {});
    expect(asideIn(copy.profile).length).toBeGreaterThan(0);
    expect(asideIn(ana.app.profile)).toEqual([]);
    expect(await devicesOf(copy)).toEqual([...before, deviceId].toSorted());
    expect(await texts(copy, roomId)).toEqual(["from ben", "from ana"]);
    expect(await problems(copy)).toEqual([]);

    await benWrites(roomId, deviceId, "to both");
    await received(copy, roomId, "to both");
    await received(ana.app, roomId, "to both");
    await copy.call("timeline.send", { roomId, body: "from the copy" });
    await received(ben.app, roomId, "from the copy");
    await received(ana.app, roomId, "from the copy");
    await ana.app.call("timeline.send", { roomId, body: "from the original" });
    await received(ben.app, roomId, "from the original");
    await received(copy, roomId, "from the original");

    await copy.stop();
    await copy.start();
    expect(await deviceIdOf(copy)).toBe(deviceId);
    await copy.call("account.sync", {});
    expect(await texts(copy, roomId)).toEqual([
      "from ben",
      "from ana",
      "to both",
      "from the copy",
      "from the original",
    ]);
    expect(copy.stderr).not.toContain(password);
  },
);

test("killed at any moment it comes back as the one device or the other, whole", { timeout: 600_000 }, async () => {
  const { ana, roomId } = await writer("kay");
  const { app } = ana;
  const seen = ["from ben", "from ana"];
  const ends = new Set<string>();
  let last = ana.deviceId;
  // before the server has answered, and then ever later; each next one starts as whatever the kill before it left
  for (const when of ["asked", 0, 20, 60, 120, 250, 500, "answered"] as const) {
    proxy.clear();
    const held = when === "asked" ? proxy.on(isLogin, { kind: "hold" }) : undefined;
    const asked = app.ask("account.renew", { password }).catch(() => undefined);
    await proxy.waitFor(isLogin, { state: held === undefined ? "ended" : "arrived" });
    if (when === "answered") expect((await asked)?.ok).toBe(true);
    else await sleep(when === "asked" ? 0 : when);
    await app.kill("SIGKILL");
    await asked;
    proxy.clear();
    await app.start();
    await app.call("account.sync", {});
    const now = (await deviceIdOf(app)) ?? "";
    ends.add(now === last ? "old" : "new");
    if (held !== undefined) expect(now).toBe(last);
    last = now;
    const body = `after ${String(when)}`;
    await benWrites(roomId, now, body);
    await received(app, roomId, body);
    seen.push(body);
    expect(await texts(app, roomId)).toEqual(seen);
    const own = `own after ${String(when)}`;
    await app.call("timeline.send", { roomId, body: own });
    await received(ben.app, roomId, own);
    seen.push(own);
  }
  expect([...ends].toSorted()).toEqual(["new", "old"]);
});

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from "vitest";
import { withLock } from "../../homeserver/cache-lock.ts";
import { HomeserverError, startHomeserver } from "../../homeserver/homeserver.ts";
import type { Homeserver } from "../../homeserver/homeserver.ts";
import { installSynapse } from "../../homeserver/install.ts";

const started: Homeserver[] = [];
const folders: string[] = [];
let shared: Homeserver;

async function start(...options: Parameters<typeof startHomeserver>): Promise<Homeserver> {
  const homeserver = await startHomeserver(...options);
  started.push(homeserver);
  return homeserver;
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "tessera-launcher-"));
  folders.push(folder);
  return folder;
}

beforeAll(async () => {
  shared = await startHomeserver();
});

afterEach(async () => {
  for (const homeserver of started.splice(0)) await homeserver.stop();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

afterAll(async () => {
  await shared.stop();
});

test("a real Synapse answers on loopback, and starting it is timed", async () => {
  const startedMs = performance.now();
  const homeserver = await start();
  process.stderr.write(`[measured] an instance started in ${(performance.now() - startedMs).toFixed(0)} ms\n`);
  expect(homeserver.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  const versions = await fetch(`${homeserver.url}/_matrix/client/versions`);
  expect(homeserver.version).toBe(`Synapse ${versions.headers.get("server")?.split("/")[1] ?? ""}`);
});

test("two instances at once know nothing of each other", async () => {
  const one = await start({ serverName: "one.test" });
  const two = await start({ serverName: "two.test" });
  const alice = await one.register("alice");
  const other = await two.register("alice");
  expect([alice.userId, other.userId]).toEqual(["@alice:one.test", "@alice:two.test"]);
  await one.api("POST", "v3/createRoom", { token: alice.accessToken, body: {} });
  const roomsOf = async (homeserver: Homeserver, token: string) =>
    (await homeserver.api<{ joined_rooms: string[] }>("GET", "v3/joined_rooms", { token })).joined_rooms.length;
  expect([await roomsOf(one, alice.accessToken), await roomsOf(two, other.accessToken)]).toEqual([1, 0]);
  await expect(roomsOf(two, alice.accessToken)).rejects.toMatchObject({ status: 401, errcode: "M_UNKNOWN_TOKEN" });
});

test("an account has the password, display name and rights it was registered with", async () => {
  const alice = await shared.register("alice", { displayName: "Alice A.", password: "a password of hers" });
  const second = await shared.login(alice, "second device");
  expect(second.deviceId).not.toBe(alice.deviceId);
  await expect(shared.login({ ...alice, password: "another" })).rejects.toMatchObject({ errcode: "M_FORBIDDEN" });
  const profile = await shared.api<{ displayname: string }>("GET", `v3/profile/${encodeURIComponent(alice.userId)}`);
  expect(profile.displayname).toBe("Alice A.");
  const users = "/_synapse/admin/v2/users";
  await expect(shared.api("GET", users, { token: alice.accessToken })).rejects.toBeInstanceOf(HomeserverError);
  const admin = await shared.register("admin", { admin: true });
  await expect(shared.api("GET", users, { token: admin.accessToken, query: { limit: "1" } })).resolves.toBeDefined();
});

test("a sign-in names no other address of the homeserver, so that a client stays behind the proxy", async () => {
  const bob = await shared.register("bob");
  const body = { type: "m.login.password", identifier: { type: "m.id.user", user: "bob" }, password: bob.password };
  expect(await shared.api("POST", "v3/login", { body })).not.toHaveProperty("well_known");
  expect((await fetch(`${shared.url}/.well-known/matrix/client`)).status).toBe(404);
});

test("configuration is merged over the default: rate limits on demand", async () => {
  const slow = { per_second: 0.001, burst_count: 1 };
  const homeserver = await start({ config: { rc_login: { failed_attempts: slow } } });
  const alice = await homeserver.register("alice");
  const wrong = { ...alice, password: "wrong" };
  await expect(homeserver.login(wrong)).rejects.toMatchObject({ status: 403 });
  await expect(homeserver.login(wrong)).rejects.toMatchObject({ status: 429, errcode: "M_LIMIT_EXCEEDED" });
});

test("a configuration that Synapse refuses fails with its own words", async () => {
  await expect(start({ config: { database: { name: "no-such-engine" } } })).rejects.toThrow(/no-such-engine/);
});

test("kept data outlives a restart and a stop, at the same address", async () => {
  const keepDataIn = await newFolder();
  const first = await start({ keepDataIn });
  const alice = await first.register("alice");
  const pid = first.pid;
  await first.restart();
  expect(first.pid).not.toBe(pid);
  const whoami = { user_id: alice.userId };
  expect(await first.api("GET", "v3/account/whoami", { token: alice.accessToken })).toMatchObject(whoami);
  await first.stop();
  const again = await start({ keepDataIn });
  expect(again.url).toBe(first.url);
  expect(await again.api("GET", "v3/account/whoami", { token: alice.accessToken })).toMatchObject(whoami);
});

test("a homeserver that died by itself can be started again", async () => {
  const homeserver = await start({ keepDataIn: await newFolder() });
  process.kill(homeserver.pid ?? 0, "SIGKILL");
  await untilGone(homeserver.pid ?? 0);
  await homeserver.restart();
  await expect(homeserver.register("alice")).resolves.toMatchObject({ localpart: "alice" });
});

test("a homeserver in memory cannot be restarted", async () => {
  await expect(shared.restart()).rejects.toThrow(/keepDataIn/);
});

test("after stop nothing listens any more and the process is gone", async () => {
  const homeserver = await start();
  const pid = homeserver.pid ?? 0;
  await homeserver.stop();
  await expect(fetch(homeserver.url)).rejects.toMatchObject({ cause: { code: "ECONNREFUSED" } });
  expect(isAlive(pid)).toBe(false);
  await homeserver.stop();
});

test.each([
  ["a warm process shared with others", {}],
  ["a warm process of its own", { TESSERA_WARM_HOMESERVER: undefined }],
  ["a warm process of its own, the shared one being gone", { TESSERA_WARM_HOMESERVER: "/nowhere" }],
])("all that a killed process started ends with it: %s", async (_, env) => {
  const { child, pid, parent } = await holder(env);
  const folder = await folderOf(pid);
  expect(existsSync(folder)).toBe(true);
  child.kill("SIGKILL");
  await untilGone(pid);
  await until(() => !existsSync(folder), "The homeserver's folder is still there");
  if ("TESSERA_WARM_HOMESERVER" in env) await untilGone(parent);
  else expect(isAlive(parent)).toBe(true);
});

test("a homeserver does not outlive the warm process, even when that is killed", async () => {
  const { pid, parent } = await holder({ TESSERA_WARM_HOMESERVER: undefined });
  // nobody is left to remove these
  const [socketPath = ""] = (await readFile(`/proc/${parent}/cmdline`, "utf8")).split("\0").slice(-2);
  folders.push(await folderOf(pid), path.dirname(socketPath));
  process.kill(parent, "SIGKILL");
  onTestFinished(() => {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });
  await untilGone(pid);
});

test("one-time keys are claimed to the last, and the fallback key only when asked for", async () => {
  const alice = await shared.register("carol");
  const key = (id: string, more = {}) => ({
    [`signed_curve25519:${id}`]: { key: `key-${id}`, signatures: {}, ...more },
  });
  await shared.api("POST", "v3/keys/upload", {
    token: alice.accessToken,
    body: {
      one_time_keys: { ...key("A"), ...key("B"), ...key("C") },
      fallback_keys: key("F", { fallback: true }),
    },
  });
  let since: string | undefined;
  const unused = async () => {
    const sync = await shared.api<{ next_batch: string; device_unused_fallback_key_types: string[] }>(
      "GET",
      "v3/sync",
      // Synapse repeats its answer to the same request for two minutes, so each goes on from the last
      { token: alice.accessToken, query: { timeout: "0", ...(since === undefined ? {} : { since }) } },
    );
    since = sync.next_batch;
    return sync.device_unused_fallback_key_types;
  };
  const claimed = await shared.claimAllOneTimeKeysOf(alice);
  expect(claimed.oneTime.map((one) => one.key).sort()).toEqual(["key-A", "key-B", "key-C"]);
  expect(claimed.fallback).toBeUndefined();
  expect(await unused()).toEqual(["signed_curve25519"]);
  const { userId, deviceId } = alice;
  const rest = await shared.claimAllOneTimeKeysOf({ userId, deviceId });
  expect(rest).toMatchObject({ oneTime: [], fallback: { key: "key-F", fallback: true } });
  expect(await unused()).toEqual([]);
  expect(await shared.claim({ userId, deviceId: "NOSUCHDEVICE" })).toBeUndefined();
});

test("a homeserver that runs already is used by address and shared secret, and left running", async () => {
  const before = { ...process.env };
  process.env["HOMESERVER_URL"] = `${shared.url}/`;
  await expect(startHomeserver()).rejects.toThrow(/HOMESERVER_SHARED_SECRET/);
  process.env["HOMESERVER_SHARED_SECRET"] = "shared-secret-of-a-throwaway-homeserver";
  try {
    const one = await startHomeserver();
    const two = await startHomeserver();
    expect(one).toMatchObject({ url: shared.url, serverName: shared.serverName, version: shared.version });
    const [alice, other] = [await one.register("dora"), await two.register("dora")];
    expect(alice.userId).not.toBe(other.userId);
    await expect(startHomeserver({ config: {} })).rejects.toThrow(/config/);
    await one.stop();
    await expect(two.login(other)).resolves.toMatchObject({ userId: other.userId });
  } finally {
    process.env = before;
  }
});

test("a machine without Python and apt is told in one message what is missing", async () => {
  const before = process.env["PATH"];
  process.env["PATH"] = "";
  try {
    await expect(installSynapse(await newFolder())).rejects.toThrow(
      /Python index.*python3 3\.10.*Debian.*HOMESERVER_URL/s,
    );
  } finally {
    process.env["PATH"] = before;
  }
});

test("two processes that install at once take turns", async () => {
  const events: string[] = [];
  const work = async (name: string) => {
    await withLock(
      `launcher.test ${process.pid}`,
      () => events.push(`${name} waits`),
      async () => {
        events.push(`${name} begins`);
        await sleep(50);
        events.push(`${name} ends`);
      },
    );
  };
  await Promise.all([work("one"), work("two")]);
  expect(events).toEqual(["one begins", "two waits", "one ends", "two begins", "two ends"]);
});

/** Another process that holds a homeserver: its pid, and that of the warm process it was forked from. */
async function holder(env: NodeJS.ProcessEnv): Promise<{ child: ChildProcess; pid: number; parent: number }> {
  const script = fileURLToPath(new URL("hold-homeserver.ts", import.meta.url));
  const child = spawn(process.execPath, [script], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  // a failed test leaves nothing behind that would keep the run from ending
  onTestFinished(() => void child.kill("SIGKILL"));
  const line = await new Promise<string>((resolve) => {
    child.stdout.setEncoding("utf8").once("data", resolve);
  });
  return { child, ...(JSON.parse(line) as { pid: number; parent: number }) };
}

async function folderOf(pid: number): Promise<string> {
  for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
    const file = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => "");
    if (file.endsWith("/homeserver.log")) return path.dirname(file);
  }
  throw new Error("The homeserver has no log open.");
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The bound ends a hang; it judges no speed. */
async function until(done: () => boolean, what: string): Promise<void> {
  const givenUpMs = performance.now() + 30_000;
  while (!done()) {
    if (performance.now() > givenUpMs) throw new Error(`${what} after half a minute.`);
    await sleep(20);
  }
}

async function untilGone(pid: number): Promise<void> {
  await until(() => !isAlive(pid), `Process ${pid} still lives`);
}

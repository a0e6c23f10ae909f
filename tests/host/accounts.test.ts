import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { startHost, type Host } from "../../main/host/host.ts";
import type { EventMessage, Response } from "../../preload/contract/define.ts";
import { fakeKeychain, type FakeKeychain } from "../fakes/keychain.ts";
import { filesOf, temporaryFolder } from "./folder.ts";

const workerUrl = new URL("./fixtures/worker.ts", import.meta.url);
const script = { door: "headless", isWindow: false } as const;
const roomId = "!room:localhost";
const token = "secret-token-of-the-tests";

type Driven = {
  host: Host;
  events: EventMessage[];
  ask: (name: string, input?: object, account?: string) => Promise<Response>;
  value: (name: string, input?: object, account?: string) => Promise<unknown>;
  code: (name: string, input?: object, account?: string) => Promise<string>;
  /** What the fixture's core was started with. */
  started: (
    account?: string,
  ) => Promise<{ crypto: string; account: string; bytes: number; token: boolean; orderly: boolean }>;
};

async function start(profile: string, keychain: FakeKeychain, copyLogTo?: (line: string) => void): Promise<Driven> {
  const host = await startHost({ profile, door: "headless", version: "0", workerUrl, keychain, copyLogTo });
  onTestFinished(() => host.stop());
  await host.settled();
  const events: EventMessage[] = [];
  host.on((event) => events.push(event));
  const ask = (name: string, input: object = {}, account?: string) =>
    host.handle({ id: 1, name, input, ...(account === undefined ? {} : { account }) }, script);
  const value = async (name: string, input?: object, account?: string) => {
    const response = await ask(name, input, account);
    if (response.ok) return response.value;
    throw new Error(response.error.code);
  };
  return {
    host,
    events,
    ask,
    value,
    async code(name, input, account) {
      const response = await ask(name, input, account);
      return response.ok ? "ok" : response.error.code;
    },
    async started(account) {
      const { body } = (await value("timeline.draft", { roomId }, account)) as { body: string };
      return JSON.parse(body) as Awaited<ReturnType<Driven["started"]>>;
    },
  };
}

const alice = { homeserver: "http://127.0.0.1:1", user: "alice", password: "correct horse" };
const send = (body: string) => ["timeline.send", { roomId, body }] as const;
const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
};
const accountFolder = (profile: string) => {
  const [folder = ""] = readdirSync(path.join(profile, "accounts"));
  return path.join(profile, "accounts", folder);
};

describe("signing in and out", () => {
  test("signing in, and being signed in right after a restart with the same keys", async () => {
    const profile = temporaryFolder();
    const keychain = fakeKeychain();
    const first = await start(profile, keychain);
    expect(await first.value("account.status")).toEqual({ at: "signed-out" });
    expect(await first.value("account.login", alice)).toEqual({ userId: "@alice:localhost", deviceId: "DEVICE" });
    const before = await first.started();
    expect(before).toMatchObject({ bytes: 32, token: true, orderly: true });
    expect(before.crypto).not.toBe(before.account);
    await first.host.stop();
    const second = await start(profile, keychain);
    expect(await second.value("account.status")).toMatchObject({ at: "signed-in", userId: "@alice:localhost" });
    expect(await second.started()).toEqual(before);
  });

  test("a wrong password is forbidden and leaves nothing", async () => {
    const profile = temporaryFolder();
    const { code, value } = await start(profile, fakeKeychain());
    expect(await code("account.login", { ...alice, password: "wrong" })).toBe("forbidden");
    expect(await value("account.list")).toEqual([]);
    expect(existsSync(path.join(profile, "accounts.sealed"))).toBe(false);
  });

  test("the same account twice is already signed in, however it is written", async () => {
    const { code, value } = await start(temporaryFolder(), fakeKeychain());
    await value("account.login", alice);
    for (const user of ["alice", "Alice", "@alice:localhost"])
      expect(await code("account.login", { ...alice, user })).toBe("already-signed-in");
  });

  test("two accounts: each has its core, its folder and its keys, and must be named", async () => {
    const profile = temporaryFolder();
    const { code, value, started } = await start(profile, fakeKeychain());
    await value("account.login", alice);
    await value("account.register", { ...alice, user: "bob" });
    expect(await code("rooms.list")).toBe("bad-request");
    const [one, two] = [await started("@alice:localhost"), await started("@bob:localhost")];
    expect(new Set([one.crypto, one.account, two.crypto, two.account]).size).toBe(4);
    expect(readdirSync(path.join(profile, "accounts"))).toHaveLength(2);
    expect(await value("account.logout", {}, "@bob:localhost")).toEqual({ serverTold: true });
    expect(await value("rooms.list")).toEqual([]);
    expect(readdirSync(path.join(profile, "accounts"))).toHaveLength(1);
  });

  test("a session that the server ended: signing in again is the same device in the same folder", async () => {
    const profile = temporaryFolder();
    const { value, started, events } = await start(profile, fakeKeychain());
    await value("account.login", alice);
    const before = await started();
    const folder = accountFolder(profile);
    await value(...send("sign out softly"));
    await until(() =>
      events.some(
        ({ event, payload }) => event === "account.changed" && JSON.stringify(payload).includes("not-signed-in"),
      ),
    );
    expect(await value("account.status")).toMatchObject({ sync: { at: "stopped", code: "not-signed-in" } });
    expect(await value("account.login", alice)).toEqual({ userId: "@alice:localhost", deviceId: "DEVICE" });
    expect(await started()).toEqual(before);
    expect(accountFolder(profile)).toBe(folder);
  });

  test("signing out wipes the account's files and says so", async () => {
    const profile = temporaryFolder();
    const { value, events, code } = await start(profile, fakeKeychain());
    await value("account.login", alice);
    expect(await value("account.logout")).toEqual({ serverTold: true });
    expect(readdirSync(path.join(profile, "accounts"))).toEqual([]);
    expect(events.at(-1)).toEqual({
      event: "account.changed",
      payload: { status: { at: "signed-out" } },
      account: "@alice:localhost",
    });
    expect(await code("rooms.list")).toBe("not-signed-in");
    expect(await code("account.logout")).toBe("not-signed-in");
  });

  test("signing out where history would be lost is refused with the numbers, unless forced", async () => {
    const profile = temporaryFolder();
    const { value, ask } = await start(profile, fakeKeychain());
    await value("account.login", alice);
    writeFileSync(path.join(accountFolder(profile), "unbacked"), "");
    expect(await ask("account.logout")).toMatchObject({
      error: { code: "history-at-risk", details: { unbackedUp: 3, total: 5 } },
    });
    expect(await value("account.status")).toMatchObject({ at: "signed-in" });
    expect(await value("account.logout", { force: true })).toEqual({ serverTold: true });
  });

  test("signing out while the server is away: nothing deleted; forced, it says that the server was not told", async () => {
    const profile = temporaryFolder();
    const { value, code } = await start(profile, fakeKeychain());
    await value("account.login", alice);
    writeFileSync(path.join(accountFolder(profile), "server-away"), "");
    expect(await code("account.logout")).toBe("unreachable");
    expect(existsSync(accountFolder(profile))).toBe(true);
    expect(await value("account.status")).toMatchObject({ at: "signed-in" });
    expect(await value("account.logout", { force: true })).toEqual({ serverTold: false });
    expect(readdirSync(path.join(profile, "accounts"))).toEqual([]);
  });

  test("at a start nothing is deleted but what a sign-out has marked", async () => {
    const profile = temporaryFolder();
    const keychain = fakeKeychain();
    const first = await start(profile, keychain);
    await first.value("account.login", alice);
    await first.host.stop();
    const unmarked = path.join(profile, "accounts", "0123456789abcdef0123456789abcdef");
    mkdirSync(unmarked);
    await start(profile, keychain);
    expect(existsSync(unmarked)).toBe(true);
    expect(readdirSync(path.join(profile, "accounts"))).toHaveLength(2);
  });
});

describe("the core's worker", () => {
  test("a crash answers what waited, retryably, and the next call finds a new worker that knows of it", async () => {
    const { value, ask, started } = await start(temporaryFolder(), fakeKeychain());
    await value("account.login", alice);
    const waiting = ask("timeline.load", { roomId });
    for (const way of ["crash", "throw"]) {
      expect(await ask(...send(way))).toMatchObject({ error: { code: "unexpected", retryable: true } });
      expect((await started()).orderly).toBe(false);
    }
    expect(await waiting).toMatchObject({ error: { code: "unexpected", retryable: true } });
    expect(await value("account.status")).toMatchObject({ at: "signed-in" });
  });

  test("one account's crash leaves the other alone", async () => {
    const { value, ask } = await start(temporaryFolder(), fakeKeychain());
    await value("account.login", alice);
    await value("account.login", { ...alice, user: "bob" });
    const waiting = ask("timeline.load", { roomId }, "@bob:localhost");
    await ask(...send("crash"), "@alice:localhost");
    const first = await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 300, "still waiting"))]);
    expect(first).toBe("still waiting");
  });

  test("one that cannot start says why, and the status too", async () => {
    const { value, ask, events } = await start(temporaryFolder(), fakeKeychain());
    await value("account.login", alice);
    await ask(...send("refuse to start"));
    await until(() => events.some(({ payload }) => JSON.stringify(payload).includes("database-corrupt")));
    expect(await value("account.status")).toMatchObject({
      at: "signed-in",
      sync: { at: "stopped", code: "database-corrupt" },
    });
    expect(await ask("rooms.list")).toMatchObject({ error: { code: "database-corrupt" } });
  });

  test.each(["hang on stop", "hang"])(
    "one that hangs (%s) is ended, and the next start knows that it was not orderly",
    async (way) => {
      const profile = temporaryFolder();
      const keychain = fakeKeychain();
      const first = await start(profile, keychain);
      await first.value("account.login", alice);
      await first.started();
      await Promise.race([first.ask(...send(way)), new Promise((resolve) => setTimeout(resolve, 300))]);
      await first.host.stop();
      const second = await start(profile, keychain);
      expect((await second.started()).orderly).toBe(false);
      await second.host.stop();
      expect((await (await start(profile, keychain)).started()).orderly).toBe(true);
    },
  );

  test("its keys have left the host's memory for the worker's", async () => {
    const profile = temporaryFolder();
    const { value, code } = await start(profile, fakeKeychain());
    await value("account.login", alice);
    await value("vault.lock");
    expect(await code("rooms.list")).toBe("locked");
    expect(await value("account.status")).toEqual({ at: "signed-out" });
    expect(readFileSync(path.join(accountFolder(profile), "stops"), "utf8")).toBe("orderly\n");
    expect(await value("vault.retryKeychain")).toEqual({ at: "ready" });
    expect(await value("rooms.list")).toEqual([]);
  });
});

const registryFiles = (profile: string) =>
  ["accounts.sealed", "accounts.copy.sealed"].map((name) => path.join(profile, name));

test("a registry that is damaged or gone: its copy has the accounts, and both are whole again", async () => {
  const profile = temporaryFolder();
  const keychain = fakeKeychain();
  const first = await start(profile, keychain);
  await first.value("account.login", alice);
  await first.host.stop();
  const [whole] = registryFiles(profile).map((file) => readFileSync(file));
  for (const file of registryFiles(profile))
    for (const damage of [Buffer.alloc(0), Buffer.alloc(80, 1), undefined]) {
      if (damage === undefined) rmSync(file);
      else writeFileSync(file, damage);
      const again = await start(profile, keychain);
      expect(await again.value("account.status")).toMatchObject({ at: "signed-in" });
      await again.host.stop();
      for (const one of registryFiles(profile)) expect(readFileSync(one)).toEqual(whole);
    }
});

test("a registry and its copy that are damaged make the vault corrupt, start nobody and are left as they are", async () => {
  const profile = temporaryFolder();
  const keychain = fakeKeychain();
  const first = await start(profile, keychain);
  await first.value("account.login", alice);
  await first.host.stop();
  for (const file of registryFiles(profile)) {
    const damaged = readFileSync(file);
    damaged[40] = (damaged[40] ?? 0) ^ 1;
    writeFileSync(file, damaged);
  }
  const [damaged] = registryFiles(profile).map((file) => readFileSync(file));
  const second = await start(profile, keychain);
  expect(await second.value("vault.status")).toMatchObject({ at: "corrupt" });
  expect(await second.code("account.login", alice)).toBe("database-corrupt");
  for (const file of registryFiles(profile)) expect(readFileSync(file)).toEqual(damaged);
});

test("the app's own commands", async () => {
  const profile = temporaryFolder();
  const keychain = fakeKeychain();
  const first = await start(profile, keychain);
  expect(await first.value("app.info")).toMatchObject({ protocol: 1, door: "headless", version: "0" });
  expect(await first.value("app.preferences", { theme: "dark" })).toMatchObject({ theme: "dark", language: "system" });
  expect(await first.code("app.openLink", { url: "https://example.org" })).toBe("unsupported");
  expect(await first.code("file.choose", { purpose: "open" })).toBe("unsupported");
  await first.host.stop();
  const second = await start(profile, keychain);
  expect(await second.value("app.preferences")).toMatchObject({ theme: "dark" });
  await second.host.stop();
  for (const damage of ["", "[]", "null", '{"theme":"loud","roomsWidthPx":400}']) {
    writeFileSync(path.join(profile, "preferences.json"), damage);
    const third = await start(profile, keychain);
    expect(await third.value("app.preferences")).toMatchObject({ theme: "system" });
    await third.host.stop();
  }
});

test("a window's door: links open checked, a chosen file is a grant", async () => {
  const opened: string[] = [];
  const host = await startHost({
    profile: temporaryFolder(),
    door: "electron",
    version: "0",
    workerUrl,
    keychain: fakeKeychain(),
    openExternal: (url) => Promise.resolve(void opened.push(url)),
    chooseFile: () => Promise.resolve({ path: "/home/a/keys.txt", sizeBytes: 5 }),
  });
  onTestFinished(() => host.stop());
  const ask = (name: string, input: object) =>
    host.handle({ id: 1, name, input }, { door: "electron", isWindow: true });
  expect(await ask("app.openLink", { url: "HTTPS://Example.org/a b" })).toMatchObject({ ok: true });
  for (const url of ["javascript:alert(1)", "file:///etc/passwd", "https://", "data:text/html,x"])
    expect(await ask("app.openLink", { url })).toMatchObject({ error: { code: "bad-request" } });
  expect(opened).toEqual(["https://example.org/a%20b"]);
  const chosen = (await ask("file.choose", { purpose: "open" })) as { value: { path: string } };
  expect(chosen.value).toMatchObject({ name: "keys.txt", sizeBytes: 5 });
  expect(chosen.value.path).toMatch(/^[\w-]{22}$/);
});

test("a window saves what it drew into the file that was chosen, once, for this person alone", async () => {
  const folder = temporaryFolder();
  const file = path.join(folder, "code.svg");
  writeFileSync(file, "what was there before");
  const host = await startHost({
    profile: temporaryFolder(),
    door: "electron",
    version: "0",
    workerUrl,
    keychain: fakeKeychain(),
    chooseFile: () => Promise.resolve({ path: file }),
  });
  onTestFinished(() => host.stop());
  const ask = (name: string, input: object, isWindow = true) =>
    host.handle({ id: 1, name, input }, { door: "electron", isWindow });
  const base64 = Buffer.from("<svg/>").toString("base64");
  const choose = async () => (await ask("file.choose", { purpose: "save" })) as { value: { path: string } };
  const grant = (await choose()).value.path;
  expect(await ask("file.save", { path: file, base64 })).toMatchObject({ error: { code: "forbidden" } });
  expect(await ask("file.save", { path: grant, base64: "<svg/>" })).toMatchObject({ error: { code: "bad-request" } });
  expect(await ask("file.save", { path: grant, base64 })).toMatchObject({ ok: true, value: { sizeBytes: 6 } });
  expect(readFileSync(file, "utf8")).toBe("<svg/>");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(["code.svg"]);
  expect(await ask("file.save", { path: grant, base64 })).toMatchObject({ error: { code: "forbidden" } });
  expect(await ask("file.save", { path: file, base64 }, false)).toMatchObject({ error: { code: "unsupported" } });
  rmSync(folder, { recursive: true });
  expect(await ask("file.save", { path: (await choose()).value.path, base64 })).toMatchObject({
    error: { code: "not-found" },
  });
});

test("links that the system opens wait for the window, one of many, and are in no event and no log", async () => {
  const lines: string[] = [];
  const { host, value } = await start(temporaryFolder(), fakeKeychain(), (line) => lines.push(line));
  onTestFinished(() => host.stop());
  const events: unknown[] = [];
  host.on((event) => events.push(event));
  expect(await value("app.takeLink")).toEqual({ others: 0 });
  for (const text of ["https://example.org", "file:///etc/passwd", "--profile=/tmp", `matrix:${"a".repeat(3000)}`])
    host.openLink(text);
  expect(await value("app.takeLink")).toEqual({ others: 0 });
  for (let count = 0; count < 50; count += 1) host.openLink(`matrix:u/p${count}:example.org?action=chat&x.sj=SECRET`);
  host.openLink("tessera:u/last:example.org");
  expect(events).toEqual([{ event: "app.linkWaiting", payload: {} }]);
  expect(await value("app.takeLink")).toEqual({
    text: "matrix:u/p0:example.org?action=chat&x.sj=SECRET",
    others: 50,
  });
  expect(await value("app.takeLink")).toEqual({ others: 0 });
  expect(lines.join("\n")).not.toContain("SECRET");
});

test("the profile and its logs hold no password, passphrase, key or token", async () => {
  const profile = temporaryFolder();
  const keychain = fakeKeychain();
  const lines: string[] = [];
  const { host, value, ask } = await start(profile, keychain, (line) => lines.push(line));
  await value("account.login", alice);
  await value("vault.setPassphrase", { passphrase: "staple battery" });
  await ask("vault.unlock", { passphrase: "mistyped battery" });
  await ask("account.login", { ...alice, password: "wrong" });
  await ask("timeline.send", { roomId, body: "a body of a message" });
  await ask("timeline.send", { roomId, body: "throw" });
  await host.stop();
  const [rootKey = ""] = keychain.entries.values();
  const secrets = ["correct horse", "battery", token, "a body of a message", rootKey];
  const everything = [...filesOf(profile)].filter(([file]) => !file.startsWith("accounts/"));
  expect(everything.map(([file]) => file)).toContain("logs/tessera.log");
  for (const secret of secrets) {
    for (const form of [
      secret,
      Buffer.from(secret).toString("base64").replace(/=+$/, ""),
      Buffer.from(secret).toString("hex"),
    ])
      for (const [file, bytes] of everything) expect([file, bytes.includes(form)]).toEqual([file, false]);
    expect(lines.join("")).not.toContain(secret);
  }
  const rawKey = Buffer.from(rootKey, "base64url");
  for (const [file, bytes] of everything) expect([file, bytes.includes(rawKey)]).toEqual([file, false]);
});

describe("another device for the same account", () => {
  const renew = (deviceName: string) => ["account.renew", { password: "correct horse", deviceName }] as const;
  const notEnded = /a session that was not taken is still on the server: unreachable/;

  test("the account goes on in its folder, with its keys, as the new device; also after a restart", async () => {
    const profile = temporaryFolder();
    const keychain = fakeKeychain();
    const { host, value, started, events } = await start(profile, keychain);
    await value("account.login", alice);
    const before = await started();
    const folder = accountFolder(profile);
    expect(await value(...renew("NEW"))).toEqual({ userId: "@alice:localhost", deviceId: "NEW" });
    expect(events.at(-1)).toMatchObject({ event: "account.changed", payload: { status: { deviceId: "NEW" } } });
    expect(await started()).toEqual(before);
    await host.stop();
    const second = await start(profile, keychain);
    expect(await second.value("account.status")).toMatchObject({ deviceId: "NEW" });
    expect(accountFolder(profile)).toBe(folder);
  });

  test("a wrong password, a server that names the same device or another user, nobody signed in: nothing changes", async () => {
    const { code, value, events } = await start(temporaryFolder(), fakeKeychain());
    expect(await code(...renew("NEW"))).toBe("not-signed-in");
    await value("account.login", alice);
    const told = events.length;
    expect(await code("account.renew", { password: "wrong" })).toBe("forbidden");
    expect(await code("account.renew", { password: "correct horse" })).toBe("unexpected");
    expect(events).toHaveLength(told);
    expect(await code(...renew("SOMEBODY ELSE"))).toBe("unexpected");
    expect(await value("account.status")).toMatchObject({ userId: "@alice:localhost", deviceId: "DEVICE" });
    expect(await value("rooms.list")).toEqual([]);
  });

  test("where the keys cannot be put by, the old device goes on, and the new session is ended, at the next start if not now", async () => {
    const profile = temporaryFolder();
    const keychain = fakeKeychain();
    const lines: string[] = [];
    const { host, code, value } = await start(profile, keychain, (line) => lines.push(line));
    await value("account.login", alice);
    writeFileSync(path.join(accountFolder(profile), "no-salvage"), "");
    expect(await code(...renew("NEW"))).toBe("disk-full");
    expect(await value("account.status")).toMatchObject({ deviceId: "DEVICE" });
    expect(await value("rooms.list")).toEqual([]);
    expect(lines.filter((line) => notEnded.test(line))).toEqual([]);
    expect(await code(...renew("KEPT"))).toBe("disk-full");
    expect(lines.filter((line) => notEnded.test(line))).toHaveLength(1);
    await host.stop();
    const second = await start(profile, keychain, (line) => lines.push(line));
    await until(() => lines.filter((line) => notEnded.test(line)).length === 2);
    expect(await second.value("rooms.list")).toEqual([]);
  });

  test.each(["stopped", "locked"])(
    "%s in the middle: no core is started behind it, and the old device comes back",
    async (how) => {
      const profile = temporaryFolder();
      const keychain = fakeKeychain();
      const first = await start(profile, keychain);
      await first.value("account.login", alice);
      const folder = accountFolder(profile);
      writeFileSync(path.join(folder, "slow-salvage"), "");
      if (how === "locked") await first.value("vault.setPassphrase", { passphrase: "a passphrase of the tests" });
      const renewed = first.code(...renew("NEW"));
      await until(() => existsSync(path.join(folder, "salvaging")));
      if (how === "locked") await first.value("vault.lock");
      else await first.host.stop();
      expect(await renewed).not.toBe("ok");
      // what a running core leaves in its folder
      expect(existsSync(path.join(folder, "in-use"))).toBe(false);
      if (how === "locked") await first.value("vault.unlock", { passphrase: "a passphrase of the tests" });
      const second = how === "locked" ? first : await start(profile, keychain);
      expect(await second.value("account.status")).toMatchObject({ deviceId: "DEVICE" });
      expect(await second.value("rooms.list")).toEqual([]);
    },
  );
});

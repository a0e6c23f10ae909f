import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { filesOf, hashesOf, temporaryFolder } from "./folder.ts";
import { startHeadless } from "./headless-process.ts";

const withoutBus = { ...process.env, DBUS_SESSION_BUS_ADDRESS: "unix:path=/nonexistent", DISPLAY: "" };
const roomId = "!room:localhost";
const alice = { homeserver: "http://127.0.0.1:1", user: "alice", password: "a password" };

/** A folder with a passphrase file beside a profile. */
function place(passphrase = "correct horse"): {
  profile: string;
  args: string[];
  passphraseFile: (text: string) => string;
} {
  const folder = temporaryFolder();
  const profile = path.join(folder, "profile");
  const passphraseFile = (text: string) => {
    const file = path.join(folder, `passphrase-${text.length}`);
    writeFileSync(file, `${text}\nanother line\n`);
    return file;
  };
  return { profile, args: ["--profile", profile, "--passphrase-file", passphraseFile(passphrase)], passphraseFile };
}

const isReady = (line: { event?: string }) => line.event === "app.ready";

describe("starting", () => {
  test("a new profile: app.ready says new, then vault.changed says ready, and it is usable at once", async () => {
    const app = startHeadless(place().args);
    app.write('{"id":"early","name":"account.list","input":{}}\n');
    expect(await app.line((line) => line.id === "early")).toEqual({ id: "early", ok: true, value: [] });
    expect(app.lines[0]).toEqual({
      event: "app.ready",
      payload: { protocol: 1, version: expect.stringMatching(/^\d/) as string, vault: { at: "new" } },
    });
    expect(app.lines).toContainEqual({ event: "vault.changed", payload: { at: "ready" } });
  });

  test("a matching profile: app.ready says ready, and account.status says signed-in right after", async () => {
    const { args } = place();
    const first = startHeadless(args);
    expect(await first.ask("account.login", alice)).toMatchObject({ ok: true });
    first.child.stdin?.end();
    expect((await first.exit()).code).toBe(0);
    const second = startHeadless(args);
    expect(await second.line(isReady)).toMatchObject({ payload: { vault: { at: "ready" } } });
    expect(await second.ask("account.status")).toMatchObject({
      value: { at: "signed-in", userId: "@alice:localhost" },
    });
    expect(second.lines[0]).toMatchObject({ event: "app.ready" });
  });

  test("a wrong passphrase: locked, stays, wrong-key, and no file changes but the logs and the lock", async () => {
    const { profile, args, passphraseFile } = place();
    const first = startHeadless(args);
    await first.ask("account.login", alice);
    first.child.kill("SIGKILL");
    await first.exit();
    const others = (file: string) => !file.startsWith("logs/") && file !== "profile.lock";
    const before = hashesOf(profile, others);
    expect(Object.keys(before).length).toBeGreaterThan(2);
    const app = startHeadless(["--profile", profile, "--passphrase-file", passphraseFile("wrong")]);
    expect(await app.line(isReady)).toMatchObject({ payload: { vault: { at: "locked" } } });
    for (const name of ["account.list", "rooms.list", "account.logout"])
      expect(await app.ask(name)).toMatchObject({ error: { code: "locked" } });
    expect(await app.ask("account.login", alice)).toMatchObject({ error: { code: "locked" } });
    expect(await app.ask("account.status")).toMatchObject({ ok: true });
    expect(await app.ask("vault.status")).toMatchObject({ value: { at: "locked", passphrase: true } });
    expect(await app.ask("vault.unlock", { passphrase: "wrong too" })).toMatchObject({ error: { code: "wrong-key" } });
    expect(hashesOf(profile, others)).toEqual(before);
    expect(await app.ask("vault.unlock", { passphrase: "correct horse" })).toMatchObject({ ok: true });
    expect(await app.ask("account.status")).toMatchObject({ value: { at: "signed-in" } });
    app.child.kill("SIGTERM");
    expect((await app.exit()).code).toBe(0);
  });

  test("no keychain and no passphrase: missing, keychain-missing, and no key is made", async () => {
    const { profile } = place();
    const app = startHeadless(["--profile", profile], withoutBus);
    await app.line(isReady);
    // that it still waits for the keychain is told too, where the answer takes its time
    await app.line((line) => line.event === "vault.changed" && (line.payload as { at: string }).at === "missing");
    expect(await app.ask("vault.status")).toMatchObject({ value: { at: "missing", keychain: { ok: false } } });
    expect(await app.ask("account.login", alice)).toMatchObject({ error: { code: "keychain-missing" } });
    expect([...filesOf(profile).keys()].sort()).toEqual(["logs/tessera.log", "profile.lock"]);
  });

  test("two processes on one profile: the second says conflict and exits 3, the first is undisturbed", async () => {
    const { args } = place();
    const first = startHeadless(args);
    await first.line(isReady);
    const second = startHeadless(args);
    expect(await second.exit()).toMatchObject({ code: 3 });
    expect(second.lines).toEqual([
      { event: "app.failed", payload: { code: "conflict", message: expect.any(String) as string } },
    ]);
    expect(await first.ask("account.list")).toMatchObject({ ok: true });
  });

  test("after SIGKILL the profile is free, and what was acknowledged is there", async () => {
    const { args } = place();
    for (let round = 0; round < 3; round += 1) {
      const app = startHeadless(args);
      const status = await app.ask("account.status");
      if (round === 0) expect(await app.ask("account.login", alice)).toMatchObject({ ok: true });
      else expect(status).toMatchObject({ value: { at: "signed-in" } });
      app.child.kill("SIGKILL");
      await app.exit();
    }
  });

  test.each([
    ["no profile", (_: string) => []],
    ["an unknown switch", (folder: string) => ["--profile", folder, "--what"]],
    [
      "no such passphrase file",
      (folder: string) => ["--profile", folder, "--passphrase-file", path.join(folder, "none")],
    ],
    ["a file in the profile's place", (folder: string) => ["--profile", path.join(folder, "file")]],
    ["an empty passphrase", (folder: string) => ["--profile", folder, "--passphrase-file", path.join(folder, "file")]],
  ])("%s: one line app.failed and exit 1", async (_what, argsIn) => {
    const folder = temporaryFolder();
    writeFileSync(path.join(folder, "file"), "");
    const app = startHeadless(argsIn(folder));
    expect(await app.exit()).toMatchObject({ code: 1 });
    expect(app.lines).toEqual([
      { event: "app.failed", payload: { code: expect.any(String) as string, message: expect.any(String) as string } },
    ]);
  });

  test("paths are relative to the folder of the caller", async () => {
    const folder = temporaryFolder();
    mkdirSync(path.join(folder, "below"));
    writeFileSync(path.join(folder, "below", "pass"), "correct horse\r\n");
    const app = startHeadless(["--profile", "mine", "--passphrase-file", "below/pass"], {
      ...process.env,
      TESSERA_CALLERS_FOLDER: folder,
    });
    await app.ask("account.list");
    expect(filesOf(path.join(folder, "mine")).has("vault.json")).toBe(true);
    expect(await app.ask("vault.setPassphrase", { passphrase: "x", current: "correct horse" })).toMatchObject({
      ok: true,
    });
  });
});

describe("lines", () => {
  test("what cannot be read is answered with id null, and what follows is served", async () => {
    const app = startHeadless(place().args);
    await app.line(isReady);
    const bad = [
      Buffer.from("garbage\n"),
      Buffer.from("{\n"),
      Buffer.from([0x22, 0xff, 0xfe, 0x22, 0x0a]),
      Buffer.from("null\n"),
      Buffer.from("\u0000\n"),
    ];
    for (const line of bad) app.write(line);
    app.write("\n\r\n");
    expect(await app.ask("account.list")).toMatchObject({ ok: true });
    const refused = app.lines.filter((line) => line.id === null);
    expect(refused.map((line) => line.error?.code)).toEqual(bad.map(() => "bad-request"));
  });

  test("a line of 2 MiB is refused once, without being kept, and what follows is served", async () => {
    const app = startHeadless(place().args);
    await app.line(isReady);
    const body = "x".repeat(2 * 1024 * 1024);
    app.write(`${JSON.stringify({ id: 1, name: "timeline.send", input: { roomId, body } })}\n`);
    expect(await app.ask("account.list")).toMatchObject({ ok: true });
    expect(app.lines.filter((line) => line.id === null)).toMatchObject([{ error: { code: "bad-request" } }]);
    expect(app.lines.some((line) => line.id === 1)).toBe(false);
  });

  test("a line may come in pieces, and several in one", async () => {
    const app = startHeadless(place().args);
    await app.ask("account.list");
    for (const byte of Buffer.from('{"id":"ü1","name":"account.list","input":{}}\n')) {
      app.write(Uint8Array.of(byte));
      await sleep(1);
    }
    app.write('{"id":2,"name":"app.info","input":{}}\n{"id":3,"name":"app.info","input":{}}\n{"id":4,');
    for (const id of ["ü1", 2, 3]) expect(await app.line((line) => line.id === id)).toMatchObject({ ok: true });
  });

  test("answers come out of order: one that waits holds up nothing", async () => {
    const app = startHeadless(place().args);
    await app.ask("account.login", alice);
    app.write(`${JSON.stringify({ id: "slow", name: "timeline.load", input: { roomId } })}\n`);
    expect(await app.ask("rooms.list")).toMatchObject({ ok: true });
    expect(app.lines.some((line) => line.id === "slow")).toBe(false);
  });

  test("stdout carries the protocol alone, with --verbose too, whatever a core prints", async () => {
    const { args } = place();
    const app = startHeadless([...args, "--verbose"]);
    await app.ask("account.login", alice);
    await app.ask("rooms.list");
    app.child.kill("SIGTERM");
    await app.exit();
    const lines = app.stdout().split("\n");
    expect(lines.pop()).toBe("");
    for (const line of lines) expect(JSON.parse(line)).toSatisfy((value: object) => "event" in value || "id" in value);
    expect(app.stderr()).toContain("account.login ok");
    expect(app.stderr() + app.stdout()).not.toContain("a library that prints");
    expect(app.stderr()).not.toContain("a password");
  });

  test("without --verbose stderr is silent", async () => {
    const app = startHeadless(place().args);
    await app.ask("account.login", alice);
    app.child.kill("SIGTERM");
    await app.exit();
    expect(app.stderr()).toBe("");
  });

  test("a reader that is slow gets every answer", async () => {
    const app = startHeadless(place().args);
    await app.ask("account.list");
    app.child.stdout?.pause();
    const count = 20_000;
    const request = (id: number) => `{"id":${id},"name":"app.info","input":{}}\n`;
    app.write(Array.from({ length: count }, (_, id) => request(id)).join(""));
    await sleep(500);
    app.child.stdout?.resume();
    await Promise.all([app.line((line) => line.id === count - 1), app.line((line) => line.id === 0)]);
    expect(new Set(app.lines.flatMap(({ id }) => (typeof id === "number" ? [id] : []))).size).toBe(count);
  });
});

describe("ending", () => {
  const ways = {
    "the end of stdin": (app: ReturnType<typeof startHeadless>) => app.child.stdin?.end(),
    SIGTERM: (app: ReturnType<typeof startHeadless>) => app.child.kill("SIGTERM"),
    SIGINT: (app: ReturnType<typeof startHeadless>) => app.child.kill("SIGINT"),
    "a reader that is gone": (app: ReturnType<typeof startHeadless>) => {
      app.child.stdout?.destroy();
      app.write('{"id":1,"name":"app.info","input":{}}\n');
    },
  };

  test.each(Object.entries(ways))("%s: an orderly stop, exit 0", async (_way, end) => {
    const { profile, args } = place();
    const app = startHeadless(args);
    await app.ask("account.login", alice);
    await app.ask("rooms.list");
    end(app);
    const { code, tookMs } = await app.exit();
    expect(code).toBe(0);
    console.log(`ended after ${tookMs} ms; 3,000 are promised`);
    const files = filesOf(profile);
    expect([...files.keys()].filter((file) => file.endsWith("/in-use"))).toEqual([]);
    expect([...files].find(([file]) => file.endsWith("/stops"))?.[1].toString()).toBe("orderly\n");
  });

  test.each(["hang on stop", "hang"])("a core that hangs (%s) does not hold it up", async (body) => {
    const app = startHeadless(place().args);
    await app.ask("account.login", alice);
    app.write(`${JSON.stringify({ id: 1, name: "timeline.send", input: { roomId, body } })}\n`);
    await sleep(500);
    app.child.kill("SIGTERM");
    const { code, tookMs } = await app.exit();
    expect(code).toBe(0);
    console.log(`ended after ${tookMs} ms; 3,000 are promised`);
  });

  test("what was asked before the end of stdin is answered", async () => {
    const app = startHeadless(place().args);
    await app.line((line) => line.event === "vault.changed");
    for (let id = 0; id < 5; id += 1) app.write(`{"id":${id},"name":"account.list","input":{}}\n`);
    app.child.stdin?.end();
    expect((await app.exit()).code).toBe(0);
    expect(app.lines.filter((line) => line.ok === true)).toHaveLength(5);
  });

  test("what is never answered does not hold up the end, nor does a core that hangs then", async () => {
    const app = startHeadless(place().args);
    await app.ask("account.login", alice);
    app.write(`${JSON.stringify({ id: 1, name: "timeline.send", input: { roomId, body: "hang" } })}\n`);
    await sleep(500);
    app.child.stdin?.end();
    const { code, tookMs } = await app.exit();
    expect(code).toBe(0);
    console.log(`ended after ${tookMs} ms; 3,000 are promised`);
  });

  test("a starter that dies without a word ends it too, though stdin stays open", async () => {
    const { args } = place();
    const fixture = fileURLToPath(new URL("./fixtures/headless.ts", import.meta.url));
    // the starter gives its own stdin and stdout away, as npm and a shell do
    const starter = `require("node:child_process").spawn(process.execPath, process.argv.slice(1), { stdio: "inherit" })`;
    const app = startHeadless([fixture, ...args], process.env, [process.execPath, "-e", starter]);
    await app.ask("account.list");
    app.child.kill("SIGKILL");
    // stdout closes when the last process that holds it has ended
    const closed = app.child.stdout === null ? Promise.resolve() : once(app.child.stdout, "close");
    const startedMs = Date.now();
    await closed;
    console.log(`ended after ${Date.now() - startedMs} ms; 3,000 are promised`);
  });
});

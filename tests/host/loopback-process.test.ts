import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildIfStale } from "../../scripts/build.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const folder = mkdtempSync(path.join(tmpdir(), "tessera-loopback-process-test-"));
const passphraseFile = path.join(folder, "passphrase");

beforeAll(async () => {
  await buildIfStale();
  writeFileSync(passphraseFile, "a passphrase of this test\n");
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Starts the built door; answers once it has said where it is. */
async function start(command: string, args: string[], profile: string) {
  const more = ["--profile", profile, "--passphrase-file", passphraseFile, "--no-open"];
  const child = spawn(command, [...args, ...more], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, TESSERA_CALLERS_FOLDER: folder },
  });
  const ended = once(child, "exit") as Promise<[number | null]>;
  let said = "";
  child.stdout.setEncoding("utf8");
  for await (const text of child.stdout.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
    said += text;
    if (said.includes("#token=")) break;
  }
  child.stdout.resume();
  child.stderr.resume();
  const file = fileURLToPath(/file:\S+/.exec(said)?.[0] ?? "file:///");
  const address = new URL(/http:\S+/.exec(said)?.[0] ?? "");
  return { child, ended, file, address };
}

const refuses = (origin: string) =>
  fetch(origin).then(
    () => false,
    () => true,
  );
const isGone = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

test("says where the window is, opens it to nobody without the token, and ends with a signal", async () => {
  const { child, ended, file, address } = await start(process.execPath, ["dist/main/loopback.js"], "one");
  expect(address.hostname).toBe("127.0.0.1");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readFileSync(file, "utf8")).toContain(address.href);
  // relative paths start at the caller's folder
  expect(existsSync(path.join(folder, "one", "logs"))).toBe(true);
  const page = await fetch(address.origin);
  expect(page.status).toBe(200);
  expect(await page.text()).toContain("/bridge.js");
  child.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
  expect(existsSync(file)).toBe(false);
  expect(await refuses(address.origin)).toBe(true);
  const log = readFileSync(path.join(folder, "one", "logs", "tessera.log"), "utf8");
  expect(log).not.toContain(address.hash.slice("#token=".length));
});

test("a shell between that dies without passing the signal on takes the door with it", async () => {
  const line = `"${process.execPath}" dist/main/loopback.js "$@"; true`;
  const { child, file, address } = await start("sh", ["-c", line, "sh"], "two");
  child.kill("SIGKILL");
  while (!isGone(child) || existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 50));
  while (!(await refuses(address.origin))) await new Promise((resolve) => setTimeout(resolve, 50));
});

test("npm start falls back to it and says why in one line", async () => {
  const { DISPLAY: _x, WAYLAND_DISPLAY: _y, ...env } = process.env;
  const child = spawn(
    process.execPath,
    ["scripts/start.mjs", "--profile", "three", "--passphrase-file", passphraseFile, "--no-open"],
    {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...env, TESSERA_CALLERS_FOLDER: folder },
    },
  );
  const ended = once(child, "exit");
  let said = "";
  let told = "";
  child.stderr.on("data", (data: Buffer) => (told += data.toString()));
  child.stdout.on("data", (data: Buffer) => (said += data.toString()));
  while (!said.includes("#token=")) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill("SIGINT");
  await ended;
  const lines = told.split("\n").filter((line) => line.startsWith("[start]"));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^\[start\] In the browser, not in Electron's window: .+\.$/);
});

// `npm run demo`: a real Synapse on loopback, two accounts, an encrypted chat between them; the app opens signed in as the
// first, and the second answers from a headless process. `--check` does the same without a person and says how it went.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openHeadless } from "../tests/e2e/headless-app.ts";
import { startHomeserver } from "../tests/homeserver/homeserver.ts";
import { buildIfStale } from "./build.mjs";
import { checkWindow } from "./demo-check.mjs";
import { fillRooms, keepAnswering, password, people } from "./demo-people.mjs";
import { chooseWindow } from "./start.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const demos = path.join(root, ".cache", "demo");
const patienceMs = 2500;
const isCheck = process.argv.includes("--check");
const startedMs = performance.now();
const seconds = () => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
const say = (line) => console.log(`[demo] ${line}`);

/** What was started, ended in the reverse order. */
const ends = [];
let ending;

function end(code) {
  ending ??= (async () => {
    for (const stop of ends.toReversed()) await inTime(stop);
    process.exit(code);
  })();
  return ending;
}

async function inTime(stop) {
  const patience = new Promise((resolve) => setTimeout(resolve, patienceMs));
  // what has ended by itself needs no ending
  await Promise.race([patience, Promise.resolve(stop()).catch(() => undefined)]);
}

function watchForTheEnd() {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => void end(isCheck ? 1 : 0));
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) void end(1);
  }, 500).unref();
}

/** A folder of this run's own; those of runs that were killed go. */
function newFolder() {
  mkdirSync(demos, { recursive: true });
  for (const name of readdirSync(demos)) if (!runs(Number(name))) rmSync(path.join(demos, name), { recursive: true });
  const folder = path.join(demos, String(process.pid));
  mkdirSync(folder, { mode: 0o700 });
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function runs(pid) {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Signed in on a profile of its own, with a passphrase of its own. */
async function signIn(folder, homeserver, account) {
  const passphraseFile = path.join(folder, `${account.name}.passphrase`);
  writeFileSync(passphraseFile, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 });
  const app = await openHeadless({ profile: path.join(folder, account.name), passphraseFile });
  ends.push(() => app.remove());
  const { userId } = await app.call("account.login", { homeserver: homeserver.url, user: account.userId, password });
  await app.call("account.sync", {});
  return { ...account, app, userId };
}

async function prepare() {
  const folder = newFolder();
  const [homeserver] = await Promise.all([startHomeserver(), buildIfStale()]);
  ends.push(() => homeserver.stop());
  say(`${homeserver.version} at ${homeserver.url} after ${seconds()}`);
  const accounts = await Promise.all(
    people.map(async ({ name, displayName }) => {
      const { userId } = await homeserver.register(name, { password, displayName });
      return { name, displayName, userId };
    }),
  );
  const [ana, ben, cleo] = await Promise.all(accounts.map((account) => signIn(folder, homeserver, account)));
  const { roomId, before } = await fillRooms(ana, ben, cleo);
  // what arrives now is unread when the window opens
  await ana.app.stop();
  await before();
  await cleo.app.stop();
  keepAnswering(ben, ana.userId);
  say(`${ana.displayName} (${ana.userId}) and ${ben.displayName} chat in a room that is encrypted, after ${seconds()}`);
  return { ana, ben, roomId };
}

function openElectron(executable, { app }) {
  const child = spawn(executable, [root, "--profile", app.profile, "--passphrase-file", app.passphraseFile], {
    stdio: "inherit",
  });
  ends.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
  });
  child.once("exit", () => void end(0));
}

async function openDoor({ app }) {
  const [{ startLoopback }, { readPassphraseFile }] = await Promise.all([
    import(new URL("../dist/main/loopback.js", import.meta.url).href),
    import("../main/host/passphrase-file.ts"),
  ]);
  const door = await startLoopback({ profile: app.profile, passphrase: readPassphraseFile(app.passphraseFile) });
  ends.push(() => door.stop());
  return door;
}

async function openInBrowser(ana, reason) {
  const { openOutside, writeAddressFile } = await import("../main/loopback/open-browser.ts");
  const door = await openDoor(ana);
  let page;
  const show = async (address) => {
    page?.remove();
    page = writeAddressFile(address);
    say(`No Electron window here (${reason}); the same app in the browser, once, within two minutes: ${address}`);
    await openOutside(page.file);
  };
  ends.push(() => page?.remove());
  await show(door.url);
  if (process.stdin.isTTY) {
    say("Enter opens another page.");
    createInterface({ input: process.stdin }).on("line", () => void show(door.newAddress()));
  }
}

async function demo() {
  watchForTheEnd();
  const { ana, roomId } = await prepare();
  const { path: electron, reason } = chooseWindow();
  if (isCheck) {
    const door = electron === undefined ? await openDoor(ana) : undefined;
    const passed = await checkWindow({ door, electron, root, profile: ana.app, roomId, say });
    say(`${passed ? "passed" : "failed"} after ${seconds()}`);
    await end(passed ? 0 : 1);
  } else {
    if (electron === undefined) await openInBrowser(ana, reason);
    else openElectron(electron, ana);
    say("Write to Ben: he answers. Ctrl+C ends everything.");
  }
}

demo().catch((error) => {
  console.error(`[demo] ${error instanceof Error ? error.stack : "failed"}`);
  void end(1);
});

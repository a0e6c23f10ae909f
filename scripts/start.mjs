// `npm start`: the app in Electron's window, or in a browser where there is no Electron, no display, or with `-- --browser`.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { buildIfStale } from "./build.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const electronFolder = path.join(root, "node_modules", "electron");
const refusalFile = path.join(root, ".cache", "electron-refusal.json");
const obtainMs = 90_000;
const refusalLastsMs = 24 * 60 * 60_000;
const executables = { darwin: "Electron.app/Contents/MacOS/Electron", win32: "electron.exe" };

/**
 * Where Electron's executable is: `{ path }`, or `{ reason }` why there is none. It looks into
 * ELECTRON_OVERRIDE_DIST_PATH and the installed package; `obtain` lets it try the package's own download, once a day.
 */
export function findElectron({ obtain = false } = {}) {
  const executable = executables[process.platform] ?? "electron";
  const override = process.env.ELECTRON_OVERRIDE_DIST_PATH;
  if (override !== undefined && override !== "") {
    const found = path.join(override, executable);
    return existsSync(found) ? { path: found } : { reason: "ELECTRON_OVERRIDE_DIST_PATH holds no Electron" };
  }
  const installed = path.join(electronFolder, "dist", executable);
  if (existsSync(installed)) return { path: installed };
  const reason = obtain ? obtainElectron() : "no Electron is installed";
  return reason === undefined && existsSync(installed) ? { path: installed } : { reason };
}

/** Undefined when the download succeeded, else why not. A refusal is remembered, so that each start is quick. */
function obtainElectron() {
  const { version } = JSON.parse(readFileSync(path.join(electronFolder, "package.json"), "utf8"));
  const reason = "Electron's download is not to be had here";
  if (existsSync(refusalFile)) {
    const refusal = JSON.parse(readFileSync(refusalFile, "utf8"));
    if (refusal.version === version && Date.now() - refusal.atMs < refusalLastsMs) return reason;
  }
  console.error("[start] Fetching Electron, once.");
  const { status } = spawnSync(process.execPath, [path.join(electronFolder, "install.js")], {
    stdio: "ignore",
    timeout: obtainMs,
    killSignal: "SIGKILL",
  });
  if (status === 0) return undefined;
  mkdirSync(path.dirname(refusalFile), { recursive: true });
  writeFileSync(refusalFile, JSON.stringify({ version, atMs: Date.now() }));
  return reason;
}

/** Why no Electron's window could be opened here, whatever binary there is; or undefined. */
function obstacle() {
  if (process.platform !== "linux") return undefined;
  if (!process.env.DISPLAY && !process.env.WAYLAND_DISPLAY) return "there is no display";
  return process.getuid() === 0 ? "Electron's sandbox needs an ordinary user, and this is root" : undefined;
}

/** Some systems keep sandboxes from programs that are not installed. It is never switched off to open a window. */
function sandboxObstacle(electron) {
  const setting = (name) => {
    const file = `/proc/sys/kernel/${name}`;
    return existsSync(file) ? readFileSync(file, "utf8").trim() : undefined;
  };
  if (setting("apparmor_restrict_unprivileged_userns") !== "1" && setting("unprivileged_userns_clone") !== "0")
    return undefined;
  const helper = statSync(path.join(path.dirname(electron), "chrome-sandbox"), { throwIfNoEntry: false });
  const setUid = helper !== undefined && helper.uid === 0 && (helper.mode & 0o4000) !== 0;
  return setUid ? undefined : "this system keeps sandboxes from programs that are not installed";
}

/** Where the window opens: `{ path }` of an Electron that can, or `{ reason }` why it is the browser. */
export function chooseWindow() {
  const general = obstacle();
  if (general !== undefined) return { reason: general };
  const electron = findElectron({ obtain: true });
  const reason = electron.path === undefined ? electron.reason : sandboxObstacle(electron.path);
  return reason === undefined ? { path: electron.path } : { reason };
}

async function start() {
  const args = process.argv.slice(2).filter((arg) => arg !== "--browser");
  const { path: electron, reason } = process.argv.includes("--browser") ? { reason: "as asked" } : chooseWindow();
  await buildIfStale();
  if (electron !== undefined) return runElectron(electron, args);
  console.error(`[start] In the browser, not in Electron's window: ${reason}.`);
  const { runLoopback } = await import(new URL("../dist/main/loopback.js", import.meta.url).href);
  await runLoopback(args);
}

async function runElectron(electron, args) {
  const child = spawn(electron, [root, ...args], { stdio: "inherit" });
  const { watchAncestors } = await import("../main/host/ancestors.ts");
  watchAncestors(() => child.kill("SIGTERM"));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code) => {
    process.exitCode = code ?? 1;
  });
}

if (import.meta.main) await start();

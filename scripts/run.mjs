// The entry of every npm script. Plain Node 20.19 or newer, no dependencies: it installs what the lock file names once,
// builds keytar, then runs scripts/<task>.mjs on the pinned Node by its absolute path (a shell caches the first `node`).
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
// npm changes into the checkout before it starts a script, and says in INIT_CWD where the caller stood
const callersFolder = process.env.INIT_CWD ?? process.cwd();
process.chdir(root);
const [task = "start", ...rest] = process.argv.slice(2);
// stdout of the headless door belongs to its protocol, so set-up speaks on stderr for every task
const say = (line) => process.stderr.write(`[setup] ${line}\n`);

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  say(`Node 20.19 or newer is needed to begin; this is ${process.version}.`);
  process.exit(1);
}

/** npm exports its own flags to scripts; a nested npm keeps only what says where packages come from. */
function plainEnvironment() {
  const kept = /^npm_config_(registry|cache|userconfig|globalconfig|cafile|(https?_)?proxy|noproxy)$/i;
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith("npm_") || kept.test(name)),
  );
}

function npm(args, extra = {}) {
  const cli = process.env.npm_execpath;
  const [command, first] = cli?.endsWith(".js") ? [process.execPath, [cli]] : ["npm", []];
  const { status } = spawnSync(command, [...first, ...args], {
    stdio: ["ignore", 2, 2],
    env: { ...plainEnvironment(), ...extra },
    shell: process.platform === "win32" && command === "npm",
  });
  return status === 0;
}

const platform = process.platform === "win32" ? "win" : process.platform;
const nodePackage = path.resolve(`node_modules/node-${platform}-${process.arch}`);

function install() {
  const stamp = "node_modules/.tessera-setup";
  const wanted = createHash("sha256")
    .update(readFileSync("package-lock.json"))
    .update(`${process.platform} ${process.arch}`)
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  const startedMs = Date.now();
  say("Installing the packages that the lock file names.");
  if (!npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])) {
    say("npm ci failed; see above.");
    process.exit(1);
  }
  buildKeytar();
  writeFileSync(stamp, wanted);
  say(`Packages ready after ${((Date.now() - startedMs) / 1000).toFixed(0)} s.`);
}

function buildKeytar() {
  const systemPackages = ["build-essential", "python3", "pkg-config", "libsecret-1-dev"];
  const complete = () =>
    process.platform !== "linux" || spawnSync("pkg-config", ["--exists", "libsecret-1"]).status === 0;
  if (!complete()) installWithApt(systemPackages);
  const headers = existsSync(path.join(nodePackage, "include")) ? { npm_config_nodedir: nodePackage } : {};
  if (!npm(["rebuild", "keytar", "--foreground-scripts=false", "--loglevel=error"], headers))
    say(
      `keytar did not build, so the system keychain cannot be used and a passphrase is needed instead. ` +
        `On Debian or Ubuntu: apt-get install ${systemPackages.join(" ")}`,
    );
}

function installWithApt(packages) {
  if (process.platform !== "linux") return;
  const asRoot = process.getuid?.() === 0 ? [] : ["sudo", "-n"];
  const run = (args) => {
    const [command, ...others] = [...asRoot, "apt-get", ...args];
    return spawnSync(command, others, {
      stdio: ["ignore", "ignore", 2],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
  };
  say(`Installing with apt: ${packages.join(" ")}`);
  const updated = run(["update", "-qq"]);
  if (updated.error === undefined && updated.status === 0)
    run(["install", "-y", "-qq", "--no-install-recommends", ...packages]);
}

/** Two terminals may start at once on a fresh checkout: one installs, the other waits. */
function withLock(work) {
  mkdirSync(".cache", { recursive: true });
  const lock = ".cache/setup.lock";
  for (let told = false; ;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      const ageMs = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (ageMs > 15 * 60_000) rmSync(lock, { recursive: true, force: true });
      else if (!told) say("Another set-up is running in this checkout; waiting for it.");
      told = true;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    }
  }
  const release = () => rmSync(lock, { recursive: true, force: true });
  process.once("exit", release);
  try {
    work();
  } finally {
    release();
    process.removeListener("exit", release);
  }
}

withLock(install);

const pinned = path.join(nodePackage, "bin", platform === "win" ? "node.exe" : "node");
const node = existsSync(pinned) ? pinned : process.execPath;
const child = spawn(node, ["--disable-warning=ExperimentalWarning", `scripts/${task}.mjs`, ...rest], {
  stdio: "inherit",
  env: {
    ...process.env,
    TESSERA_CALLERS_FOLDER: callersFolder,
    PATH: [path.dirname(node), path.resolve("node_modules/.bin"), process.env.PATH].join(path.delimiter),
  },
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  process.exitCode = code ?? (signal === "SIGINT" ? 130 : 1);
});

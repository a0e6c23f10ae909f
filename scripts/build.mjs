// Builds dist/{main,preload,renderer} with vite. `node scripts/build.mjs` builds all; `--stale` only what changed.
// Speaks on stderr alone: stdout of the headless door, which calls buildIfStale(), belongs to its protocol.
import { spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { builtinModules } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rememberTransforms, withoutIdleCompiler } from "./build-cache.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => path.join(root, ...parts);
const say = (line) => process.stderr.write(`[build] ${line}\n`);

const always = ["scripts/build.mjs", "package.json", "package-lock.json"];
/** What each bundle is made of (to see whether it is stale), and how it is made. */
const bundles = {
  main: { sources: ["main", "preload/contract", ...always], make: mainBundle },
  preload: { sources: ["preload", ...always], make: preloadBundle },
  renderer: { sources: ["renderer", "preload/contract", "svelte.config.js", ...always], make: rendererBundle },
};
const names = Object.keys(bundles);
/** Code that the renderer's build makes of its messages, and that types and lint want too. */
const messagesMade = at("renderer/src/paraglide/messages.js");
const mainEntries = {
  electron: "main/electron/main.ts",
  worker: "main/core/worker.ts",
  "backup-decrypt": "main/core/matrix/backup-decrypt-worker.ts",
  "keychain-process": "main/host/keychain-process.ts",
  loopback: "main/loopback/main.ts",
  headless: "main/headless/main.ts",
};

/** Builds everything from nothing, as for a package. */
export async function build() {
  await withLock(() => make(names, { keepPrevious: false }));
}

/**
 * Builds the bundles whose sources changed since they were built, and nothing where none did. Vite runs in a process
 * of its own: callers (the headless door above all) keep their memory and their stdout.
 */
export async function buildIfStale() {
  if (staleBundles().length === 0) return;
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "--stale"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  const end = () => child.kill();
  process.once("exit", end);
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("exit", resolve));
  process.removeListener("exit", end);
  if (code !== 0) throw new Error("The build failed; see above.");
}

function staleBundles() {
  const stale = (name) =>
    readStamp(name)?.fingerprint !== fingerprint(name) || (name === "renderer" && !existsSync(messagesMade));
  return names.filter(stale);
}

async function make(wanted, { keepPrevious }) {
  // paraglide and vite's plugins speak through console
  console.log = console.info = console.error;
  const startedMs = Date.now();
  const made = await Promise.all(
    wanted.map(async (name) => {
      const sources = fingerprint(name);
      // beside its place, so that relative paths in source maps hold after the move
      const folder = at("dist", `.${name}-${randomUUID().slice(0, 8)}`);
      try {
        await bundles[name].make(folder);
        return { name, folder, sources };
      } catch (error) {
        rmSync(folder, { recursive: true, force: true });
        throw error;
      }
    }),
  );
  for (const each of made) putInPlace(each, keepPrevious);
  say(`${wanted.join(", ")} after ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
}

/** An app that is running loads hashed files late: those of the build before stay for it, unless a package is made. */
function putInPlace({ name, folder, sources }, keepPrevious) {
  const place = at("dist", name);
  const files = filesBelow(folder);
  if (keepPrevious)
    for (const file of readStamp(name)?.files ?? [])
      if (/^(chunks|assets)\//.test(file) && !files.includes(file) && existsSync(path.join(place, file)))
        cpSync(path.join(place, file), path.join(folder, file));
  writeFileSync(path.join(folder, ".built.json"), JSON.stringify({ fingerprint: sources, files }));
  const old = `${folder}-old`;
  if (existsSync(place)) renameSync(place, old);
  renameSync(folder, place);
  rmSync(old, { recursive: true, force: true });
}

function readStamp(name) {
  const file = at("dist", name, ".built.json");
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
}

const fingerprint = (name) => fingerprintOf(bundles[name].sources);

/** Names, times and sizes of sources: a deleted file counts too. */
function fingerprintOf(sources) {
  const hash = createHash("sha256");
  for (const source of sources) {
    const whole = at(source);
    const files = statSync(whole).isDirectory() ? filesBelow(whole).map((file) => `${source}/${file}`) : [source];
    for (const file of files) {
      const { mtimeMs, size } = statSync(at(file));
      hash.update(`${file} ${mtimeMs} ${size}\n`);
    }
  }
  return hash.digest("hex");
}

/** What the message compiler writes while building is no source. */
const generated = /(^|\/)(paraglide|\.svelte-kit|cache)(\/|$)/;

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((file) => !generated.test(file))
    .sort();
}

async function withLock(work) {
  const lock = at(".cache", "build.lock");
  const owner = path.join(lock, "pid");
  for (;;) {
    mkdirSync(at(".cache"), { recursive: true });
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (isAbandoned(lock, owner)) rmSync(lock, { recursive: true, force: true });
    else await sleep(100);
  }
  try {
    writeFileSync(owner, String(process.pid));
    mkdirSync(at("dist"), { recursive: true });
    // what a build that was killed left behind
    for (const entry of readdirSync(at("dist")))
      if (entry.startsWith(".")) rmSync(at("dist", entry), { recursive: true });
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function isAbandoned(lock, owner) {
  try {
    const pid = Number(readFileSync(owner, "utf8"));
    if (pid > 0) process.kill(pid, 0);
    return false;
  } catch (error) {
    if (error.code === "EPERM") return false;
    // between mkdir and the pid's being written there is a moment without one
    const madeMs = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    return error.code === "ESRCH" || Date.now() - madeMs > 10_000;
  }
}

const common = () => ({ configFile: false, root, logLevel: "warn", publicDir: false });

const forNode = (outDir) => ({
  ssr: true,
  target: "node24",
  outDir,
  emptyOutDir: true,
  minify: false,
  sourcemap: true,
});

async function mainBundle(outDir) {
  const { build: viteBuild } = await import("vite");
  const { dependencies } = JSON.parse(readFileSync(at("package.json"), "utf8"));
  // the packaged app carries `dependencies`; everything else goes into the bundle
  const outside = ["electron", ...Object.keys(dependencies)];
  await viteBuild({
    ...common(),
    // ws asks for optional native parts that are not there
    define: { "process.env.WS_NO_BUFFER_UTIL": '"1"', "process.env.WS_NO_UTF_8_VALIDATE": '"1"' },
    ssr: { noExternal: true, target: "node" },
    build: {
      ...forNode(outDir),
      assetsInlineLimit: 0,
      rolldownOptions: {
        input: Object.fromEntries(Object.entries(mainEntries).map(([name, file]) => [name, at(file)])),
        external: [/^node:/, ...builtinModules, ...outside.flatMap((name) => [name, new RegExp(`^${name}/`)])],
        output: { format: "es", entryFileNames: "[name].js", chunkFileNames: "chunks/[name]-[hash].js" },
      },
    },
  });
  cpSync(at("main/loopback/bridge.js"), path.join(outDir, "loopback-bridge.js"));
}

async function preloadBundle(outDir) {
  const { build: viteBuild } = await import("vite");
  await viteBuild({
    ...common(),
    ssr: { noExternal: true, target: "node" },
    build: {
      ...forNode(outDir),
      rolldownOptions: {
        input: { preload: at("preload/preload.ts") },
        external: ["electron"],
        output: { format: "cjs", entryFileNames: "[name].cjs", codeSplitting: false },
      },
    },
  });
}

async function rendererBundle(outDir) {
  const { build: viteBuild, mergeConfig } = await import("vite");
  const { default: config } = await import(pathToFileURL(at("renderer/vite.config.ts")).href);
  const messages = fingerprintOf([
    "renderer/messages",
    "renderer/project.inlang/settings.json",
    "renderer/vite.config.ts",
    ...always,
  ]);
  const mark = at(".cache", "messages");
  const plugins = withoutIdleCompiler(await flat(config.plugins), {
    made: messagesMade,
    mark,
    fingerprint: messages,
  });
  rememberTransforms(plugins, at(".cache", "transforms"), `production ${lockFileHash()}`);
  await viteBuild(
    mergeConfig(
      { ...config, plugins },
      {
        configFile: false,
        root: at("renderer"),
        base: "./",
        logLevel: "warn",
        build: {
          target: "chrome150",
          outDir,
          emptyOutDir: true,
          sourcemap: true,
          // an inlined asset is a data: URL, which the content security policy refuses
          assetsInlineLimit: 0,
          modulePreload: { polyfill: false },
        },
      },
    ),
  );
  writeFileSync(mark, messages);
}

/** Plugins may be given nested and as promises. */
async function flat(plugins) {
  return (await Promise.all(plugins.flat(Infinity))).flat(Infinity).filter(Boolean);
}

const lockFileHash = () =>
  createHash("sha256")
    .update(readFileSync(at("package-lock.json")))
    .digest("hex");

if (import.meta.main) {
  // a caller that tests has another in its environment, of which vite would make the slower code that warns developers
  process.env.NODE_ENV = "production";
  if (process.argv.includes("--stale"))
    await withLock(async () => {
      const stale = staleBundles();
      if (stale.length > 0) await make(stale, { keepPrevious: true });
    });
  else await build();
}

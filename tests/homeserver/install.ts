import { existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ensureSystem } from "../../scripts/setup-system.mjs";
import { withLock } from "./cache-lock.ts";
import { unpackFromDebian } from "./install-debian.ts";
import { pythonEnvironment, runCommand } from "./run-command.ts";

const folder = path.dirname(fileURLToPath(import.meta.url));
const requirementsFile = path.join(folder, "requirements.txt");
const cacheOfCheckout = path.join(folder, "..", "..", ".cache");
const marker = "installed.json";

/** `python` starts a Python that can import Synapse. */
export type SynapseInstall = { python: string; version: string };

/** Answers the Synapse of a cache folder, by default the checkout's own, and installs it first where it is not there yet (half a minute, once). */
export async function installSynapse(cacheFolder = cacheOfCheckout): Promise<SynapseInstall> {
  const prefix = path.join(cacheFolder, "synapse");
  const present = installedIn(prefix);
  if (present !== undefined) return present;
  if (process.platform !== "linux")
    throw new Error(
      "Synapse is installed for the tests on Linux only. Elsewhere set HOMESERVER_URL and HOMESERVER_SHARED_SECRET " +
        "to a Synapse that runs already.",
    );
  await mkdir(cacheFolder, { recursive: true });
  return await withLock(
    prefix,
    () => {
      say("Another process is installing Synapse; waiting for it.");
    },
    async () => installedIn(prefix) ?? (await installInto(cacheFolder, prefix)),
  );
}

function installedIn(prefix: string): SynapseInstall | undefined {
  const file = path.join(prefix, marker);
  if (!existsSync(file)) return undefined;
  const { requirements, interpreter, version } = JSON.parse(readFileSync(file, "utf8")) as Record<string, string>;
  // A virtual environment points at the system's Python, which an upgrade of the system may have removed.
  if (version === undefined || interpreter === undefined || !existsSync(path.join(prefix, interpreter)))
    return undefined;
  if (requirements !== readFileSync(requirementsFile, "utf8")) return undefined;
  return { python: path.join(prefix, "python"), version };
}

async function installInto(cacheFolder: string, prefix: string): Promise<SynapseInstall> {
  const startedMs = Date.now();
  for (const name of await readdir(cacheFolder))
    if (name.startsWith("synapse.partial-")) await rm(path.join(cacheFolder, name), { recursive: true, force: true });
  const reasons: string[] = [];
  for (const way of [fromPythonIndex, fromDebian]) {
    const partial = await mkdtemp(path.join(cacheFolder, "synapse.partial-"));
    try {
      const interpreter = await way(partial);
      const python = path.join(partial, "python");
      // Proves that it loads, before anything relies on it.
      const version = await runCommand(python, ["-c", proof], pythonEnvironment());
      const requirements = readFileSync(requirementsFile, "utf8");
      await writeFile(
        path.join(partial, marker),
        JSON.stringify({ version: version.trim(), interpreter, requirements }),
      );
      await rm(prefix, { recursive: true, force: true });
      await rename(partial, prefix);
      say(`Synapse ${version.trim()} ready after ${((Date.now() - startedMs) / 1000).toFixed(0)} s.`);
      return { python: path.join(prefix, "python"), version: version.trim() };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      reasons.push(reason);
      say(`That did not work: ${reason}`);
      await rm(partial, { recursive: true, force: true });
    }
  }
  throw new Error(
    `Synapse, which the tests run against, could not be installed.\n` +
      `From the Python index: ${reasons[0] ?? ""}\nFrom Debian's archive: ${reasons[1] ?? ""}\n` +
      `One of them is needed (for the first, python3 3.10 or newer with venv: apt-get install python3-venv), ` +
      `or HOMESERVER_URL and HOMESERVER_SHARED_SECRET of a Synapse that runs already.`,
  );
}

const proof = `import importlib.metadata
import synapse.app.homeserver
print(importlib.metadata.version("matrix-synapse"))`;

/** Wheels alone, every version pinned: nothing is compiled and nothing is resolved. */
async function fromPythonIndex(prefix: string): Promise<string> {
  const python = (await findPython()) ?? (await installPython());
  say("Installing Synapse from the Python index.");
  const env = pythonEnvironment();
  await runCommand(python, ["-m", "venv", prefix], env);
  const pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "-q"];
  const inside = path.join(prefix, "bin", "python");
  await runCommand(inside, [...pip, "install", "--no-deps", "--only-binary", ":all:", "-r", requirementsFile], env);
  await runCommand(inside, [...pip, "check"], env);
  await writeLauncher(prefix, `exec "$prefix/bin/python" "$@"`);
  return path.join("bin", "python");
}

async function fromDebian(prefix: string): Promise<string> {
  say("Unpacking Synapse from Debian's archive.");
  const { interpreter, launch } = await unpackFromDebian(prefix);
  await writeLauncher(prefix, launch);
  return interpreter;
}

async function writeLauncher(prefix: string, launch: string): Promise<void> {
  const lines = [
    "#!/bin/sh",
    `prefix=$(dirname "$(readlink -f "$0")")`,
    "unset LD_LIBRARY_PATH PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE PYTHONSTARTUP",
    launch,
  ];
  await writeFile(path.join(prefix, "python"), `${lines.join("\n")}\n`);
  await chmod(path.join(prefix, "python"), 0o755);
}

async function findPython(): Promise<string | undefined> {
  const usable = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
  for (const name of ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"]) {
    const found = await runCommand(name, ["-c", usable], pythonEnvironment()).then(
      () => true,
      () => false,
    );
    if (found) return name;
  }
  return undefined;
}

async function installPython(): Promise<string> {
  await ensureSystem(["python"]);
  const python = await findPython();
  if (python === undefined) throw new Error("The system's python3 is older than 3.10.");
  return python;
}

function say(line: string): void {
  process.stderr.write(`[setup] ${line}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { version, python } = await installSynapse();
  process.stdout.write(`Synapse ${version}: ${path.relative(process.cwd(), python)}\n`);
}

// The system packages that tests and the demo need: looked for, installed with apt where that is allowed, else named.
// Plain Node 20.19 or newer. Speaks on stderr alone.
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import path from "node:path";

const fonts = ["fonts-noto-core", "fonts-noto-color-emoji"]; // screenshots show more than Latin letters

/** What each part is, how it is recognised, and the packages that bring it. */
const parts = {
  chromium: {
    what: "Chromium (chromium, chromium-browser or google-chrome in PATH)",
    // asked to speak: Ubuntu's package is a stub that only says how to get the real one where that is not to be had
    present: () => runs(chromiumPath(), ["--version"]),
    packages: [isUbuntu() ? "chromium-browser" : "chromium", ...fonts],
  },
  keyring: {
    what: "a Secret Service to test against (gnome-keyring-daemon, dbus-daemon and dbus-run-session)",
    present: () => ["gnome-keyring-daemon", "dbus-daemon", "dbus-run-session"].every((name) => inPath(name)),
    packages: ["gnome-keyring", "dbus"],
  },
  libsecret: {
    what: "what keytar is built with (a C++ compiler, make, pkg-config and the headers of libsecret)",
    present: () =>
      ["c++", "make", "pkg-config", "python3"].every((name) => inPath(name)) &&
      runs("pkg-config", ["--exists", "libsecret-1"]),
    packages: ["build-essential", "python3", "pkg-config", "libsecret-1-dev"],
  },
  python: {
    what: "python3 3.10 or newer with venv",
    present: () => runs("python3", ["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"]),
    packages: ["python3", "python3-venv"],
  },
};

/** The absolute path of a Chromium in PATH, or undefined. */
export function chromiumPath() {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    const found = inPath(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Makes sure that the parts are there. What is missing is installed with apt as root or through a sudo that asks
 * nothing; otherwise an Error says what is missing and the command that brings it.
 */
export async function ensureSystem(wanted) {
  const missing = missingOf(wanted);
  if (missing.length === 0) return;
  const packages = [...new Set(missing.flatMap((name) => parts[name].packages))];
  const failure = process.platform === "linux" ? installWithApt(packages) : "apt is used on Linux only";
  const still = missingOf(missing);
  if (still.length === 0) return;
  const left = [...new Set(still.flatMap((name) => parts[name].packages))];
  throw new Error(
    `Missing on this system: ${still.map((name) => parts[name].what).join("; ")}. ` +
      `On Debian or Ubuntu: sudo apt-get install ${left.join(" ")}` +
      (failure === undefined ? "" : ` (not done here: ${failure})`),
  );
}

function missingOf(names) {
  return names.filter((name) => {
    if (!(name in parts)) throw new Error(`ensureSystem knows no part "${name}".`);
    return !parts[name].present();
  });
}

/** Undefined when apt succeeded, else why not. */
function installWithApt(packages) {
  if (inPath("apt-get") === undefined) return "there is no apt-get";
  const before = asRoot();
  if (before === undefined) return "neither root nor a sudo without a password";
  process.stderr.write(`[setup] Installing with apt: ${packages.join(" ")}\n`);
  // env after sudo, which drops the environment. Another apt may hold dpkg's lock: wait for it.
  const command = [
    ...before,
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "-qq",
    "-o",
    "DPkg::Lock::Timeout=600",
  ];
  for (const step of [["update"], ["install", "-y", "--no-install-recommends", ...packages]]) {
    const [program, ...args] = [...command, ...step];
    // apt's stdout would mix with a protocol that a caller speaks on stdout
    const { status, error } = spawnSync(program, args, { stdio: ["ignore", 2, 2] });
    if (error !== undefined || status !== 0) return `apt-get ${step[0]} failed`;
  }
  return undefined;
}

function asRoot() {
  if (process.getuid?.() === 0) return [];
  if (inPath("sudo") !== undefined && runs("sudo", ["-n", "true"])) return ["sudo", "-n"];
  return undefined;
}

function runs(program, args) {
  return program !== undefined && spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

function isUbuntu() {
  try {
    return /^ID=ubuntu$/m.test(readFileSync("/etc/os-release", "utf8"));
  } catch {
    return false;
  }
}

function inPath(name) {
  for (const folder of (process.env.PATH ?? "").split(path.delimiter)) {
    const file = path.join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return path.resolve(file);
    } catch {
      continue;
    }
  }
  return undefined;
}

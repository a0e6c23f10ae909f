import { chmod, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { chromiumPath, ensureSystem } from "../../scripts/setup-system.mjs";

const before = process.env["PATH"];
let folder: string;

/** The PATH holds these programs alone: what the machine really has, and its real apt, are out of reach. */
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "tessera-setup-"));
  process.env["PATH"] = folder;
  await program("sudo", `[ "$1" = -n ] && shift; exec "$@"`);
  await symlink("/usr/bin/env", path.join(folder, "env"));
});

afterEach(async () => {
  process.env["PATH"] = before;
  await rm(folder, { recursive: true, force: true });
});

async function program(name: string, body: string): Promise<void> {
  const file = path.join(folder, name);
  await writeFile(file, `#!/bin/sh\n${body}\n`);
  await chmod(file, 0o755);
}

async function aptThat(installs: string[], status = 0): Promise<void> {
  const lines = installs.map((name) => `: > ${folder}/${name}; /bin/chmod 755 ${folder}/${name}`);
  await program("apt-get", [`echo "$DEBIAN_FRONTEND $@" >> ${folder}/calls`, ...lines, `exit ${status}`].join("\n"));
}

const calls = async () => (await readFile(path.join(folder, "calls"), "utf8").catch(() => "")).trim().split("\n");

test("what is there needs no apt", async () => {
  await aptThat([]);
  for (const name of ["gnome-keyring-daemon", "dbus-daemon", "dbus-run-session", "chromium-browser"])
    await program(name, "exit 0");
  await ensureSystem(["keyring", "chromium"]);
  expect(await calls()).toEqual([""]);
  expect(chromiumPath()).toBe(path.join(folder, "chromium-browser"));
});

test("what is missing is installed: the lists first, waiting for another apt, asking nothing", async () => {
  await aptThat(["gnome-keyring-daemon", "dbus-daemon", "dbus-run-session"]);
  await ensureSystem(["keyring"]);
  const [update, install] = await calls();
  expect(update).toMatch(/^noninteractive .*DPkg::Lock::Timeout=\d+ update$/);
  expect(install).toMatch(/^noninteractive .*DPkg::Lock::Timeout=\d+ install -y .*gnome-keyring dbus$/);
});

test("a browser brings fonts for screenshots along", async () => {
  await aptThat(["chromium"]);
  await ensureSystem(["chromium"]);
  expect((await calls())[1]).toMatch(/chromium(-browser)? fonts-noto-core fonts-noto-color-emoji$/);
});

test("a browser that does not run counts as missing", async () => {
  await program("chromium", "exit 1");
  await expect(ensureSystem(["chromium"])).rejects.toThrow(/Missing on this system: Chromium.*sudo apt-get install/);
});

test("what cannot be installed is named, with the command that brings it and why it was not done", async () => {
  await expect(ensureSystem(["python", "keyring"])).rejects.toThrow(
    /Missing.*python3 3\.10.*Secret Service.*sudo apt-get install python3 python3-venv gnome-keyring dbus \(.*no apt-get/,
  );
  await aptThat([], 100);
  await expect(ensureSystem(["libsecret"])).rejects.toThrow(/libsecret-1-dev \(.*apt-get update failed/);
});

test("only what is still missing is named", async () => {
  await aptThat(["gnome-keyring-daemon", "dbus-daemon", "dbus-run-session"]);
  const failure = ensureSystem(["keyring", "libsecret"]);
  await expect(failure).rejects.toThrow(/libsecret-1-dev$/);
  await expect(failure).rejects.not.toThrow(/gnome-keyring/);
});

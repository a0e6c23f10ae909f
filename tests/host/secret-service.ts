import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureSystem } from "../../scripts/setup-system.mjs";
import { startPrompter, type Prompter } from "./prompter.ts";

/** A real gnome-keyring on a D-Bus of the test's own; this process's environment points at it. */
export type SecretService = {
  /** Locks the collection that secrets are kept in, as a session's lock does. */
  lock: () => void;
  isLocked: () => boolean;
  /** From here on there is somebody who could answer a prompt. */
  prompter: () => Promise<Prompter>;
  stopDaemon: () => Promise<void>;
  startDaemon: () => Promise<void>;
  stop: () => Promise<void>;
};

/** Sees to it that there is one, and says which. */
export async function requireKeyring(): Promise<void> {
  await ensureSystem(["keyring"]);
  console.log(`[real] gnome-keyring ${keyringVersion()}`);
}

const keyringVersion = () =>
  /\d+(\.\d+)+/.exec(execFileSync("gnome-keyring-daemon", ["--version"], { encoding: "utf8" }))?.[0] ?? "";

export const keyringPassword = "the keyring's own";
const collection = "/org/freedesktop/secrets/collection/login";

const configuration = (
  folder: string,
) => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=${folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`;

export async function startSecretService(): Promise<SecretService> {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-keyring-"));
  for (const name of ["home", "data", "run"]) mkdirSync(path.join(folder, name), { mode: 0o700 });
  writeFileSync(path.join(folder, "session.conf"), configuration(folder));
  const before = { ...process.env };
  Object.assign(process.env, {
    HOME: path.join(folder, "home"),
    XDG_DATA_HOME: path.join(folder, "data"),
    XDG_RUNTIME_DIR: path.join(folder, "run"),
    DBUS_SESSION_BUS_ADDRESS: `unix:path=${folder}/bus`,
  });
  delete process.env["DISPLAY"];
  delete process.env["GNOME_KEYRING_CONTROL"];
  const bus = spawn("dbus-daemon", [`--config-file=${folder}/session.conf`, "--nofork", "--print-address"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(bus.stdout, "data");
  const prompters: Prompter[] = [];
  let daemon: ChildProcess | undefined;

  const gdbus = (object: string, method: string, ...args: string[]) =>
    execFileSync("gdbus", ["call", "--session", "-d", "org.freedesktop.secrets", "-o", object, "-m", method, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  const isLocked = () =>
    gdbus(collection, "org.freedesktop.DBus.Properties.Get", "org.freedesktop.Secret.Collection", "Locked").includes(
      "true",
    );

  async function startDaemon(): Promise<void> {
    const started = spawn("gnome-keyring-daemon", ["--foreground", "--unlock", "--components=secrets"], {
      stdio: ["pipe", "ignore", "ignore"],
    });
    daemon = started;
    started.stdin.end(keyringPassword);
    for (;;) {
      try {
        if (!isLocked()) return;
      } catch (error) {
        if (started.exitCode !== null) throw error;
      }
      await sleep(50);
    }
  }

  async function end(child: ChildProcess | undefined): Promise<void> {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  await startDaemon();
  return {
    lock: () => void gdbus("/org/freedesktop/secrets", "org.freedesktop.Secret.Service.Lock", `['${collection}']`),
    isLocked,
    async prompter() {
      const prompter = await startPrompter(path.join(folder, "bus"));
      prompters.push(prompter);
      return prompter;
    },
    stopDaemon: () => end(daemon),
    startDaemon,
    async stop() {
      for (const prompter of prompters) prompter.end();
      await end(daemon);
      await end(bus);
      process.env = before;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { watchAncestors } from "../host/ancestors.ts";
import { parseDoorArguments } from "../host/door-arguments.ts";
import { forkHelper } from "../host/helper-process.ts";
import { HostError } from "../host/host-error.ts";
import { startHost } from "../host/host.ts";
import { readPassphraseFile } from "../host/passphrase-file.ts";
import { placesFrom } from "../host/places.ts";
import { openOutside, writeAddressFile } from "./open-browser.ts";
import { serveWindow } from "./server.ts";

export type LoopbackOptions = { profile: string; passphrase?: string; verbose?: boolean };
export type Loopback = {
  /** Opens one page, once, within two minutes; `newAddress` gives another such. */
  url: string;
  newAddress: () => string;
  stop: () => Promise<void>;
};

const fromSource = import.meta.url.endsWith(".ts");
const rendererUrl = new URL(fromSource ? "../../dist/renderer/" : "../renderer/", import.meta.url);
const bridgeUrl = new URL(fromSource ? "./bridge.js" : "./loopback-bridge.js", import.meta.url);
const longestStopMs = 3000;

/** The whole app for browsers of this machine. Needs the built renderer. */
export async function startLoopback({ profile, passphrase, verbose = false }: LoopbackOptions): Promise<Loopback> {
  const places = placesFrom(import.meta.url);
  const host = await startHost({
    profile,
    door: "loopback",
    passphrase,
    copyLogTo: verbose ? (line) => void process.stderr.write(line) : undefined,
    version: places.version,
    workerUrl: places.workerUrl,
    keychain: { startHelper: forkHelper(places.keychainUrl) },
    openExternal: async (address) => {
      if (!(await openOutside(address)))
        throw new HostError("unsupported", { message: "No browser could be started." });
    },
  });
  const server = await serveWindow(host, fileURLToPath(rendererUrl), bridgeUrl);
  return {
    url: server.newAddress(),
    newAddress: server.newAddress,
    stop: async () => {
      await server.stop();
      await host.stop();
    },
  };
}

/** The door as a program: opens the browser, says where the window is, and ends with a signal. */
export async function runLoopback(args: string[]): Promise<void> {
  const { profile, passphraseFile, verbose, open } = parseDoorArguments(
    args,
    process.env["TESSERA_CALLERS_FOLDER"] ?? process.cwd(),
  );
  const passphrase = passphraseFile === undefined ? {} : { passphrase: readPassphraseFile(passphraseFile) };
  const door = await startLoopback({ profile, verbose, ...passphrase });

  let current: { remove: () => void } | undefined;
  const show = async (address: string) => {
    current?.remove();
    const page = writeAddressFile(address);
    current = page;
    process.stdout.write(`Tessera: file://${page.file}\n`);
    process.stdout.write(`    or once, within two minutes: ${address}\n`);
    if (open && !(await openOutside(page.file)))
      process.stdout.write("No browser could be started; open one of these.\n");
    if (process.stdin.isTTY) process.stdout.write("Enter opens another page; Ctrl+C ends Tessera.\n");
  };

  let ending = false;
  const end = () => {
    if (ending) return;
    ending = true;
    current?.remove();
    setTimeout(() => process.exit(0), longestStopMs).unref();
    void door.stop().finally(() => process.exit(0));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, end);
  watchAncestors(end);
  await show(door.url);
  if (process.stdin.isTTY) createInterface({ input: process.stdin }).on("line", () => void show(door.newAddress()));
}

if (import.meta.main) await runLoopback(process.argv.slice(2));

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** `file`: a page that leads to the address, readable by its owner alone. */
export type AddressFile = { file: string; remove: () => void };

/**
 * Every process of the machine can read the arguments of every other one, so the browser is given the path of a file
 * (mode 0600, in a folder of mode 0700) and finds the address, with its token, inside.
 */
export function writeAddressFile(address: string): AddressFile {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-"));
  const file = path.join(folder, "open.html");
  const html = `<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Tessera</title><meta http-equiv="refresh" content="0; url=${address}">`;
  writeFileSync(file, html, { mode: 0o600, flag: "wx" });
  return {
    file,
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The command that opens a file or an address with the person's own program for it, and no shell between. */
export function openCommand(target: string, platform: NodeJS.Platform = process.platform): [string, string[]] {
  if (platform === "darwin") return ["open", [target]];
  if (platform === "win32") return ["rundll32.exe", ["url.dll,FileProtocolHandler", target]];
  return ["xdg-open", [target]];
}

/** Resolves to false where no such program could be started. */
export function openOutside(target: string): Promise<boolean> {
  const [command, args] = openCommand(target);
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: "ignore", detached: process.platform !== "win32" });
    child.once("error", () => {
      resolve(false);
    });
    child.once("spawn", () => {
      child.unref();
    });
    child.once("exit", (code) => {
      resolve(code === 0);
    });
    // some openers stay as long as the browser does
    setTimeout(() => {
      resolve(true);
    }, 5000).unref();
  });
}

import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import path from "node:path";
import { readFileIfThere } from "./atomic-file.ts";
import { HostError, systemCode } from "./host-error.ts";

/** A profile folder that this process alone uses until `release`. */
export type Profile = { folder: string; release: () => Promise<void> };

const lockName = "profile.lock";

/**
 * Makes the folder (0700) where it is missing and takes it for this process. Throws `conflict` where another process has
 * it, `forbidden` where it cannot be used, `disk-full`.
 */
export async function openProfile(wanted: string): Promise<Profile> {
  const folder = prepareFolder(wanted);
  const release =
    process.platform === "linux" || process.platform === "win32" ? await takeName(folder) : takeFile(folder);
  try {
    // tells a person who holds it, and proves that the folder can be written
    if (process.platform === "linux" || process.platform === "win32")
      writeFileSync(path.join(folder, lockName), `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    await release();
    throw unusable(error);
  }
  return { folder, release };
}

function prepareFolder(wanted: string): string {
  try {
    makeFolder(path.resolve(wanted));
    const folder = realpathSync.native(wanted);
    const state = statSync(folder);
    if (!state.isDirectory()) throw new HostError("forbidden", { message: "The profile is not a folder." });
    const entries = readdirSync(folder);
    // somebody's home folder given by mistake keeps its mode; a profile of ours does not stay open to others
    const ours = entries.length === 0 || entries.includes("vault.json");
    if (process.platform !== "win32" && ours && (state.mode & 0o077) !== 0) chmodSync(folder, 0o700);
    return folder;
  } catch (error) {
    throw unusable(error);
  }
}

/** Node's own `recursive` never returns where a file system denies that a folder is there that is (`/proc`). */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(path.dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
}

/** What a person is told where a folder or file of the profile cannot be used. */
export function unusable(error: unknown): HostError {
  if (error instanceof HostError) return error;
  const code = systemCode(error);
  if (code === "ENOSPC" || code === "EDQUOT") return new HostError("disk-full", { cause: error });
  return new HostError("forbidden", {
    message: `The profile folder cannot be used${code === undefined ? "" : ` (${code})`}.`,
    cause: error,
  });
}

const inUse = () => new HostError("conflict", { message: "Another process is using this profile." });

/**
 * A name that the kernel holds for a process and frees at its death, however it dies: no stale lock, no race of two who
 * take one over. Linux: an abstract socket; Windows: a named pipe. Named after the path without links, not after the
 * inode: that of a deleted folder comes back as another's while a process still holds it.
 */
function takeName(folder: string): Promise<() => Promise<void>> {
  const name = createHash("sha256").update(folder).digest("hex").slice(0, 32);
  const server = net.createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(systemCode(error) === "EADDRINUSE" || systemCode(error) === "EACCES" ? inUse() : unusable(error));
    });
    server.listen({ path: process.platform === "win32" ? `\\\\.\\pipe\\tessera-${name}` : `\0tessera-${name}` }, () => {
      server.unref();
      resolve(
        () =>
          new Promise(
            (closed) =>
              void server.close(() => {
                closed();
              }),
          ),
      );
    });
  });
}

/**
 * Elsewhere a file with the process id, made whole before it appears (`link` fails where the name exists). One that a dead
 * process left is moved aside first: of two that try, one moves it and the other finds the new one.
 */
export function takeFile(folder: string): () => Promise<void> {
  const lock = path.join(folder, lockName);
  const own = `${lock}.${process.pid}`;
  try {
    writeFileSync(own, `${process.pid}\n`, { mode: 0o600 });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        linkSync(own, lock);
        return () => {
          rmSync(lock, { force: true });
          return Promise.resolve();
        };
      } catch (error) {
        if (systemCode(error) !== "EEXIST") throw error;
      }
      const holder = Number(readFileIfThere(lock)?.toString("latin1").trim());
      if (Number.isInteger(holder) && holder > 0 && isAlive(holder)) throw inUse();
      const aside = `${lock}.stale.${process.pid}`;
      if (!existsSync(lock)) continue;
      renameSync(lock, aside);
      const moved = Number(readFileIfThere(aside)?.toString("latin1").trim());
      // another was quicker and this is its lock, not the dead one's: back with it
      if (moved !== holder && !Number.isNaN(moved)) linkSync(aside, lock);
      rmSync(aside, { force: true });
    }
    throw inUse();
  } catch (error) {
    throw unusable(error);
  } finally {
    rmSync(own, { force: true });
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}

import { createHash } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import path from "node:path";

/** crypto.db and what lies beside it. The database itself is moved last: where it is gone, all are. */
const parts = [".snapshot.db", ".db-shm", ".db-wal", ".db"];

/**
 * Moves a device's crypto.db aside, for good: a ratchet is never run by a device that is not it. Nothing is overwritten or deleted.
 * Killed anywhere within, the same call goes on; on the disk when it returns.
 */
export function moveCryptoAside(folder: string, deviceId: string): void {
  moveAside(folder, "crypto", deviceId);
}

/** The same for an account.db that is damaged. */
export function moveAccountAside(folder: string, deviceId: string): void {
  moveAside(folder, "account", deviceId);
}

function moveAside(folder: string, file: "crypto" | "account", deviceId: string): void {
  const name = `${file}.${createHash("sha256").update(deviceId).digest("hex").slice(0, 16)}`;
  let aside = name;
  // a set that is whole already has its database, since that comes last
  for (let number = 2; existsSync(path.join(folder, `${aside}.db`)); number++) aside = `${name}.${number}`;
  for (const part of parts) {
    const from = path.join(folder, file + part);
    if (existsSync(from)) renameSync(from, path.join(folder, aside + part));
  }
  syncFolder(folder);
}

/** A database that was made for a moment, with its log. Where there is none, nothing happens. */
export function removeDatabase(file: string): void {
  for (const side of ["", "-wal", "-shm"]) rmSync(file + side, { force: true });
}

function syncFolder(folder: string): void {
  // Windows opens no folder as a file, and its rename is durable by itself
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

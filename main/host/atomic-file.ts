import { closeSync, fsyncSync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from "node:fs";
import path from "node:path";
import { systemCode } from "./host-error.ts";

/**
 * Replaces a file as a whole, mode 0600: after a kill or a power cut there is the old one or the new one. The profile's
 * lock sees to it that there is one writer, so the temporary name can be fixed and leaves nothing behind.
 */
export function writeFileAtomic(file: string, content: string | Uint8Array): void {
  const temporary = `${file}.tmp`;
  const bytes = typeof content === "string" ? Buffer.from(content, "utf8") : content;
  const descriptor = openSync(temporary, "w", 0o600);
  try {
    try {
      let written = 0;
      while (written < bytes.length) written += writeSync(descriptor, bytes, written);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, file);
  } catch (error) {
    unlinkSync(temporary);
    throw error;
  }
  syncFolder(path.dirname(file));
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

/** A file's bytes; `undefined` where there is no such file. Throws where it cannot be read. */
export function readFileIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

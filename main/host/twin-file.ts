import { existsSync } from "node:fs";
import path from "node:path";
import { readFileIfThere, writeFileAtomic } from "./atomic-file.ts";

/** A small file without which nothing of a profile opens: it is kept twice, side by side. */
const copyOf = (file: string): string => {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.copy${ext}`);
};

export const hasTwin = (file: string): boolean => existsSync(file) || existsSync(copyOf(file));

/**
 * What the file holds, or else its copy; the other is mended. `"corrupt"`: neither is whole, and both are left as they are.
 * `undefined`: neither is there. `parse` answers `undefined` for bytes that are not whole.
 */
export function readTwin<T extends object>(
  file: string,
  parse: (bytes: Buffer) => T | undefined,
): T | "corrupt" | undefined {
  let isCorrupt = false;
  for (const one of [file, copyOf(file)]) {
    const bytes = readFileIfThere(one);
    if (bytes === undefined) continue;
    const value = parse(bytes);
    if (value !== undefined) {
      try {
        writeTwin(file, bytes);
      } catch {
        // a disk that is full or read-only is no reason not to open: one of the two is whole
      }
      return value;
    }
    isCorrupt = true;
  }
  return isCorrupt ? "corrupt" : undefined;
}

/** The copy first: what was taken out is in neither once this has returned, and whichever is there after a kill is whole. */
export function writeTwin(file: string, bytes: Buffer): void {
  for (const one of [copyOf(file), file]) if (readFileIfThere(one)?.equals(bytes) !== true) writeFileAtomic(one, bytes);
}

import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";

/** A folder of the running test's own, gone after it. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-host-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  return folder;
}

/** Path inside the folder → bytes, of every file below it. */
export function filesOf(folder: string): Map<string, Buffer> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    entries.map((entry) => {
      const file = path.join(entry.parentPath, entry.name);
      return [path.relative(folder, file), readFileSync(file)];
    }),
  );
}

/** Path → hash, for comparing. */
export function hashesOf(folder: string, left: (file: string) => boolean = () => true): Record<string, string> {
  const files = [...filesOf(folder)].filter(([file]) => left(file)).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(files.map(([file, bytes]) => [file, createHash("sha256").update(bytes).digest("hex")]));
}

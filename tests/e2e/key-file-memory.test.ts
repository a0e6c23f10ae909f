import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeKeyFile } from "../../main/core/features/backup/key-file/write.ts";
import { madeUpKeys } from "../bench/made-up-keys.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { newPerson, type Person } from "./people.ts";

// in full: TESSERA_FULL=1
const full = process.env["TESSERA_FULL"] === "1";
const count = full ? 300_000 : 50_000;
/** Held whole, so many keys would be several times as much: a key is 800 bytes of text alone, and the file is held and parsed. */
const mostExtraMb = full ? 300 : 150;
const piece = 1000;
const passphrase = "a passphrase of the file";

let homeserver: Homeserver;
let ana: Person;
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tessera-memory-"));
  homeserver = await startHomeserver();
  ana = await newPerson(homeserver.url, "ana");
});
afterEach(async () => {
  await ana.app.remove();
  await homeserver.stop();
  rmSync(folder, { recursive: true, force: true });
});

const memoryMb = (what: "VmRSS" | "VmHWM") => {
  const line = new RegExp(`^${what}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${ana.app.pid}/status`, "utf8"));
  return Number(line?.[1]) / 1024;
};
/** The process' peak during this, beyond what it had before. */
async function extraMb(work: () => Promise<void>): Promise<number> {
  const before = memoryMb("VmRSS");
  // 5 sets the peak back (proc(5), clear_refs)
  writeFileSync(`/proc/${ana.app.pid}/clear_refs`, "5");
  await work();
  return memoryMb("VmHWM") - before;
}
async function* madeUp() {
  for (let made = 0; made < count; made += piece) {
    yield (JSON.parse(madeUpKeys(piece, count / 50)) as unknown[]).map((one) => JSON.stringify(one));
    await Promise.resolve();
  }
}

test(
  `a file of ${count} keys is imported and exported with less than ${mostExtraMb} MB beyond what was there`,
  { timeout: full ? 3_600_000 : 600_000 },
  async () => {
    const file = path.join(folder, "keys.txt");
    const signal = new AbortController().signal;
    await writeKeyFile({ path: file, passphrase, sessions: madeUp(), signal, wrote: () => undefined, rounds: 1000 });
    const imported = await extraMb(async () => {
      const result = await ana.app.call("backup.importKeys", { path: file, passphrase, operationId: randomUUID() });
      expect(result).toMatchObject({ total: count, imported: count, failed: [] });
    });
    const exported = await extraMb(async () => {
      const again = { path: path.join(folder, "again.txt"), passphrase, operationId: randomUUID() };
      expect((await ana.app.call("backup.exportKeys", again)).exported).toBe(count);
    });
    console.log(`[measured] ${count} keys: import ${imported.toFixed(0)} MB, export ${exported.toFixed(0)} MB`);
    expect(imported).toBeLessThan(mostExtraMb);
    expect(exported).toBeLessThan(mostExtraMb);
  },
);

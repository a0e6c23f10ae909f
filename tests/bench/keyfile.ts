import { pbkdf2, randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import type { Restored } from "../../preload/contract/backup.ts";
import { writeKeyFile } from "../../main/core/features/backup/key-file/write.ts";
import { endCores } from "../core/core.ts";
import { startHomeserver } from "../homeserver/homeserver.ts";
import { accountInFolder } from "./backup-account.ts";
import type { Measured } from "./measured-core.ts";
import { madeUpKeys } from "./made-up-keys.ts";
import { atLeast, atMost, quantile, rounded, type BenchResult } from "./result.ts";

const rounds = 3;
const passphrase = "a passphrase of the file";
const keysARoom = 50;
const piece = 1000;
const median = (values: number[]) => quantile(values, 0.5);

async function* madeUp(size: number) {
  for (let made = 0; made < size; made += piece) {
    const count = Math.min(piece, size - made);
    yield (JSON.parse(madeUpKeys(count, Math.ceil(size / keysARoom))) as unknown[]).map((one) => JSON.stringify(one));
    await Promise.resolve();
  }
}

/** A file of so many keys is imported into an empty store and exported again, each in a process of its own, less the time of PBKDF2. */
export async function bench({ size = 100_000 }: { size?: number } = {}): Promise<BenchResult> {
  const homeserver = await startHomeserver();
  // without a backup: nothing is uploaded beside what is measured
  const account = await accountInFolder(homeserver, "ana", false);
  try {
    const file = path.join(account.home, "keys.txt");
    const signal = new AbortController().signal;
    await writeKeyFile({ path: file, passphrase, sessions: madeUp(size), signal, wrote: () => undefined });
    const deriveMs: number[] = [];
    const folder = account.folderWith(0, []);
    const full = path.join(account.home, "full");
    const imports: Measured[] = [];
    const exports: (Measured & { sizeMb: number })[] = [];
    for (let round = 0; round < rounds; round++) {
      const fromMs = performance.now();
      await promisify(pbkdf2)(passphrase, Buffer.alloc(16, 1), 500_000, 64, "sha512");
      deriveMs.push(performance.now() - fromMs);
      const done = await account.measure(folder, {
        call: { name: "backup.importKeys", input: { path: file, passphrase, operationId: randomUUID() } },
        ...(round === 0 ? { keepAs: full } : {}),
      });
      const { answer } = done;
      if (!answer.ok || (answer.value as Restored).imported !== size) throw new Error("Keys were not imported.");
      imports.push(done);
    }
    for (let round = 0; round < rounds; round++) {
      const place = path.join(account.home, `export-${round}.txt`);
      const done = await account.measure(full, {
        call: { name: "backup.exportKeys", input: { path: place, passphrase, operationId: randomUUID() } },
      });
      const { answer } = done;
      if (!answer.ok || (answer.value as { exported: number }).exported !== size)
        throw new Error("Keys were not exported.");
      exports.push({ ...done, sizeMb: statSync(place).size / 2 ** 20 });
    }
    const derive = median(deriveMs);
    const rateOf = (runs: { tookMs: number }[]) => (size / (median(runs.map((one) => one.tookMs)) - derive)) * 1000;
    const extraMb = (runs: { beforeMb: number; peakMb: number }[]) =>
      Math.max(...runs.map((one) => one.peakMb - one.beforeMb));
    const row = (what: string, runs: Measured[]) => ({
      what,
      "keys a second": Math.round(rateOf(runs)),
      "memory beyond what was there MB": Math.round(extraMb(runs)),
      "worker stall p99 ms": rounded(median(runs.map((one) => one.worker.p99))),
      "host stall p99.9 ms": rounded(median(runs.map((one) => one.host.p999))),
    });
    return {
      name: "keyfile",
      rows: [
        row(`import of ${size} keys`, imports),
        row(`export of ${size} keys, ${rounded(exports[0]?.sizeMb ?? 0)} MB`, exports),
        { what: "PBKDF2 of 500,000 rounds, which both pay besides", ms: Math.round(derive) },
      ],
      targets: [
        atLeast("import", rateOf(imports), 5000, "keys/s"),
        atLeast("export", rateOf(exports), 8000, "keys/s"),
        atMost("memory of an import", extraMb(imports), 300, "MB"),
        atMost("memory of an export", extraMb(exports), 300, "MB"),
      ],
    };
  } finally {
    await endCores();
    account.remove();
    await homeserver.stop();
  }
}

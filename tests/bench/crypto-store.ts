import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCryptoStore } from "../../main/core/storage/crypto-store/index.ts";
import { openChromiumPage, type ChromiumPage } from "../core/crypto-store/chromium-page.ts";
import { runOperations, type Measured, type OperationCounts } from "./crypto-store-operations.ts";
import { madeUpKeys } from "./made-up-keys.ts";

export interface BenchResult {
  name: string;
  rows: {
    operation: string;
    oursMs: number;
    memoryMs: number;
    chromiumMs: number;
    ratioToChromium: number;
    ratioToMemory: number;
  }[];
  targets: { name: string; wanted: string; got: string; met: boolean }[];
}

const operations = "/tests/bench/crypto-store-operations.ts";
const rounds = 3;
const counts: OperationCounts = { importedKeys: 10_000, messages: 2000, rooms: 300, backedUpKeys: 1000 };
const barrier = "barrier, once after each operation (sum)";

async function runOurs(keys: string): Promise<Measured> {
  const directory = await mkdtemp(join(tmpdir(), "tessera-bench-"));
  const store = openCryptoStore({ file: join(directory, "crypto.db"), key: Buffer.alloc(32, 7) });
  Object.assign(globalThis, store.globals);
  let barrierMs = 0;
  const measured = await runOperations("bench", keys, counts, async () => {
    const startMs = performance.now();
    await store.sync();
    barrierMs += performance.now() - startMs;
  });
  measured.ms[barrier] = barrierMs;
  store.close();
  await rm(directory, { recursive: true, force: true });
  return measured;
}

async function runChromium(chromium: ChromiumPage, keys: string, round: number): Promise<Measured> {
  const measured = await chromium.call(operations, "runOperationsInPage", `bench${round}`, keys, counts);
  return measured as Measured;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const rounded = (value: number): number => Math.round(value * 100) / 100;

/** Our store, Rust's memory store and Chromium's IndexedDB, the same ten operations in turns, medians of three. */
export async function bench(): Promise<BenchResult> {
  await sdk.initAsync();
  new sdk.Tracing(sdk.LoggerLevel.Error).turnOn();
  const keys = madeUpKeys(counts.importedKeys, 100);
  const chromium = await openChromiumPage();
  const runs = { ours: [] as Measured[], memory: [] as Measured[], chromium: [] as Measured[] };
  try {
    for (let round = 0; round < rounds; round++) {
      runs.ours.push(await runOurs(keys));
      runs.memory.push(await runOperations(undefined, keys, counts));
      runs.chromium.push(await runChromium(chromium, keys, round));
    }
  } finally {
    await chromium.close();
  }
  return summarise(runs);
}

function summarise(runs: Record<"ours" | "memory" | "chromium", Measured[]>): BenchResult {
  const medianOf = (runsOfOne: Measured[], operation: string): number => {
    return median(runsOfOne.map((run) => run.ms[operation] ?? Number.NaN));
  };
  const rows = Object.keys(runs.memory[0]?.ms ?? {}).map((operation) => {
    const oursMs = rounded(medianOf(runs.ours, operation));
    const memoryMs = rounded(medianOf(runs.memory, operation));
    const chromiumMs = rounded(medianOf(runs.chromium, operation));
    const ratioToChromium = rounded(chromiumMs / oursMs);
    return { operation, oursMs, memoryMs, chromiumMs, ratioToChromium, ratioToMemory: rounded(oursMs / memoryMs) };
  });
  const rowOf = (operation: string): (typeof rows)[number] => {
    const found = rows.find((row) => row.operation === operation);
    if (!found) throw new Error(`no measurement of ${operation}`);
    return found;
  };
  const faster = (operation: string, wanted: number): BenchResult["targets"][number] => {
    const got = rowOf(operation).ratioToChromium;
    return { name: `${operation}, against Chromium`, wanted: `≥ ${wanted}×`, got: `${got}×`, met: got >= wanted };
  };
  const toMemory = rowOf("import keys").ratioToMemory;
  const all = [...runs.ours, ...runs.memory, ...runs.chromium];
  const lost = all.filter((run) => [run.imported, run.exported, run.counted].some((n) => n !== counts.importedKeys));
  const barrierMs = rounded(median(runs.ours.map((run) => run.ms[barrier] ?? Number.NaN)));
  return {
    name: "crypto-store",
    rows,
    targets: [
      faster("import keys", 4),
      { name: "import keys, against memory", wanted: "≤ 3×", got: `${toMemory}×`, met: toMemory <= 3 },
      faster("encrypt", 4),
      faster("decrypt, one session", 3.5),
      faster("rotate, share and encrypt", 5),
      {
        name: "sessions imported, counted and exported are equal",
        wanted: "0 lost",
        got: `${lost.length} lost`,
        met: lost.length === 0,
      },
      {
        name: "all ten barriers together, apart from the times above",
        wanted: "reported",
        got: `${barrierMs} ms`,
        met: true,
      },
    ],
  };
}

if (import.meta.main) {
  const result = await bench();
  console.log(JSON.stringify(result));
  console.table(result.rows);
  console.table(result.targets);
}

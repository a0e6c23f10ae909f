// The core's worker with a clock on its event loop; and, asked for by name, an import into a store of its own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { BroadcastChannel, workerData } from "node:worker_threads";
import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { openCryptoStore } from "../../main/core/storage/crypto-store/index.ts";

export const stallChannel = "tessera-bench-stall";
export type StallRequest = { kind: "reset" } | { kind: "read" };
export type StallReport = { kind: "delays"; p50: number; p99: number; p999: number; max: number };
export type ImportStart = { kind: "import"; keys: string; chunk: number };
export type ImportDone = StallReport & { imported: number; tookMs: number };

const resolutionMs = 1;
const delays = monitorEventLoopDelay({ resolution: resolutionMs });
delays.enable();

/** Milliseconds beyond the timer's own step. */
export function report(histogram: typeof delays): StallReport {
  const ms = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolutionMs);
  return {
    kind: "delays",
    p50: ms(histogram.percentile(50)),
    p99: ms(histogram.percentile(99)),
    p999: ms(histogram.percentile(99.9)),
    max: ms(histogram.max),
  };
}

async function importKeys({ keys, chunk }: ImportStart): Promise<ImportDone> {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-bench-"));
  const store = openCryptoStore({ file: path.join(folder, "crypto.db"), key: Buffer.alloc(32, 7) });
  try {
    Object.assign(globalThis, store.globals);
    await sdk.initAsync();
    const machine = await sdk.OlmMachine.initialize(
      new sdk.UserId("@bench:tessera.test"),
      new sdk.DeviceId("BENCH"),
      "bench",
    );
    const all = JSON.parse(keys) as unknown[];
    let imported = 0;
    delays.reset();
    const fromMs = performance.now();
    for (let from = 0; from < all.length; from += chunk) {
      const part = JSON.stringify(all.slice(from, from + chunk));
      imported += (await machine.importExportedRoomKeys(part, () => undefined)).importedCount;
    }
    const done = { ...report(delays), imported, tookMs: performance.now() - fromMs };
    machine.close();
    return done;
  } finally {
    store.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

// null where this file is only imported for its types and report()
const start = workerData as { kind: string } | null;
if (start?.kind === "import") {
  const channel = new BroadcastChannel(stallChannel);
  channel.postMessage(await importKeys(start as ImportStart));
  channel.close();
} else if (start !== null) {
  if (start.kind === "account") {
    const channel = new BroadcastChannel(stallChannel);
    channel.unref();
    channel.onmessage = (message) => {
      const { kind } = (message as { data: StallRequest }).data;
      if (kind === "reset") delays.reset();
      else channel.postMessage(report(delays));
    };
  }
  // memory is that of the bundle: the sources bring their compiler along
  const built = process.env["TESSERA_BUILT"] !== undefined;
  await import(built ? "../../dist/main/worker.js" : "../../main/core/worker.ts");
}

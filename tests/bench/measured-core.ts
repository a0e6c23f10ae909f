// One core in a process of its own, so that its memory and its stalls are its own: started with the account's folder, told what to
// call by a line of JSON, and answering what it took. Its worker is stall-worker.ts, which has a clock on its event loop.
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { BroadcastChannel, Worker } from "node:worker_threads";
import type { Answer } from "../../preload/contract/define.ts";
import type { BackupProgress, BackupStatus } from "../../preload/contract/backup.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import type { FromWorker, Session, ToWorker, WorkerStart } from "../../main/core/worker-port.ts";
import { coreLimits } from "../../main/host/core-worker.ts";
import { report, stallChannel, type StallReport } from "./stall-worker.ts";

export type MeasureStart = {
  session: Session;
  folder: string;
  keys: { account: string; crypto: string };
  call: { name: string; input: unknown };
  /** Its items are waited for. */
  visible?: { roomId: string; items: number };
  /** Until the backup holds so many. */
  backedUp?: number;
};
export type Measured = {
  answer: Answer<unknown>;
  tookMs: number;
  firstKeysMs: number;
  visibleMs: number;
  /** Milliseconds and keys done, as progress was told. */
  progress: [number, number][];
  /** From the first progress of an upload to its end. */
  uploadMs: number;
  beforeMb: number;
  peakMb: number;
  host: StallReport;
  worker: StallReport;
};

const start = JSON.parse(readFileSync(0, "utf8")) as MeasureStart;
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const workerStart: WorkerStart = {
  kind: "account",
  proxy: {},
  folder: start.folder,
  keys: { account: bytes(start.keys.account), crypto: bytes(start.keys.crypto) },
  session: start.session,
  lastStopOrderly: true,
};
/** The peak of this process alone: what getrusage tells is inherited from whoever started it. */
const peakMb = () => Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;
const rssMb = () => process.memoryUsage.rss() / 2 ** 20;
const hostDelays = monitorEventLoopDelay({ resolution: 1 });
const channel = new BroadcastChannel(stallChannel);
const worker = new Worker(new URL("./stall-worker.ts", import.meta.url), {
  workerData: workerStart,
  resourceLimits: coreLimits,
});
const post = (message: ToWorker) => {
  worker.postMessage(message);
};
const isLive = Promise.withResolvers<undefined>();
const answered = Promise.withResolvers<Answer<unknown>>();
const isVisible = Promise.withResolvers<undefined>();
const isBackedUp = Promise.withResolvers<undefined>();
const waiting = new Map<number, (answer: Answer<unknown>) => void>();
const readable = new Set<string>();
const measured = { firstKeysMs: Number.NaN, visibleMs: Number.NaN, uploadMs: 0, progress: [] as [number, number][] };
let fromMs = Number.NaN;
let uploadFromMs = Number.NaN;
const took = () => performance.now() - fromMs;

worker.on("message", (message: FromWorker) => {
  if (message.kind === "ready") isLive.resolve(undefined);
  else if (message.kind === "failed") isLive.reject(new Error(message.error.code));
  else if (message.kind === "answer") {
    waiting.get(message.id)?.(message.answer);
    waiting.delete(message.id);
  } else if (message.kind === "event") told(message.event, message.payload);
});
worker.on("error", (error) => {
  throw error;
});

function told(event: string, payload: unknown) {
  if (event === "backup.progress") {
    const { done } = payload as BackupProgress;
    if (done > 0 && Number.isNaN(measured.firstKeysMs)) measured.firstKeysMs = took();
    measured.progress.push([Math.round(took()), done]);
  } else if (event === "timeline.changed") {
    const { roomId, items } = payload as { roomId: string; items: Item[] };
    if (roomId !== start.visible?.roomId) return;
    for (const item of items) if (item.kind === "text") readable.add(item.itemId);
    if (readable.size < start.visible.items) return;
    if (Number.isNaN(measured.visibleMs)) measured.visibleMs = took();
    isVisible.resolve(undefined);
  } else if (event === "backup.changed") {
    const { status } = payload as { status: BackupStatus };
    if (status.at !== "on") return;
    if (status.uploading && Number.isNaN(uploadFromMs)) uploadFromMs = performance.now();
    if (status.total === start.backedUp && status.backedUp === status.total) {
      if (measured.uploadMs === 0) measured.uploadMs = performance.now() - uploadFromMs;
      isBackedUp.resolve(undefined);
    }
  }
}
let calls = 0;
const call = (name: string, input: unknown) =>
  new Promise<Answer<unknown>>((resolve) => {
    waiting.set(++calls, resolve);
    post({ kind: "call", id: calls, name, input });
  });

await isLive.promise;
await call("account.sync", { timeoutMs: 60_000 });
await call("backup.status", {});
const beforeMb = rssMb();
hostDelays.enable();
channel.postMessage({ kind: "reset" });
fromMs = performance.now();
void call(start.call.name, start.call.input).then(answered.resolve);
const answer = await answered.promise;
const tookMs = took();
const hostReport = report(hostDelays);
const workerReport = new Promise<StallReport>((resolve) => {
  channel.onmessage = (message) => {
    resolve((message as { data: StallReport }).data);
  };
});
channel.postMessage({ kind: "read" });
const workerStalls = await workerReport;
if (start.visible !== undefined) await isVisible.promise;
if (start.backedUp !== undefined) await isBackedUp.promise;
const result: Measured = {
  ...measured,
  answer,
  tookMs,
  beforeMb,
  peakMb: peakMb(),
  host: hostReport,
  worker: workerStalls,
};
await worker.terminate();
process.stdout.write(JSON.stringify(result), () => {
  process.exit(0);
});

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { BroadcastChannel, Worker } from "node:worker_threads";
import type { EventMessage, Response } from "../../preload/contract/define.ts";
import type { CommandName, Input, Output } from "../../preload/contract/index.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import { startHost, type Host } from "../../main/host/host.ts";
import { startHomeserver } from "../homeserver/homeserver.ts";
import { newPerson, password } from "../e2e/people.ts";
import { madeUpKeys } from "./made-up-keys.ts";
import { atMost, rounded, type BenchResult } from "./result.ts";
import { report, stallChannel, type ImportDone, type StallReport } from "./stall-worker.ts";

const keys = 10_000;
const keysAtOnce = 500;
const messages = 500;
const workerUrl = new URL("./stall-worker.ts", import.meta.url);
const caller = { door: "headless", isWindow: false } as const;

async function call<N extends CommandName>(host: Host, name: N, input: Input<N>): Promise<Output<N>> {
  const response: Response = await host.handle({ id: 1, name, input }, caller);
  if (!response.ok) throw new Error(`${name}: ${response.error.code}`);
  return response.value as Output<N>;
}

function nextReport<T>(channel: BroadcastChannel): Promise<T> {
  return new Promise((resolve) => {
    channel.onmessage = (message) => {
      resolve((message as { data: T }).data);
    };
  });
}

/** The host in this process, the core in a worker of its own, the sender in another process. */
async function arriving(channel: BroadcastChannel): Promise<{ host: StallReport; worker: StallReport }> {
  const homeserver = await startHomeserver();
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-bench-"));
  const ben = await newPerson(homeserver.url, "ben");
  await homeserver.register("ana", { password });
  const passphrase = randomBytes(18).toString("base64url");
  const keychain = {
    startHelper: () => {
      throw new Error("The bench has no keychain.");
    },
  };
  const host = await startHost({
    profile: path.join(folder, "profile"),
    door: "headless",
    version: "bench",
    workerUrl,
    keychain,
    passphrase,
  });
  try {
    await call(host, "account.login", { homeserver: homeserver.url, user: "ana", password });
    await call(host, "account.sync", {});
    const status = await call(host, "account.status", {});
    if (status.at !== "signed-in") throw new Error("Nobody is signed in.");
    const { roomId } = await ben.app.call("rooms.create", { kind: "dm", invite: [status.userId] });
    await call(host, "account.sync", {});
    await call(host, "rooms.join", { room: roomId });
    await ben.app.call("account.sync", {});
    const last = `message ${messages - 1}`;
    const arrived = new Promise<void>((resolve) => {
      host.on(({ event, payload }: EventMessage) => {
        if (event === "timeline.changed" && (payload as { items: Item[] }).items.some((item) => item.body === last))
          resolve();
      });
    });
    const hostDelays = monitorEventLoopDelay({ resolution: 1 });
    hostDelays.enable();
    channel.postMessage({ kind: "reset" });
    for (let index = 0; index < messages; index++)
      await ben.app.call("timeline.send", { roomId, body: `message ${index}` });
    await arrived;
    const hostReport = report(hostDelays);
    const workerReport = nextReport<StallReport>(channel);
    channel.postMessage({ kind: "read" });
    return { host: hostReport, worker: await workerReport };
  } finally {
    await host.stop();
    await ben.app.remove();
    await homeserver.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The host's thread is this one: what it does meanwhile is wait. */
async function importing(channel: BroadcastChannel): Promise<{ host: StallReport; worker: ImportDone }> {
  const made = madeUpKeys(keys, 100);
  const hostDelays = monitorEventLoopDelay({ resolution: 1 });
  hostDelays.enable();
  const done = nextReport<ImportDone>(channel);
  const worker = new Worker(workerUrl, { workerData: { kind: "import", keys: made, chunk: keysAtOnce } });
  const failed = new Promise<never>((_, reject) => worker.once("error", reject));
  const outcome = await Promise.race([done, failed]);
  const hostReport = report(hostDelays);
  await worker.terminate();
  if (outcome.imported !== keys) throw new Error(`${outcome.imported} of ${keys} keys were imported.`);
  return { host: hostReport, worker: outcome };
}

/** How long event loops stand still while 10,000 keys are imported, 500 at a time, and while 500 messages arrive. */
export async function bench(): Promise<BenchResult> {
  const channel = new BroadcastChannel(stallChannel);
  try {
    const imports = await importing(channel);
    const arrivals = await arriving(channel);
    const row = (thread: string, { p50, p99, p999, max }: StallReport) => ({
      thread,
      "p50 ms": rounded(p50),
      "p99 ms": rounded(p99),
      "p99.9 ms": rounded(p999),
      "max ms": rounded(max),
    });
    return {
      name: "stall",
      rows: [
        row(`host, ${keys} keys imported beside it`, imports.host),
        row(
          `worker, ${keys} keys imported (${Math.round((keys / imports.worker.tookMs) * 1000)} a second)`,
          imports.worker,
        ),
        row(`host, ${messages} messages arrive`, arrivals.host),
        row(`worker, ${messages} messages arrive`, arrivals.worker),
      ],
      targets: [
        atMost("host, p99.9", Math.max(imports.host.p999, arrivals.host.p999), 16, "ms"),
        atMost("worker, longest", Math.max(imports.worker.max, arrivals.worker.max), 60, "ms"),
      ],
    };
  } finally {
    channel.close();
  }
}

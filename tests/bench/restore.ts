import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import type { Restored } from "../../preload/contract/backup.ts";
import type { FromBackup } from "../../main/core/matrix/backed-up-key.ts";
import { startDecryptor } from "../../main/core/matrix/backup-decrypt.ts";
import { fetchSessions, type Fetched } from "../../main/core/matrix/backup-fetch.ts";
import { importBackedUp } from "../../main/core/matrix/backup-import.ts";
import type { Crypto } from "../../main/core/matrix/crypto.ts";
import { createHttp } from "../../main/core/matrix/http.ts";
import { openCryptoStore } from "../../main/core/storage/crypto-store/index.ts";
import { endCores } from "../core/core.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import {
  backupAccount,
  putSessions,
  realSessions,
  roomIdOf,
  sessionsEach,
  type BackupAccount,
} from "./backup-account.ts";
import type { Measured } from "./measured-core.ts";
import { atLeast, atMost, quantile, rounded, type BenchResult } from "./result.ts";
import { sdkInChromium } from "./sdk-restore.ts";

const rounds = 3;
const chunk = 200;
const median = (values: number[]) => quantile(values, 0.5);

async function ours(account: BackupAccount, folder: string, keys: number, visible: number): Promise<Measured> {
  const measured = await account.measure(folder, {
    call: { name: "backup.restore", input: { operationId: randomUUID() } },
    visible: { roomId: roomIdOf(0), items: visible },
  });
  const { answer } = measured;
  if (!answer.ok) throw new Error(`The restore failed: ${answer.error.code}`);
  const { total, imported, alreadyHad, failed } = answer.value as Restored;
  if (total !== keys || imported + alreadyHad !== keys || failed.length > 0)
    throw new Error(`${imported + alreadyHad} of ${keys} keys were restored.`);
  return measured;
}

/** The three parts of it, each alone: what none of them reaches, the whole cannot. */
async function bounds(homeserver: Homeserver, { account, version, privateKey }: BackupAccount, keys: number) {
  const rate = async (work: () => Promise<void>) => {
    const fromMs = performance.now();
    await work();
    return (keys / (performance.now() - fromMs)) * 1000;
  };
  const http = createHttp({ homeserver: homeserver.url, accessToken: account.accessToken, proxy: {} });
  const all: Fetched[] = [];
  const rooms = Array.from({ length: keys / sessionsEach }, (_, room) => roomIdOf(room));
  const signal = new AbortController().signal;
  const fetched = await rate(async () => {
    const fetchSome = async () => {
      for (let roomId = rooms.pop(); roomId !== undefined; roomId = rooms.pop())
        for await (const sessions of fetchSessions(http, version, roomId, signal)) all.push(...sessions);
    };
    await Promise.all([fetchSome(), fetchSome(), fetchSome(), fetchSome()]);
  });
  await http.close();
  if (all.length !== keys) throw new Error(`${all.length} of ${keys} keys were fetched.`);
  const opened: Extract<FromBackup, { ok: true }>[] = [];
  const worker = new URL("../../dist/main/backup-decrypt.js", import.meta.url);
  const decryptor = startDecryptor(worker, privateKey, 1);
  // once for the thread's start
  await decryptor.decrypt(all.slice(0, 1));
  const decrypted = await rate(async () => {
    const under: Promise<FromBackup[]>[] = [];
    for (let at = 0; at < keys || under.length > 0; at += chunk) {
      if (at < keys) under.push(decryptor.decrypt(all.slice(at, at + chunk)));
      if (under.length < 3 && at < keys) continue;
      for (const key of (await under.shift()) ?? []) if (key.ok) opened.push(key);
    }
  });
  await decryptor.close();
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-bench-"));
  const store = openCryptoStore({ file: path.join(folder, "crypto.db"), key: Buffer.alloc(32, 7) });
  try {
    Object.assign(globalThis, store.globals);
    await sdk.initAsync();
    const machine = await sdk.OlmMachine.initialize(
      new sdk.UserId(account.userId),
      new sdk.DeviceId("IMPORT"),
      "import",
    );
    // the parts of it that an import asks for; nothing else has a turn here
    const inTurn: Crypto["inner"]["inTurn"] = (work) => work();
    const crypto = { inner: { machine, inTurn } } as unknown as Crypto;
    let taken = 0;
    const imported = await rate(async () => {
      for (let at = 0; at < keys; at += chunk)
        taken += (await importBackedUp(crypto, version, opened.slice(at, at + chunk))).imported;
    });
    machine.close();
    if (taken !== keys) throw new Error(`${taken} of ${keys} keys were imported.`);
    return { fetched, decrypted, imported };
  } finally {
    store.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * A backup in rooms of fifty keys each comes back on a new device, on loopback, in a process of its own; the same by matrix-js-sdk in
 * Chromium, in turn. `size`: how many keys; the SDK has a fifth of them.
 */
export async function bench({ size = 100_000 }: { size?: number } = {}): Promise<BenchResult> {
  const whole = Math.ceil(size / 5000) * 5000;
  const stages = [whole / 100, whole / 10, whole / 5, whole].map((keys) => Math.max(sessionsEach, keys));
  const homeserver = await startHomeserver();
  const account = await backupAccount(homeserver, "ana");
  const chromium = await sdkInChromium();
  try {
    const real = await realSessions(account.account.userId, roomIdOf(0), sessionsEach);
    const runs = new Map<number, Measured[]>();
    const sdkMs: number[] = [];
    let there = 0;
    for (const [stage, keys] of stages.entries()) {
      await putSessions(homeserver, account, real, there, keys);
      there = keys;
      const events = real.map((one) => one.event);
      const folder = account.folderWith(keys / sessionsEach, events);
      const measured: Measured[] = [];
      for (let round = 0; round < rounds; round++) {
        measured.push(await ours(account, folder, keys, events.length));
        if (stage !== 2) continue;
        const sdk = await chromium.restore(homeserver, account);
        if (sdk.imported !== keys) throw new Error(`The SDK imported ${sdk.imported} of ${keys} keys.`);
        sdkMs.push(sdk.tookMs);
      }
      runs.set(stage, measured);
    }
    const alone = await bounds(homeserver, account, whole);
    const of = (stage: number, what: (one: Measured) => number) => median((runs.get(stage) ?? []).map(what));
    const keysOf = (stage: number) => stages[stage] ?? Number.NaN;
    const rateOf = (stage: number) => (keysOf(stage) / of(stage, (one) => one.tookMs)) * 1000;
    /** What a further key costs: between a tenth and the whole, and between a hundredth and a tenth. */
    const cost = (from: number, to: number) =>
      (of(to, (one) => one.tookMs) - of(from, (one) => one.tookMs)) / (keysOf(to) - keysOf(from));
    const growth = (cost(1, 3) / cost(0, 1) - 1) * 100;
    const sdkRate = (keysOf(2) / median(sdkMs)) * 1000;
    const perSecond = (what: string, rate: number) => ({ what, "keys a second": Math.round(rate) });
    const last = runs.get(3) ?? [];
    return {
      name: "restore",
      rows: [
        ...stages.map((keys, stage) => ({
          ...perSecond(`${keys} keys in ${keys / sessionsEach} rooms`, rateOf(stage)),
          "first keys ms": Math.round(of(stage, (one) => one.firstKeysMs)),
          "visible room ms": Math.round(of(stage, (one) => one.visibleMs)),
          "memory before MB": Math.round(of(stage, (one) => one.beforeMb)),
          "peak MB": Math.round(of(stage, (one) => one.peakMb)),
          "worker stall p99 ms": rounded(of(stage, (one) => one.worker.p99)),
          "host stall p99.9 ms": rounded(of(stage, (one) => one.host.p999)),
        })),
        perSecond(`${keysOf(2)} keys by matrix-js-sdk's restoreKeyBackup in Chromium`, sdkRate),
        perSecond("fetching alone, four rooms at once", alone.fetched),
        perSecond("decrypting alone, one thread", alone.decrypted),
        perSecond("importing alone, chunks of 200", alone.imported),
      ],
      targets: [
        atLeast(`${keysOf(2)} keys, against matrix-js-sdk in Chromium`, rateOf(2) / sdkRate, 2.5, "×"),
        atLeast("end to end, against one thread's bare decrypting", (rateOf(3) / alone.decrypted) * 100, 75, "%"),
        atMost("memory peak", Math.max(...last.map((one) => one.peakMb)), 350, "MB"),
        atMost("a further key's cost, from a tenth to all, against up to a tenth: growth", growth, 15, "%"),
        atMost(
          "first keys",
          of(3, (one) => one.firstKeysMs),
          500,
          "ms",
        ),
        atMost(
          "visible room readable",
          of(3, (one) => one.visibleMs),
          2000,
          "ms",
        ),
        atMost(
          "worker stall p99",
          of(3, (one) => one.worker.p99),
          40,
          "ms",
        ),
        atMost(
          "host stall p99.9",
          of(3, (one) => one.host.p999),
          16,
          "ms",
        ),
      ],
    };
  } finally {
    await chromium.close();
    await endCores();
    account.remove();
    await homeserver.stop();
  }
}

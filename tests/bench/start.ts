import { readFileSync } from "node:fs";
import { startHomeserver } from "../homeserver/homeserver.ts";
import type { AccountStatus } from "../../preload/contract/account.ts";
import { largeProfile, type LargeProfile } from "./large-profile.ts";
import { atMost, quantile, rounded, type BenchResult } from "./result.ts";

const size = { rooms: 1000, items: 30_000 };
const rounds = 7;

/** Resident memory of a process in MB, from Linux' /proc. */
function residentMb(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

const isLive = (status: AccountStatus) => status.at === "signed-in" && status.sync.at === "live";

async function startOnce(large: LargeProfile, online: boolean) {
  const fromMs = performance.now();
  const app = await large.open();
  try {
    const rooms = await app.call("rooms.list", {});
    const listMs = performance.now() - fromMs;
    if (rooms.length !== size.rooms) throw new Error(`${rooms.length} rooms are listed.`);
    const listMb = residentMb(app.pid);
    if (!online) return { readyMs: app.readyMs, listMs, listMb, liveMs: Number.NaN, liveMb: Number.NaN };
    if (!isLive(await app.call("account.status", {})))
      await app.waitFor(
        ({ event, payload }) => event === "account.changed" && isLive((payload as { status: AccountStatus }).status),
      );
    const liveMs = performance.now() - fromMs;
    return { readyMs: app.readyMs, listMs, listMb, liveMs, liveMb: residentMb(app.pid) };
  } finally {
    await app.remove();
  }
}

/** A headless process over a profile of 1,000 rooms and 30,000 messages, from its start. */
export async function bench(): Promise<BenchResult> {
  const homeserver = await startHomeserver();
  let large: LargeProfile | undefined;
  try {
    large = await largeProfile(homeserver.url, size);
    // once for the disk's cache and the compiled code
    await startOnce(large, true);
    const online = [];
    const firstAnswers: number[] = [];
    for (let round = 0; round < rounds; round++) {
      online.push(await startOnce(large, true));
      const fromMs = performance.now();
      await homeserver.api("GET", "v3/sync", {
        token: (await homeserver.register(`answers-${round}`)).accessToken,
        query: { timeout: "0" },
      });
      firstAnswers.push(performance.now() - fromMs);
    }
    await homeserver.stop();
    const offline = [];
    const passphrase: number[] = [];
    for (let round = 0; round < rounds; round++) {
      offline.push(await startOnce(large, false));
      passphrase.push(await large.derive());
    }
    const row = (what: string, values: number[], unit: string) => ({
      what,
      unit,
      p50: rounded(quantile(values, 0.5)),
      worst: rounded(Math.max(...values)),
    });
    const listMs = offline.map((one) => one.listMs);
    const liveMs = online.map((one) => one.liveMs);
    const passphraseMs = quantile(passphrase, 0.5);
    return {
      name: "start",
      rows: [
        row(
          "process start to app.ready, network off",
          offline.map((one) => one.readyMs),
          "ms",
        ),
        row("process start to rooms.list answered, network off", listMs, "ms"),
        row("deriving the key from the passphrase alone (no part of a start by the keychain)", passphrase, "ms"),
        row("process start to live", liveMs, "ms"),
        row("a sync with one registration, by the server alone", firstAnswers, "ms"),
        row(
          "memory at the list",
          offline.map((one) => one.listMb),
          "MB",
        ),
        row(
          "memory when live",
          online.map((one) => one.liveMb),
          "MB",
        ),
      ],
      targets: [
        atMost("to the room list, p50, passphrase and all", quantile(listMs, 0.5), 500, "ms"),
        atMost(
          "to the room list, p50, less the p50 of the passphrase (an estimate of a start by the keychain)",
          quantile(listMs, 0.5) - passphraseMs,
          500,
          "ms",
        ),
        atMost("memory when live, worst", Math.max(...online.map((one) => one.liveMb)), 200, "MB"),
        atMost(
          "to the server's first answer, p50, less the server's own time",
          quantile(liveMs, 0.5) - quantile(firstAnswers, 0.5),
          1000,
          "ms",
        ),
      ],
    };
  } finally {
    large?.remove();
    await homeserver.stop();
  }
}

import { startFaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver } from "../homeserver/homeserver.ts";
import { dayMs, endDevices, newClock, startDevice } from "../core/device-keys/device.ts";
import { atMost, quantile, rounded, spread, type BenchResult } from "./result.ts";

const cycles = 1000;
const full = { signed_curve25519: 50 };

/**
 * Used, reported, replaced, a thousand times, over the real stores, crypto and homeserver. Another account claims the fallback key;
 * the clock of the policy goes a day ahead each time, since a further rotation waits. One-time keys are used up once and said to be
 * there from then on, so that each claim takes the fallback key.
 */
export async function bench(): Promise<BenchResult> {
  const homeserver = await startHomeserver();
  const proxy = await startFaultProxy(homeserver.url, { recordBytes: 0 });
  try {
    const account = await homeserver.register("ana");
    const clock = newClock();
    const device = await startDevice(account, proxy.url, { clock });
    await device.sync();
    await homeserver.claimAllOneTimeKeysOf(account);
    proxy.on(
      { path: /\/sync$/ },
      {
        kind: "rewrite-response",
        json: (body) => ({ ...(body as object), device_one_time_keys_count: full }),
      },
    );
    proxy.on({ path: /\/keys\/upload$/ }, { kind: "rewrite-response", json: () => ({ one_time_key_counts: full }) });

    const replacedMs: number[] = [];
    const roundTripMs: number[] = [];
    let lost = 0;
    for (let cycle = 0; cycle < cycles; cycle++) {
      const before = device.status().fallback.current?.keyId;
      const claimed = await homeserver.claim(account);
      if (claimed?.fallback !== true || claimed.keyId !== `signed_curve25519:${before}`) lost++;
      clock.nowMs += dayMs;
      let reportedMs = 0;
      let acknowledgedMs = Number.NaN;
      device.onStatus((status) => {
        if (status.fallback.current?.keyId !== before)
          acknowledgedMs = Math.min(acknowledgedMs || Infinity, performance.now());
      });
      await device.sync(() => {
        reportedMs = performance.now();
      });
      if (Number.isNaN(acknowledgedMs)) lost++;
      else replacedMs.push(acknowledgedMs - reportedMs);
      const fromMs = performance.now();
      await device.http.request("POST", "/_matrix/client/v3/keys/query", { body: { device_keys: {} } });
      roundTripMs.push(performance.now() - fromMs);
    }
    const row = (what: string, values: number[]) => ({
      ...spread(what, values),
      "max ms": rounded(Math.max(...values)),
    });
    return {
      name: "device-keys",
      rows: [
        row("sync says used, to the new fallback key acknowledged", replacedMs),
        row("a round trip to the homeserver", roundTripMs),
        { what: "cycles", count: cycles },
        { what: "keys lost: not the one shown, or not replaced", count: lost },
      ],
      targets: [
        atMost(
          "used to new key acknowledged, p95",
          quantile(replacedMs, 0.95),
          rounded(1000 + quantile(roundTripMs, 0.5)),
          "ms",
        ),
        atMost(`lost in ${cycles} cycles`, lost, 0, "keys"),
      ],
    };
  } finally {
    await endDevices();
    await proxy.stop();
    await homeserver.stop();
  }
}

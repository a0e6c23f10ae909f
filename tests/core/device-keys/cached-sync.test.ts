import { expect, test } from "vitest";
import { useHomeserver } from "../people.ts";
import { isUpload, startDevice } from "./rig.ts";

const { account, proxyFor } = useHomeserver();
const isSync = { method: "GET", path: /\/v3\/sync$/ };
const patienceMs = 30_000;
/** What Synapse goes on computing where a client ended its poll, and gives to the next that asks the same. */
const ofBefore = {
  kind: "rewrite-response" as const,
  json: (body: unknown) => ({
    ...(body as object),
    device_one_time_keys_count: { signed_curve25519: 0 },
    device_unused_fallback_key_types: [],
  }),
};

/** The upload of its first keys is on its way; meanwhile a long poll was begun and ended. */
async function abandoned(name: string) {
  const proxy = await proxyFor();
  const device = await startDevice(await account(name), proxy.url);
  const held = proxy.on(isUpload, { kind: "hold" }, { times: 1 });
  const first = device.sync();
  await proxy.waitFor(isUpload, { state: "arrived" });
  const after = proxy.exchanges.at(-1)?.n ?? 0;
  await device.abandonPoll(patienceMs, () => proxy.waitFor(isSync, { state: "arrived", after }));
  held.release();
  await first;
  return { proxy, device };
}

test("8: what was computed before an upload and comes from the server's cache after it starts nothing", async () => {
  const { proxy, device } = await abandoned("cached");
  proxy.on(isSync, ofBefore, { times: 1 });
  await device.sync(undefined, patienceMs);
  expect(proxy.seen(isUpload)).toHaveLength(1);
  expect(device.kinds()).not.toContain("reported-used");
  await device.sync();
  expect(device.status()).toMatchObject({ oneTime: { onServer: 50 }, fallback: { unusedOnServer: true } });
  expect(proxy.seen(isUpload)).toHaveLength(1);
});

test("8: an answer that no cache can hold is believed at once", async () => {
  const { proxy, device } = await abandoned("fresh");
  proxy.on(isSync, ofBefore, { times: 1 });
  await device.sync();
  expect(device.kinds()).toContain("reported-used");
});

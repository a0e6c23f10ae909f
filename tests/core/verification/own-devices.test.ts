import { expect, test, vi } from "vitest";
import { restarted, sameAs, startCore } from "../core.ts";
import { eventually, useHomeserver, type Person } from "../people.ts";
import { agree, asked, byCode, comparing, done, ended, flowOf, ready, reached, setUp } from "./verifying.ts";

// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const homeserver = useHomeserver();
const all = { master: true, selfSigning: true, userSigning: true, backup: true };
const isSignatures = { method: "POST", path: /\/keys\/signatures\/upload$/ };
const isDone = { method: "PUT", path: /\/sendToDevice\/m\.key\.verification\.done\// };
const isVerifying = { method: "PUT", path: /\/sendToDevice\/m\.key\.verification\./ };

/** One with an identity, and a further device that has just signed in. */
async function twoDevices(): Promise<[Person, Person]> {
  const first = await homeserver.person("ana");
  await setUp(first);
  return [first, await another(first)];
}
const another = async (first: Person): Promise<Person> =>
  homeserver.person("ana", await homeserver.server().login(first.account));

async function isWhole(device: Person): Promise<void> {
  const status = await device.core.ok("trust.status", {});
  expect(status.identity).toBe("verified");
  expect(status.secrets).toEqual(all);
}
const signaturesOf = async (device: Person) => {
  const { userId, deviceId, accessToken } = device.account;
  const answer = await homeserver.server().api<{
    device_keys: Record<string, Record<string, { signatures: Record<string, Record<string, string>> }>>;
  }>("POST", "v3/keys/query", { token: accessToken, body: { device_keys: { [userId]: [] } } });
  return Object.keys(answer.device_keys[userId]?.[deviceId]?.signatures[userId] ?? {});
};

test("a new device asks, by emoji: it is signed and holds all four secrets when it is done", async () => {
  const [first, second] = await twoDevices();
  expect(await signaturesOf(second)).toHaveLength(1);
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  await agree([second, first], flowId);
  await done([second, first], flowId);
  await isWhole(second);
  expect(await signaturesOf(second)).toHaveLength(2);
});

test("the old device asks the new one by its name, and the new one starts", async () => {
  const [first, second] = await twoDevices();
  await first.core.until(
    async () => (await first.core.ok("devices.list", {})).some((device) => device.deviceId === second.account.deviceId),
    "the new device",
  );
  const flowId = await ready(first, second, second.account.deviceId);
  await comparing(second, first, flowId);
  await agree([first, second], flowId);
  await done([first, second], flowId);
  await isWhole(second);
});

test("the code of the device that trusts the identity (mode 1), scanned by the new one", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  const bytes = await byCode(first, second, flowId);
  expect(bytes[7]).toBe(1);
  await done([first, second], flowId);
  await isWhole(second);
});

test("the code of the new device (mode 2), scanned by the one that trusts the identity", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  const bytes = await byCode(second, first, flowId);
  expect(bytes[7]).toBe(2);
  await done([first, second], flowId);
  await isWhole(second);
});

test("one device answers: the third is told quietly that it need not, and can verify next", async () => {
  const [first, second] = await twoDevices();
  // only those that can vouch for a device are asked to
  const before = await ready(second, first);
  await comparing(second, first, before);
  await agree([second, first], before);
  await done([second, first], before);
  const third = await another(first);
  const { flowId } = await third.core.ok("verification.request", { userId: first.userId });
  await Promise.all([first, second].map(({ core }) => asked(core, flowId)));
  await first.core.ok("verification.accept", { flowId });
  const [quiet] = await ended([second], flowId);
  expect(quiet).toEqual({ at: "cancelled", code: "m.accepted", byMe: false });
  await Promise.all([first, third].map(({ core }) => reached(core, flowId, "ready")));
  await comparing(first, third, flowId);
  await agree([first, third], flowId);
  await done([first, third], flowId);
  await isWhole(third);
  const next = await ready(second, third, third.account.deviceId);
  await comparing(second, third, next);
  await agree([second, third], next);
  await done([second, third], next);
});

test("the only device of an account is told so at once; a new one is asked as soon as it is there", async () => {
  const first = await homeserver.person("ana");
  await setUp(first);
  expect(await first.core.call("verification.request", { userId: first.userId })).toMatchObject({
    ok: false,
    error: { code: "not-found", details: { kind: "no-other-device" } },
  });
  expect(await first.core.ok("verification.list", {})).toEqual([]);
  const second = await another(first);
  const { flowId } = await first.core.ok("verification.request", { userId: first.userId });
  await asked(second.core, flowId);
});

test("a signature that is lost on its way keeps the verification settling, until it is there", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  const lost = first.proxy.on(isSignatures, { kind: "drop" });
  await agree([second, first], flowId);
  const settling = await reached(first.core, flowId, "settling");
  expect(settling.missing).toContain("signature");
  expect(settling.settlingSinceMs).toBeGreaterThan(0);
  expect((await reached(second.core, flowId, "settling")).missing).toContain("signature");
  await eventually(
    () => lost.used,
    (used) => used > 1,
  );
  expect((await flowOf(second.core, flowId))?.state.at).toBe("settling");
  lost.remove();
  await done([second, first], flowId);
  await isWhole(second);
});

test("a signature that the server refuses in a 200 is no success, and is made again", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  const failures = {
    failures: { [first.userId]: { [second.account.deviceId]: { errcode: "M_INVALID_SIGNATURE", error: "no" } } },
  };
  const refused = first.proxy.on(isSignatures, { kind: "status", status: 200, body: failures }, { times: 2 });
  await agree([second, first], flowId);
  await first.core.nextEvent(
    "verification.changed",
    ({ flow: { flowId: of, state } }) =>
      of === flowId && state.at === "settling" && state.missing.includes("signature"),
  );
  await done([second, first], flowId);
  expect(refused.used).toBe(2);
  await isWhole(second);
});

test("killed while the emoji are compared: nothing half verified, the other side is told, and the next one works", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  await second.core.ok("verification.confirm", { flowId, same: true });
  await first.core.kill();
  first.core = await startCore({ ...sameAs(first.core), lastStopOrderly: false });
  const [told] = await ended([second], flowId);
  expect(told).toEqual({ at: "cancelled", code: "m.unknown_transaction", byMe: false });
  expect(await first.core.ok("verification.list", {})).toEqual([]);
  expect((await second.core.ok("trust.status", {})).identity).toBe("this-device-unverified");
  expect(await signaturesOf(second)).toHaveLength(1);
  const next = await ready(second, first);
  await comparing(second, first, next);
  await agree([second, first], next);
  await done([second, first], next);
});

test("killed while it settles: the next run finishes it", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  const lost = first.proxy.on(isSignatures, { kind: "drop" });
  await agree([second, first], flowId);
  // the other has all that it needs of the flow too
  await Promise.all([first, second].map(({ core }) => reached(core, flowId, "settling")));
  await first.core.kill();
  lost.remove();
  first.core = await startCore({ ...sameAs(first.core), lastStopOrderly: false });
  await done([first, second], flowId);
  await isWhole(second);
});

test("killed before its last message went out: the next run sends it, and the other does not wait in vain", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  const lost = [isSignatures, isDone].map((match) => first.proxy.on(match, { kind: "drop" }));
  await agree([second, first], flowId);
  await reached(first.core, flowId, "settling");
  await first.core.kill();
  for (const rule of lost) rule.remove();
  first.core = await startCore({ ...sameAs(first.core), lastStopOrderly: false });
  await done([first, second], flowId);
  await isWhole(second);
});

test("nothing is done before the other has been told so", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  const lost = first.proxy.on(isDone, { kind: "drop" });
  await agree([second, first], flowId);
  await first.core.until(
    async () => (await signaturesOf(second)).length === 2 && lost.used > 2,
    "signed, and not told",
  );
  expect((await flowOf(first.core, flowId))?.state.at).not.toBe("done");
  lost.remove();
  await done([first, second], flowId);
});

test("a request that nobody had answered is there again after a restart", async () => {
  const [first, second] = await twoDevices();
  const { flowId } = await second.core.ok("verification.request", { userId: first.userId });
  await asked(first.core, flowId);
  first.core = await restarted(first.core);
  await asked(first.core, flowId);
  await first.core.ok("verification.accept", { flowId });
  await reached(second.core, flowId, "ready");
  await comparing(second, first, flowId);
  await agree([second, first], flowId);
  await done([second, first], flowId);
});

test("messages that the network loses are sent again, and the other side notices nothing", async () => {
  const [first, second] = await twoDevices();
  const flowId = await ready(second, first);
  const rules = [first, second].map(({ proxy }) => proxy.on(isVerifying, { kind: "drop-response" }, { times: 3 }));
  await comparing(second, first, flowId);
  await agree([second, first], flowId);
  await done([second, first], flowId);
  expect(rules.map((rule) => rule.used)).toEqual([3, 3]);
});

test("events repeated, of unknown flows, malformed and from elsewhere disturb nothing", async () => {
  const [first, second] = await twoDevices();
  const stranger = await homeserver.person("eve");
  const flowId = await ready(second, first);
  const junk = [
    { type: "m.key.verification.start", content: { transaction_id: "nobody", method: "m.sas.v1", from_device: "X" } },
    { type: "m.key.verification.done", content: { transaction_id: "nobody" } },
    { type: "m.key.verification.cancel", content: { transaction_id: 5 } },
    { type: "m.key.verification.key", content: {} },
    { type: "m.key.verification.mac", content: { transaction_id: flowId, mac: 7, keys: [] } },
    {
      type: "m.key.verification.request",
      content: { transaction_id: "old", from_device: "X", methods: [], timestamp: 5 },
    },
  ].map((event) => ({ sender: first.userId, ...event }));
  const foreign = ["done", "cancel", "ready", "start", "accept"].map((kind) => ({
    sender: stranger.userId,
    type: `m.key.verification.${kind}`,
    content: {
      transaction_id: flowId,
      code: "m.user",
      reason: "x",
      from_device: stranger.account.deviceId,
      methods: [],
    },
  }));
  const rules = [first, second].map(({ proxy }) =>
    proxy.on(
      { path: /\/v3\/sync$/ },
      {
        kind: "rewrite-response",
        json: (body) => {
          const sync = body as { to_device?: { events?: { type: string }[] } };
          const events = sync.to_device?.events ?? [];
          const twice = events.flatMap((event) =>
            event.type.startsWith("m.key.verification.") ? [event, event] : [event],
          );
          return { ...sync, to_device: { ...sync.to_device, events: [...junk, ...foreign, ...twice, ...junk] } };
        },
      },
    ),
  );
  await comparing(second, first, flowId);
  await agree([second, first], flowId);
  await done([second, first], flowId);
  expect(rules.every((rule) => rule.used > 0)).toBe(true);
  expect(await first.core.ok("verification.list", {})).toHaveLength(1);
  await isWhole(second);
});

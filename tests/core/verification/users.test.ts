import { beforeAll, expect, test, vi } from "vitest";
import { holdSync, useHomeserver, type Person } from "../people.ts";
import {
  agree,
  asked,
  byCode,
  comparing,
  done,
  ended,
  flowOf,
  identityOf,
  ready,
  reached,
  setUp,
  strangers,
} from "./verifying.ts";

// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const homeserver = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  ana = await homeserver.person("ana");
  ben = await homeserver.person("ben");
  await Promise.all([setUp(ana), setUp(ben)]);
});

test("two users verify each other by emoji, in a direct chat that is made for it; the chat shows and counts nothing of it", async () => {
  const { flowId } = await ana.core.ok("verification.request", { userId: ben.userId });
  const { roomId = "" } = await asked(ana.core, flowId);
  await ben.core.room(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  const flow = await asked(ben.core, flowId);
  expect(flow).toMatchObject({ userId: ana.userId, deviceId: ana.account.deviceId, mine: false, roomId });
  expect(flow.methods).toEqual(["emoji", "qr-show", "qr-scan"]);
  await ben.core.ok("verification.accept", { flowId });
  await Promise.all([reached(ana.core, flowId, "ready"), reached(ben.core, flowId, "ready")]);
  await comparing(ana, ben, flowId);
  const state = (await flowOf(ana.core, flowId))?.state;
  if (state?.at !== "comparing") throw new Error("not comparing");
  expect(state.decimals.every((number) => number >= 1000 && number <= 9191)).toBe(true);
  expect(state.emojiNumbers?.every((number) => number >= 0 && number < 64)).toBe(true);
  await agree([ana, ben], flowId);
  await done([ana, ben], flowId);
  expect(await identityOf(ana.core, ben.userId)).toBe("verified");
  expect(await identityOf(ben.core, ana.userId)).toBe("verified");

  await Promise.all([ana.core.sync(), ben.core.sync()]);
  const wire = await homeserver.timeline(ana.account, roomId);
  const events = wire.filter((event) => !("state_key" in event));
  expect(events.length).toBeGreaterThanOrEqual(9);
  expect(new Set(events.map((event) => event.type))).toEqual(new Set(["m.room.encrypted"]));
  for (const { core } of [ana, ben]) {
    expect((await core.load(roomId)).filter((item) => item.kind !== "state")).toEqual([]);
    expect((await core.room(roomId)).unread).toEqual({ messages: 0, mentions: 0 });
  }
});

test("the one who asked shows a code and the other scans it", async () => {
  const [one, other] = await strangers(homeserver);
  const flowId = await ready(one, other);
  const bytes = await byCode(one, other, flowId);
  expect(bytes.subarray(0, 8).toString("latin1")).toBe("MATRIX\u0002\u0000");
  await done([one, other], flowId);
  expect(await identityOf(one.core, other.userId)).toBe("verified");
  expect(await identityOf(other.core, one.userId)).toBe("verified");
});

test("the one who was asked shows a code, both having made one", async () => {
  const [one, other] = await strangers(homeserver);
  const flowId = await ready(one, other);
  await one.core.ok("verification.showQr", { flowId });
  await byCode(other, one, flowId);
  await done([one, other], flowId);
  expect(await identityOf(one.core, other.userId)).toBe("verified");
});

test("emoji after a code was shown", async () => {
  const flowId = await ready(ana, ben);
  await Promise.all([ana, ben].map(({ core }) => core.ok("verification.showQr", { flowId })));
  await comparing(ben, ana, flowId);
  await agree([ben, ana], flowId);
  await done([ana, ben], flowId);
});

test("both press emoji at once", async () => {
  for (let round = 0; round < 3; round++) {
    const flowId = await ready(ana, ben);
    await Promise.all([ana, ben].map(({ core }) => core.ok("verification.start", { flowId, method: "emoji" })));
    const [a, b] = await Promise.all([ana, ben].map(({ core }) => reached(core, flowId, "comparing")));
    expect(a).toEqual(b);
    await agree([ana, ben], flowId);
    await done([ana, ben], flowId);
  }
});

test("both ask at once: one of the two verifications goes on, without anybody accepting it", async () => {
  // neither hears of the other before both have asked
  const held = await Promise.all([ana, ben].map(holdSync));
  const asking = [ana, ben].map((one) =>
    one.core.ok("verification.request", { userId: one === ana ? ben.userId : ana.userId }),
  );
  await Promise.all([ana, ben].map(({ proxy }) => proxy.waitFor({ method: "PUT", path: /\/send\// }, after(proxy))));
  for (const rule of held) rule.release();
  const flowIds = (await Promise.all(asking)).map(({ flowId }) => flowId);
  const alive = await ana.core.until(async () => {
    const flows = (await ana.core.ok("verification.list", {})).filter((flow) => flowIds.includes(flow.flowId));
    return flows.find((flow) => flow.state.at === "ready");
  }, "the flow that goes on");
  await reached(ben.core, alive.flowId, "ready");
  const loser = alive.mine ? ben : ana;
  const other = flowIds.find((flowId) => flowId !== alive.flowId) ?? "";
  expect(await flowOf(loser.core, other)).toMatchObject({ state: { at: "cancelled" }, replacedBy: alive.flowId });
  await comparing(ana, ben, alive.flowId);
  await agree([ana, ben], alive.flowId);
  await done([ana, ben], alive.flowId);
});
const after = (proxy: Person["proxy"]) => ({ after: proxy.exchanges.at(-1)?.n ?? 0 });

test("either may cancel at each step, and the next verification can begin", async () => {
  const steps: ((flowId: string) => Promise<unknown>)[] = [
    () => Promise.resolve(),
    (flowId) => ben.core.ok("verification.accept", { flowId }),
    (flowId) => ana.core.ok("verification.start", { flowId, method: "emoji" }),
    (flowId) => Promise.all([ana, ben].map(({ core }) => reached(core, flowId, "comparing"))),
    (flowId) => ana.core.ok("verification.confirm", { flowId, same: true }),
  ];
  for (const [canceller, other] of [
    [ana, ben],
    [ben, ana],
  ] as const)
    for (let last = 0; last < steps.length; last++) {
      const { flowId } = await ana.core.ok("verification.request", { userId: ben.userId });
      await asked(ben.core, flowId);
      for (const step of steps.slice(0, last + 1)) {
        await step(flowId);
        // the steps that need both to be ready
        if (step === steps[1]) await reached(ana.core, flowId, "ready");
      }
      await canceller.core.ok("verification.cancel", { flowId });
      const [here, there] = await ended([canceller, other], flowId);
      expect(here).toEqual({ at: "cancelled", code: "m.user", byMe: true });
      expect(there).toEqual({ at: "cancelled", code: "m.user", byMe: false });
    }
});

test("cancelled by either while a code is waiting for the tick", async () => {
  for (const canceller of [ana, ben]) {
    const flowId = await ready(ana, ben);
    const { bytes } = await ana.core.ok("verification.showQr", { flowId });
    await ben.core.ok("verification.scanQr", { flowId, bytes });
    await reached(ana.core, flowId, "qr-scanned");
    if (canceller === ana) await ana.core.ok("verification.confirm", { flowId, same: false });
    else await ben.core.ok("verification.cancel", { flowId });
    await ended([ana, ben], flowId);
  }
});

test("emoji that differ end it for both, and nobody is verified", async () => {
  const [one, other] = await strangers(homeserver);
  const flowId = await ready(one, other);
  await comparing(one, other, flowId);
  await other.core.ok("verification.confirm", { flowId, same: true });
  await one.core.ok("verification.confirm", { flowId, same: false });
  const [here, there] = await ended([one, other], flowId);
  expect(here).toMatchObject({ code: "m.mismatched_sas", byMe: true });
  expect(there).toMatchObject({ code: "m.mismatched_sas", byMe: false });
  expect(await identityOf(one.core, other.userId)).toBe("pinned");
  expect(await identityOf(other.core, one.userId)).toBe("pinned");
});

test("a new request takes the place of an unfinished one", async () => {
  const first = await ready(ana, ben);
  await comparing(ana, ben, first);
  const second = await ready(ben, ana);
  await ended([ana, ben], first);
  await comparing(ana, ben, second);
  await agree([ana, ben], second);
  await done([ana, ben], second);
});

test("asking somebody who has asked already is agreeing", async () => {
  const { flowId } = await ana.core.ok("verification.request", { userId: ben.userId });
  await asked(ben.core, flowId);
  expect(await ben.core.ok("verification.request", { userId: ana.userId })).toEqual({ flowId });
  await reached(ana.core, flowId, "ready");
  await ana.core.ok("verification.cancel", { flowId });
  await ended([ana, ben], flowId);
});

test("commands out of their order are refused and change nothing", async () => {
  const { flowId } = await ana.core.ok("verification.request", { userId: ben.userId });
  await asked(ben.core, flowId);
  const refused = async (answer: Promise<unknown>) => {
    expect(await answer).toMatchObject({ ok: false, error: { code: "conflict", details: { kind: "wrong-time" } } });
  };
  await refused(ana.core.call("verification.accept", { flowId }));
  for (const { core } of [ana, ben]) {
    await refused(core.call("verification.start", { flowId, method: "emoji" }));
    await refused(core.call("verification.showQr", { flowId }));
    await refused(core.call("verification.confirm", { flowId, same: true }));
  }
  await ben.core.ok("verification.accept", { flowId });
  await reached(ana.core, flowId, "ready");
  await refused(ben.core.call("verification.accept", { flowId }));
  await refused(ana.core.call("verification.confirm", { flowId, same: true }));
  await comparing(ana, ben, flowId);
  await agree([ana, ben], flowId);
  await done([ana, ben], flowId);
  await refused(ana.core.call("verification.confirm", { flowId, same: false }));
  expect(await ana.core.ok("verification.cancel", { flowId })).toEqual({});
  expect((await flowOf(ana.core, flowId))?.state).toEqual({ at: "done" });
  expect(await ana.core.call("verification.accept", { flowId: "$nothing" })).toMatchObject({
    ok: false,
    error: { code: "not-found" },
  });
});

test("without identities there is nothing to verify, and it is said which side lacks one", async () => {
  const without = await homeserver.person("eve");
  expect(await ana.core.call("verification.request", { userId: without.userId })).toMatchObject({
    ok: false,
    error: { code: "not-found", details: { kind: "no-identity" } },
  });
  expect(await without.core.call("verification.request", { userId: ana.userId })).toMatchObject({
    ok: false,
    error: { code: "conflict", details: { kind: "setup-needed" } },
  });
});

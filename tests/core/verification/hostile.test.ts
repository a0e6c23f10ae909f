import { expect, test, vi } from "vitest";
import { eventually, isSync, useHomeserver, type Person } from "../people.ts";
import { forgedIdentity, withForged } from "./forged-identity.ts";
import {
  agree,
  asked,
  byCode,
  comparing,
  directChat,
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
const isQuery = { method: "POST", path: /\/keys\/query$/ };
const isSignatures = { method: "POST", path: /\/keys\/signatures\/upload$/ };

const reference = (flowId: string) => ({ "m.relates_to": { rel_type: "m.reference", event_id: flowId } });
/** Whose side refuses the other's agreement says so first: nobody can agree any more once it has ended. */
const agreeInTurn = async (people: Person[], flowId: string) => {
  for (const person of people) await agree([person], flowId);
};
/** How often this user's master key was signed by that one. */
const signedBy = async (signer: Person, signed: Person): Promise<boolean> => {
  const answer = await homeserver.server().api<{
    master_keys: Record<string, { signatures?: Record<string, unknown> }>;
  }>("POST", "v3/keys/query", { token: signer.account.accessToken, body: { device_keys: { [signed.userId]: [] } } });
  return answer.master_keys[signed.userId]?.signatures?.[signer.userId] !== undefined;
};

test("a peer that says it is done before we agreed has verified nothing; agreeing afterwards completes it", async () => {
  const [ana, ben, roomId] = await strangers(homeserver);
  const uploads = ana.proxy.seen(isSignatures).length;
  const refused = await ready(ana, ben);
  const first = await ana.core.ok("verification.showQr", { flowId: refused });
  await ben.core.ok("verification.scanQr", { bytes: first.bytes });
  await homeserver.put(ben.account, roomId, "m.key.verification.done", reference(refused));
  await reached(ana.core, refused, "qr-scanned");
  await ana.core.sync();
  expect((await flowOf(ana.core, refused))?.state).toEqual({ at: "qr-scanned" });
  await ana.core.ok("verification.confirm", { flowId: refused, same: false });
  await ended([ana, ben], refused);
  expect(await signedBy(ana, ben)).toBe(false);
  expect(ana.proxy.seen(isSignatures)).toHaveLength(uploads);

  const flowId = await ready(ana, ben);
  const { bytes } = await ana.core.ok("verification.showQr", { flowId });
  await ben.core.ok("verification.scanQr", { bytes });
  await reached(ana.core, flowId, "qr-scanned");
  await homeserver.put(ben.account, roomId, "m.key.verification.done", reference(flowId));
  await ana.core.sync();
  expect((await flowOf(ana.core, flowId))?.state).toEqual({ at: "qr-scanned" });
  await ana.core.ok("verification.confirm", { flowId, same: true });
  await done([ana, ben], flowId);
  expect(await signedBy(ana, ben)).toBe(true);
});

test("keys that the server swaps from the beginning: never done for whom they were swapped", async () => {
  const [ana, ben] = await strangers(homeserver);
  ana.proxy.on(isQuery, { kind: "rewrite-response", json: withForged(ben.userId, forgedIdentity(ben.userId)) });
  const flowId = await ready(ana, ben);
  await comparing(ana, ben, flowId);
  await agreeInTurn([ana, ben], flowId);
  // what he saw of her was true, so he may be done
  const [here] = await ended([ana], flowId);
  expect(here).toMatchObject({ code: "m.key_mismatch", byMe: true });
  expect(await identityOf(ana.core, ben.userId)).not.toBe("verified");
  expect(await signedBy(ana, ben)).toBe(false);
});

test("keys that the server swaps while the emoji are compared: never done, nothing signed", async () => {
  const [ana, ben] = await strangers(homeserver);
  const flowId = await ready(ana, ben);
  await comparing(ana, ben, flowId);
  const swap = ana.proxy.on(isQuery, {
    kind: "rewrite-response",
    json: withForged(ben.userId, forgedIdentity(ben.userId)),
  });
  // a new device of his makes her client ask for his keys again
  await homeserver.server().login(ben.account);
  await eventually(
    () => swap.used,
    (used) => used > 0,
  );
  await ana.core.until(async () => (await identityOf(ana.core, ben.userId)) === "changed", "the change");
  await agreeInTurn([ana, ben], flowId);
  const [here] = await ended([ana], flowId);
  expect(here).toMatchObject({ code: "m.key_mismatch", byMe: true });
  expect(await identityOf(ana.core, ben.userId)).not.toBe("verified");
  expect(await signedBy(ana, ben)).toBe(false);
});

test("keys that the server swaps once both have agreed: settling ends, not done", async () => {
  const [ana, ben] = await strangers(homeserver);
  const flowId = await ready(ana, ben);
  await comparing(ana, ben, flowId);
  const swap = { kind: "rewrite-response" as const, json: withForged(ben.userId, forgedIdentity(ben.userId)) };
  ana.proxy.on(isSignatures, { kind: "drop" });
  await agree([ana, ben], flowId);
  await reached(ana.core, flowId, "settling");
  ana.proxy.on(isQuery, swap);
  const [here] = await ended([ana], flowId);
  expect(here).toMatchObject({ code: "m.key_mismatch", byMe: true });
});

test("a code of another pair, of another flow, cut, or of another kind is refused by name, and the flow goes on", async () => {
  const [ana, ben] = await strangers(homeserver);
  const eve = await homeserver.person("eve");
  await setUp(eve);
  await directChat(eve, ben);
  const others = await ready(eve, ben);
  const foreign = Buffer.from((await eve.core.ok("verification.showQr", { flowId: others })).bytes, "base64");
  const flowId = await ready(ana, ben);
  const good = Buffer.from((await ana.core.ok("verification.showQr", { flowId })).bytes, "base64");
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");
  const failureOf = async (bytes: Uint8Array, more: { flowId?: string } = {}) => {
    const answer = await ben.core.call("verification.scanQr", { bytes: base64(bytes), ...more });
    if (answer.ok) throw new Error("It was taken.");
    return [answer.error.code, (answer.error.details as { kind?: string }).kind];
  };
  const changed = (at: number, to: number) => Buffer.from(good.map((byte, index) => (index === at ? to : byte)));
  const keysAt = 10 + good.readUInt16BE(8);
  expect(await failureOf(foreign, { flowId })).toEqual(["bad-request", "other-flow"]);
  expect(await failureOf(good.subarray(0, keysAt + 40))).toEqual(["bad-request", "truncated"]);
  expect(await failureOf(changed(7, 1))).toEqual(["bad-request", "wrong-mode"]);
  expect(await failureOf(changed(7, 4))).toEqual(["bad-request", "sign-in"]);
  expect(await failureOf(changed(7, 9))).toEqual(["bad-request", "wrong-mode"]);
  expect(await failureOf(changed(6, 3))).toEqual(["bad-request", "newer-version"]);
  expect(await failureOf(changed(0, 0x6d))).toEqual(["bad-request", "not-a-code"]);
  for (const at of [keysAt, keysAt + 32])
    expect(await failureOf(changed(at, (good[at] ?? 0) ^ 1))).toEqual(["wrong-key", "keys-differ"]);
  expect(await failureOf(Buffer.concat([good.subarray(0, keysAt), foreign.subarray(keysAt)]))).toEqual([
    "wrong-key",
    "keys-differ",
  ]);
  expect((await flowOf(ben.core, flowId))?.state).toEqual({ at: "ready" });
  await byCode(ana, ben, flowId);
  await done([ana, ben], flowId);
});

test("a code with a wrong secret ends it for both, and nobody is signed", async () => {
  const [ana, ben] = await strangers(homeserver);
  const flowId = await ready(ana, ben);
  const good = Buffer.from((await ana.core.ok("verification.showQr", { flowId })).bytes, "base64");
  const wrong = Buffer.from(good.map((byte, index) => (index === good.length - 1 ? byte ^ 1 : byte)));
  await ben.core.ok("verification.scanQr", { bytes: wrong.toString("base64") });
  const [here] = await ended([ana, ben], flowId);
  expect(here?.code).toBe("m.key_mismatch");
  expect(await signedBy(ana, ben)).toBe(false);
  expect(await signedBy(ben, ana)).toBe(false);
});

test("a request ends ten minutes after it was made, on both sides", async () => {
  const [ana, ben] = await strangers(homeserver);
  const almostTenMinutesMs = 10 * 60_000 - 10_000;
  ben.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) =>
      JSON.parse(
        JSON.stringify(body, (key, value: unknown) =>
          key === "origin_server_ts" ? Date.now() - almostTenMinutesMs : value,
        ),
      ) as unknown,
  });
  const { flowId } = await ana.core.ok("verification.request", { userId: ben.userId });
  await asked(ben.core, flowId);
  const [here, there] = await ended([ben, ana], flowId);
  expect(here).toEqual({ at: "cancelled", code: "m.timeout", byMe: true });
  expect(there).toEqual({ at: "cancelled", code: "m.timeout", byMe: false });
});

test("requests that are too old, or of somebody ignored, or to somebody else never show", async () => {
  const [ana, ben, roomId] = await strangers(homeserver);
  const eve = await homeserver.person("eve");
  await directChat(ana, eve);
  const content = { methods: ["m.sas.v1"], from_device: eve.account.deviceId };
  const ask = async (transactionId: string, timestamp: number) => {
    await homeserver.server().api("PUT", `v3/sendToDevice/m.key.verification.request/${transactionId}`, {
      token: eve.account.accessToken,
      body: { messages: { [ana.userId]: { "*": { ...content, transaction_id: transactionId, timestamp } } } },
    });
  };
  await ask("old", Date.now() - 11 * 60_000);
  await ask("future", Date.now() + 11 * 60_000);
  await homeserver.put(ben.account, roomId, "m.room.message", {
    msgtype: "m.key.verification.request",
    body: "x",
    methods: ["m.sas.v1"],
    from_device: ben.account.deviceId,
    to: eve.userId,
  });
  await ask("fresh", Date.now());
  await asked(ana.core, "fresh");
  expect((await ana.core.ok("verification.list", {})).map((flow) => flow.flowId)).toEqual(["fresh"]);
  await ana.core.ok("people.ignore", { userId: eve.userId, ignored: true });
  await ana.core.sync();
  await ask("ignored", Date.now());
  await ana.core.sync();
  await ana.core.sync();
  expect((await ana.core.ok("verification.list", {})).map((flow) => flow.flowId)).toEqual(["fresh"]);
});

test("what a third writes about a flow changes nothing, in the room and beside it", async () => {
  const [ana, ben, roomId] = await strangers(homeserver);
  const eve = await homeserver.person("eve");
  await ana.core.ok("rooms.invite", { roomId, userId: eve.userId });
  await eve.core.room(roomId);
  await eve.core.ok("rooms.join", { room: roomId });
  const flowId = await ready(ana, ben);
  for (const kind of ["cancel", "done", "ready", "start"]) {
    const content = { code: "m.user", reason: "x", from_device: eve.account.deviceId, methods: ["m.sas.v1"] };
    await homeserver.put(eve.account, roomId, `m.key.verification.${kind}`, { ...content, ...reference(flowId) });
    await homeserver.server().api("PUT", `v3/sendToDevice/m.key.verification.${kind}/third-${kind}`, {
      token: eve.account.accessToken,
      body: { messages: { [ana.userId]: { "*": { ...content, transaction_id: flowId } } } },
    });
  }
  await ana.core.sync();
  await comparing(ana, ben, flowId);
  await agree([ana, ben], flowId);
  await done([ana, ben], flowId);
});

test("events that come in clear from another client are taken as the encrypted ones are", async () => {
  const [ana, ben, roomId] = await strangers(homeserver);
  const flowId = await homeserver.put(ben.account, roomId, "m.room.message", {
    msgtype: "m.key.verification.request",
    body: "verify?",
    methods: ["m.sas.v1"],
    from_device: ben.account.deviceId,
    to: ana.userId,
  });
  const flow = await asked(ana.core, flowId);
  expect(flow).toMatchObject({ userId: ben.userId, methods: ["emoji"], roomId, mine: false });
  await ana.core.ok("verification.accept", { flowId });
  await reached(ana.core, flowId, "ready");
  // with the echo of her answer, which can be read
  await ana.core.sync();
  expect((await ana.core.load(roomId)).filter((item) => item.kind !== "state")).toEqual([]);
  expect((await ana.core.room(roomId)).unread.messages).toBe(0);
  await homeserver.put(ben.account, roomId, "m.key.verification.cancel", {
    code: "m.user",
    reason: "x",
    ...reference(flowId),
  });
  const [here] = await ended([ana], flowId);
  expect(here).toEqual({ at: "cancelled", code: "m.user", byMe: false });
});

import {
  DeviceId,
  KeysQueryRequest,
  KeysUploadRequest,
  OlmMachine,
  UserId,
  type KeysClaimRequest,
} from "@matrix-org/matrix-sdk-crypto-wasm";
import { expect, test } from "vitest";
import type { Account } from "../../homeserver/homeserver.ts";
import { useHomeserver } from "../people.ts";
import { hourMs, useDevices, type Device } from "./rig.ts";

const people = useHomeserver({ rc_message: { per_second: 1000, burst_count: 1000 } });
const { server, account } = people;
const made = useDevices(people);

type Sender = { account: Account; say: (to: Account, text: string) => Promise<Wire> };
type Wire = { ciphertext: Record<string, { type: number }> } & Record<string, unknown>;

/** A device of somebody else's client, in memory alone. What it says is the first of an Olm session: a pre-key message. */
async function newSender(name: string): Promise<Sender> {
  const mine = await account(name);
  const machine = await OlmMachine.initialize(new UserId(mine.userId), new DeviceId(mine.deviceId));
  const post = async (request: KeysUploadRequest | KeysQueryRequest | KeysClaimRequest) => {
    const path =
      request instanceof KeysUploadRequest ? "upload" : request instanceof KeysQueryRequest ? "query" : "claim";
    const body: unknown = JSON.parse(request.body);
    const answer = await server().api("POST", `v3/keys/${path}`, { token: mine.accessToken, body });
    await machine.markRequestAsSent(request.id, request.type, JSON.stringify(answer));
  };
  return {
    account: mine,
    say: async (to, text) => {
      await machine.updateTrackedUsers([new UserId(to.userId)]);
      for (const request of await machine.outgoingRequests())
        if (request instanceof KeysUploadRequest || request instanceof KeysQueryRequest) await post(request);
      const claim = await machine.getMissingSessions([new UserId(to.userId)]);
      if (claim !== null) await post(claim);
      const device = await machine.getDevice(new UserId(to.userId), new DeviceId(to.deviceId));
      if (device === undefined) throw new Error("The device is not known.");
      const wire = JSON.parse(await device.encryptToDeviceEvent("chat.tessera.test", { text })) as Wire;
      expect(Object.values(wire.ciphertext).map((one) => one.type)).toEqual([0]);
      machine.close();
      return wire;
    },
  };
}
let sent = 0;
const deliver = (from: Account, to: Account, content: object) =>
  server().api("PUT", `v3/sendToDevice/m.room.encrypted/t${++sent}`, {
    token: from.accessToken,
    body: { messages: { [to.userId]: { [to.deviceId]: content } } },
  });
/** What came through by Olm, by its text. */
function heard(device: Device): string[] {
  const texts: string[] = [];
  device.crypto.onToDevice((events) => {
    for (const event of events)
      if (event.type === "chat.tessera.test" && event.olm !== undefined) texts.push(String(event.content["text"]));
  });
  return texts;
}

test("all one-time keys claimed while the app is off, then 100 new sessions on the fallback key: nothing is lost", async () => {
  const ana = await made("ana");
  const first = await ana.start();
  await first.sync();
  await first.sync();
  await first.end();
  await server().claimAllOneTimeKeysOf(ana.mine);
  const expected: string[] = [];
  for (let number = 0; number < 100; number++) {
    const sender = await newSender(`sender-${number}`);
    await deliver(sender.account, ana.mine, await sender.say(ana.mine, `session ${number}`));
    expected.push(`session ${number}`);
  }
  ana.clock.nowMs += 21 * 24 * hourMs;
  const again = await ana.start(first.folder);
  const texts = heard(again);
  await again.sync();
  await again.sync();
  expect(texts.toSorted()).toEqual(expected.toSorted());
  expect(again.status().fallback.previous).toBeDefined();
  expect((await server().claim(ana.mine))?.fallback).toBe(false);
}, 600_000);

test("a message to the key before the present one is read until that key is forgotten, and then no more", async () => {
  const ana = await made("kept");
  const device = await ana.start();
  await device.sync();
  await device.sync();
  const texts = heard(device);
  await server().claimAllOneTimeKeysOf(ana.mine);
  const messages: (() => Promise<unknown>)[] = [];
  for (const text of ["early", "late", "too late"]) {
    const sender = await newSender("patient");
    const wire = await sender.say(ana.mine, text);
    messages.push(() => deliver(sender.account, ana.mine, wire));
  }
  const [early, late, tooLate] = messages;
  await early?.();
  await device.sync();
  expect(device.status().fallback.previous).toBeDefined();
  await late?.();
  await device.sync();
  expect(texts).toEqual(["early", "late"]);
  ana.clock.nowMs += hourMs + 60_000;
  await device.sync();
  expect(device.kinds()).toContain("forgotten");
  await tooLate?.();
  await device.sync();
  expect(texts).toEqual(["early", "late"]);
});

test("a pre-key message on a fallback key, replayed after rotation and after a restart, is refused", async () => {
  const ana = await made("replayed");
  const ben = await newSender("replayer");
  const device = await ana.start();
  await device.sync();
  await device.sync();
  const texts = heard(device);
  await server().claimAllOneTimeKeysOf(ana.mine);
  const wire = await ben.say(ana.mine, "once");
  await deliver(ben.account, ana.mine, wire);
  // read by the same sync that rotates
  await device.sync();
  expect(device.status().fallback.previous).toBeDefined();
  await deliver(ben.account, ana.mine, wire);
  await device.sync();
  expect(texts).toEqual(["once"]);
  await device.end();
  const again = await ana.start(device.folder);
  const later = heard(again);
  await deliver(ben.account, ana.mine, wire);
  await again.sync();
  expect(later).toEqual([]);
  // a message that is none is no reason to lose the next
  await deliver(ben.account, ana.mine, { ...wire, ciphertext: {} });
  await again.sync();
  expect(later).toEqual([]);
});

test("the key before is kept while more messages may be waiting on the server, also when the app was away for weeks", async () => {
  const ana = await made("queued");
  const ben = await newSender("queuer");
  const device = await ana.start();
  await device.sync();
  await device.sync();
  await server().claimAllOneTimeKeysOf(ana.mine);
  const wire = await ben.say(ana.mine, "last of the queue");
  // reported used and replaced, and the message is still under way when the app is closed
  await device.sync();
  expect(device.status().fallback.previous).toBeDefined();
  await device.end();
  for (let index = 0; index < 110; index++)
    await deliver(ben.account, ana.mine, { algorithm: "m.none", number: index });
  await deliver(ben.account, ana.mine, wire);
  ana.clock.nowMs += 30 * 24 * hourMs;
  const again = await ana.start(device.folder);
  const texts = heard(again);
  for (let syncs = 0; syncs < 4; syncs++) await again.sync();
  expect(texts).toEqual(["last of the queue"]);
  expect(again.kinds()).toContain("forgotten");
});

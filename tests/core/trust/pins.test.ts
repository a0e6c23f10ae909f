import { expect, test } from "vitest";
import { sameAs, startCore } from "../core.ts";
import { isSend, isToDevice, sentType, useHomeserver, type Person } from "../people.ts";
import { MadeUpPerson } from "./made-up-keys.ts";
import { sceneOf, sendOrFail, type Scene } from "./scene.ts";

const people = useHomeserver();

async function withBob(setUp = true) {
  const scene = await sceneOf(people, ["bob"], { setUp });
  const bob = scene.person("bob");
  const first = bob.newIdentity();
  bob.addDevice();
  return { scene, bob, first, alice: scene.alice };
}
const ledgerOf = async ({ alice }: Scene, userId: string) =>
  (await alice.core.ok("trust.ledger", { userId })).map(({ kind }) => kind).reverse();
const standing = (alice: Person, userId: string) => alice.core.ok("trust.user", { userId });
const messagesOf = (alice: Person) => alice.proxy.seen(isSend).filter((one) => sentType(one) === "m.room.encrypted");

/** Their identity is replaced, and their device is one of the new identity. */
async function replaceIdentity(scene: Scene, person: ReturnType<Scene["person"]>): Promise<string> {
  const fingerprint = person.newIdentity();
  person.unverify();
  person.devices.clear();
  person.addDevice();
  await scene.heard(person);
  return fingerprint;
}

test("an identity is pinned when it is first seen, with its time and its key, over a restart too", async () => {
  const { scene, bob, first, alice } = await withBob();
  const beforeMs = Date.now();
  const roomId = await scene.room();
  await alice.core.ok("trust.recipients", { roomId });
  const trust = await standing(alice, bob.userId);
  expect(trust).toEqual({
    userId: bob.userId,
    identity: "pinned",
    fingerprint: first,
    sinceMs: expect.any(Number) as number,
  });
  expect(trust.sinceMs).toBeGreaterThanOrEqual(beforeMs);
  expect(await ledgerOf(scene, bob.userId)).toEqual(["first-seen"]);
  const members = await alice.core.ok("rooms.members", { roomId });
  expect(members.find(({ userId }) => userId === bob.userId)?.trust).toEqual(trust);
  await alice.core.stop();
  const again = await startCore(sameAs(alice.core));
  expect(await again.ok("trust.user", { userId: bob.userId })).toEqual(trust);
});

test("a pinned identity that changed is told, does not stop messages to signed devices, and stops those to verified people alone", async () => {
  const { scene, bob, alice } = await withBob();
  const roomId = await scene.room();
  await sendOrFail(alice, roomId, "before");
  const from = alice.core.events.length;
  const second = await replaceIdentity(scene, bob);
  await alice.core.nextEvent("trust.changed", ({ userIds }) => userIds?.includes(bob.userId) === true, from);
  expect(await standing(alice, bob.userId)).toMatchObject({ identity: "changed", fingerprint: second });
  expect((await sendOrFail(alice, roomId, "in spite of it")).failure).toBeUndefined();

  await alice.core.ok("trust.policy", { sendTo: "verified-users", roomId });
  const refused = await sendOrFail(alice, roomId, "to verified people");
  expect(refused.failure).toMatchObject({
    code: "identity-changed",
    retryable: false,
    details: { userIds: [bob.userId] },
  });
  expect((await alice.core.ok("trust.recipients", { roomId })).refused).toEqual({
    code: "identity-changed",
    userIds: [bob.userId],
  });

  const accept = (fingerprint: string) => alice.core.call("trust.acceptIdentity", { userId: bob.userId, fingerprint });
  expect(await accept("A".repeat(43))).toMatchObject({ ok: false, error: { code: "conflict" } });
  expect(await accept(second)).toMatchObject({ ok: true, value: { identity: "pinned", fingerprint: second } });
  await alice.core.ok("timeline.retry", { itemId: refused.itemId });
  await alice.core.sent(roomId, refused.itemId);
  expect(await ledgerOf(scene, bob.userId)).toEqual([
    "first-seen",
    "changed",
    "device-removed",
    "device-added",
    "accepted",
  ]);
});

test("a verified identity that changed stops every message until it is accepted, and nothing of one reaches the server", async () => {
  const { scene, bob, first, alice } = await withBob();
  scene.verify(bob);
  const roomId = await scene.room();
  await sendOrFail(alice, roomId, "before");
  expect(await standing(alice, bob.userId)).toMatchObject({ identity: "verified", fingerprint: first });
  await replaceIdentity(scene, bob);
  expect(await standing(alice, bob.userId)).toMatchObject({ identity: "verification-violated" });
  await alice.core.ok("trust.policy", { sendTo: "everyone" });

  const sentBefore = messagesOf(alice).length;
  const toDeviceBefore = alice.proxy.seen(isToDevice).length;
  const refused = await sendOrFail(alice, roomId, "not for whoever this is");
  expect(refused.failure).toMatchObject({ code: "identity-changed", details: { userIds: [bob.userId] } });
  expect(messagesOf(alice)).toHaveLength(sentBefore);
  expect(alice.proxy.seen(isToDevice)).toHaveLength(toDeviceBefore);

  expect(await alice.core.ok("trust.acceptIdentity", { userId: bob.userId })).toMatchObject({ identity: "pinned" });
  await alice.core.ok("timeline.retry", { itemId: refused.itemId });
  await alice.core.sent(roomId, refused.itemId);
  expect(await ledgerOf(scene, bob.userId)).toEqual([
    "first-seen",
    "verified",
    "changed",
    "device-removed",
    "device-added",
    "accepted",
  ]);
});

test("a verification that is taken back counts no more, although its signature stays on the server", async () => {
  const { scene, bob, alice } = await withBob();
  scene.verify(bob);
  const roomId = await scene.room();
  await alice.core.ok("trust.policy", { sendTo: "verified-users" });
  expect((await alice.core.ok("trust.recipients", { roomId })).receives).toHaveLength(1);
  expect(await alice.core.ok("trust.withdrawVerification", { userId: bob.userId })).toMatchObject({
    identity: "pinned",
  });
  await scene.heard(bob);
  expect(await standing(alice, bob.userId)).toMatchObject({ identity: "pinned" });
  expect((await sendOrFail(alice, roomId, "to nobody verified")).failure).toBeUndefined();
  expect(scene.wire.seen.readers.size).toBe(0);
  expect((await alice.core.ok("trust.recipients", { roomId })).withheld.map(({ reason }) => reason)).toEqual([
    "unverified-user",
  ]);
});

test("after one's own reset nobody else is blamed: who was verified counts as seen, and can be written to", async () => {
  const { scene, bob, first, alice } = await withBob();
  scene.verify(bob);
  const roomId = await scene.room();
  await sendOrFail(alice, roomId, "before the reset");
  await alice.core.ok("trust.reset", { password: alice.account.password, keepHistory: true });
  await scene.heard(bob);
  expect(await standing(alice, bob.userId)).toMatchObject({ identity: "pinned", fingerprint: first });
  expect((await sendOrFail(alice, roomId, "after the reset")).failure).toBeUndefined();
  const kinds = await ledgerOf(scene, bob.userId);
  expect(kinds).toEqual(["first-seen", "verified", "verification-lost"]);
});

test("an own identity that the server swaps loosens nothing: no message leaves until that is settled", async () => {
  const { scene, alice } = await withBob();
  const roomId = await scene.room();
  await sendOrFail(alice, roomId, "before");
  const swapped = new MadeUpPerson(alice.userId);
  swapped.newIdentity();
  alice.proxy.on(
    { method: "POST", path: /\/keys\/query$/ },
    {
      kind: "rewrite-response",
      json: (body) => {
        const answer = body as Record<string, Record<string, unknown>>;
        const devices = answer["device_keys"]?.[alice.userId];
        swapped.addTo(answer);
        if (answer["device_keys"] !== undefined) answer["device_keys"][alice.userId] = devices;
        return answer;
      },
    },
  );
  scene.wire.change(alice.userId);
  await alice.core.sync();
  await alice.core.until(
    async () => (await standing(alice, alice.userId)).identity === "verification-violated",
    "the swapped identity",
  );
  expect((await alice.core.ok("trust.policy", { roomId })).effective).toBe("signed-devices");
  expect((await sendOrFail(alice, roomId, "not now")).failure).toMatchObject({
    code: "identity-changed",
    details: { userIds: [alice.userId], own: true },
  });
});

test("nobody without an identity can be accepted, and nobody's verification be taken back that was not given", async () => {
  const { scene, alice } = await withBob();
  const nobody = await people.account("nobody");
  await scene.room();
  for (const name of ["trust.acceptIdentity", "trust.withdrawVerification"] as const)
    expect(await alice.core.call(name, { userId: nobody.userId })).toMatchObject({
      ok: false,
      error: { code: "not-found" },
    });
  expect(await standing(alice, nobody.userId)).toEqual({ userId: nobody.userId, identity: "none" });
  expect(await alice.core.call("trust.withdrawVerification", { userId: alice.userId })).toMatchObject({
    ok: false,
    error: { code: "bad-request" },
  });
});

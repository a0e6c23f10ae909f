import { expect, test } from "vitest";
import { useHomeserver } from "../people.ts";
import { codesIn, codesOn, readersIn, readersOn, sceneOf, sendOrFail, type Scene } from "./scene.ts";

const people = useHomeserver();
const nameOf = (scene: Scene, person: string, deviceId: string) => `${scene.person(person).userId}|${deviceId}`;

/** What was foretold is what left. */
async function expectForetold(scene: Scene, roomId: string) {
  const foretold = await scene.alice.core.ok("trust.recipients", { roomId });
  scene.wire.clear();
  expect((await sendOrFail(scene.alice, roomId, "to whom it concerns")).failure).toBeUndefined();
  expect(readersOn(scene)).toEqual(readersIn(foretold));
  expect(codesOn(scene)).toEqual(codesIn(foretold));
  return foretold;
}

test("before an identity is set up everybody's devices get keys; afterwards those that their owner signed", async () => {
  const scene = await sceneOf(people, ["bob"], { setUp: false });
  const bob = scene.person("bob");
  bob.newIdentity();
  const [signed, unsigned] = [bob.addDevice(), bob.addDevice({ signed: false })];
  const roomId = await scene.room();
  expect(await scene.alice.core.ok("trust.policy", { roomId })).toEqual({
    sendTo: "signed-devices",
    effective: "everyone",
  });
  expect(readersIn(await expectForetold(scene, roomId))).toEqual(
    [signed, unsigned].map(({ deviceId }) => nameOf(scene, "bob", deviceId)).sort(),
  );
  await scene.setUp();
  expect(await scene.alice.core.ok("trust.policy", {})).toEqual({
    sendTo: "signed-devices",
    effective: "signed-devices",
  });
  const after = await expectForetold(scene, roomId);
  expect(readersIn(after)).toEqual([nameOf(scene, "bob", signed.deviceId)]);
  expect(after.withheld.map(({ device, reason }) => [device.deviceId, reason])).toEqual([
    [unsigned.deviceId, "unsigned-device"],
  ]);
});

test("a device that the server slips in, unsigned by its owner, gets no key", async () => {
  const scene = await sceneOf(people, ["bob"]);
  const bob = scene.person("bob");
  bob.newIdentity();
  const genuine = bob.addDevice();
  const roomId = await scene.room();
  await expectForetold(scene, roomId);
  const slipped = bob.addDevice({ signed: false });
  await scene.heard(bob);
  scene.wire.clear();
  await sendOrFail(scene.alice, roomId, "after the device was slipped in");
  expect(scene.wire.seen.readers).not.toContain(nameOf(scene, "bob", slipped.deviceId));
  expect(scene.wire.seen.withheld.get(nameOf(scene, "bob", slipped.deviceId))).toBe("m.unverified");
  const { receives } = await scene.alice.core.ok("trust.recipients", { roomId });
  expect(receives.map(({ deviceId }) => deviceId)).toEqual([genuine.deviceId]);
});

test("a device that is blocked by hand gets no key although its owner signed it, and gets one again afterwards", async () => {
  const scene = await sceneOf(people, ["bob", "carol"]);
  const [bob, carol] = [scene.person("bob"), scene.person("carol")];
  for (const person of [bob, carol]) person.newIdentity();
  const [kept, blocked, hers] = [bob.addDevice(), bob.addDevice(), carol.addDevice()];
  const unsigned = carol.addDevice({ signed: false });
  const roomId = await scene.room();
  await expectForetold(scene, roomId);
  const block = (isBlocked: boolean) =>
    scene.alice.core.ok("devices.block", { userId: bob.userId, deviceId: blocked.deviceId, blocked: isBlocked });
  await block(true);
  const foretold = await expectForetold(scene, roomId);
  expect(readersIn(foretold)).toEqual(
    [nameOf(scene, "bob", kept.deviceId), nameOf(scene, "carol", hers.deviceId)].sort(),
  );
  expect(Object.fromEntries(foretold.withheld.map(({ device, reason }) => [device.deviceId, reason]))).toEqual({
    [blocked.deviceId]: "blocked",
    [unsigned.deviceId]: "unsigned-device",
  });
  await block(false);
  const again = await expectForetold(scene, roomId);
  expect(readersIn(again)).toContain(nameOf(scene, "bob", blocked.deviceId));
  expect(again.grewSince?.map(({ deviceId }) => deviceId)).toEqual([blocked.deviceId]);
});

test("what a room chooses holds for that room; verified people alone means their signed devices", async () => {
  const scene = await sceneOf(people, ["bob", "carol"]);
  const [bob, carol] = [scene.person("bob"), scene.person("carol")];
  for (const person of [bob, carol]) person.newIdentity();
  scene.verify(bob);
  const [his, hers] = [bob.addDevice(), carol.addDevice()];
  bob.addDevice({ signed: false });
  const [strict, open] = [await scene.room(), await scene.room()];
  await scene.alice.core.ok("trust.policy", { sendTo: "verified-users", roomId: strict });
  await scene.alice.core.ok("trust.policy", { sendTo: "everyone", roomId: open });
  const strictly = await expectForetold(scene, strict);
  expect(strictly.receives.map(({ deviceId, verified }) => [deviceId, verified])).toEqual([[his.deviceId, true]]);
  expect(strictly.withheld.map(({ reason }) => reason).sort()).toEqual(["unsigned-device", "unverified-user"]);
  expect((await expectForetold(scene, open)).receives).toHaveLength(3);
  expect(await scene.alice.core.ok("trust.policy", { roomId: strict })).toEqual({
    sendTo: "signed-devices",
    roomOverride: "verified-users",
    effective: "verified-users",
  });
  const { rooms } = await scene.alice.core.ok("trust.simulate", { sendTo: "verified-users" });
  expect(rooms.map(({ roomId }) => roomId)).toEqual([open]);
  expect(rooms[0]?.withheld.map(({ device }) => device.deviceId)).toContain(hers.deviceId);
  expect(await scene.alice.core.ok("trust.policy", { sendTo: null, roomId: strict })).toEqual({
    sendTo: "signed-devices",
    effective: "signed-devices",
  });
  const { receives } = await scene.alice.core.ok("trust.recipients", { roomId: strict });
  expect(receives.map(({ deviceId }) => deviceId)).toContain(hers.deviceId);
});

test("a device that has no key to begin a session with is named", async () => {
  const scene = await sceneOf(people, ["bob"]);
  const bob = scene.person("bob");
  bob.newIdentity();
  const empty = bob.addDevice({ oneTimeKeys: false });
  const roomId = await scene.room();
  const foretold = await expectForetold(scene, roomId);
  expect(foretold.withheld.map(({ device, reason }) => [device.deviceId, reason])).toEqual([
    [empty.deviceId, "no-keys"],
  ]);
});

test("a server that is away is told from a device without keys", async () => {
  const scene = await sceneOf(people, ["bob"]);
  const bob = scene.person("bob");
  bob.newIdentity();
  bob.addDevice({ oneTimeKeys: false });
  scene.alice.proxy.on(
    { method: "POST", path: /\/keys\/claim$/ },
    {
      kind: "rewrite-response",
      json: (body) => ({ ...(body as object), failures: { [bob.userId.split(":").slice(1).join(":")]: {} } }),
    },
  );
  const roomId = await scene.room();
  const { withheld } = await scene.alice.core.ok("trust.recipients", { roomId });
  expect(withheld.map(({ reason }) => reason)).toEqual(["keys-unreachable"]);
});

test("a clear room has no recipients to tell, and an unknown one is not found", async () => {
  const scene = await sceneOf(people, []);
  const { roomId } = await scene.alice.core.ok("rooms.create", { kind: "group", encrypted: false });
  for (const [room, code] of [
    [roomId, "unsupported"],
    ["!nowhere:example.org", "not-found"],
  ] as const)
    expect(await scene.alice.core.call("trust.recipients", { roomId: room })).toMatchObject({
      ok: false,
      error: { code },
    });
});

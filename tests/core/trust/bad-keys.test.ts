import { expect, test } from "vitest";
import { useHomeserver } from "../people.ts";
import type { MadeUpDevice } from "./made-up-keys.ts";
import { sceneOf, sendOrFail } from "./scene.ts";

const people = useHomeserver();
type Keys = {
  user_id: string;
  device_id: string;
  keys: Record<string, string>;
  signatures: Record<string, Record<string, string>>;
};
const keysOf = (device: MadeUpDevice) => device.keys as unknown as Keys;

test("device keys that are malformed, wrongly signed or another's are no devices, and cost nobody else anything", async () => {
  const scene = await sceneOf(people, ["bob", "carol"]);
  const [bob, carol] = [scene.person("bob"), scene.person("carol")];
  for (const person of [bob, carol]) person.newIdentity();
  const genuine = [bob.addDevice(), carol.addDevice()];
  const spoil = (change: (keys: Keys, device: MadeUpDevice) => unknown) => {
    const device = bob.addDevice();
    const changed = change(structuredClone(keysOf(device)), device);
    device.keys = changed as Record<string, unknown>;
    return device.deviceId;
  };
  const bad = [
    spoil(() => ({})),
    spoil(() => "keys"),
    spoil(() => null),
    spoil((keys) => ({ ...keys, signatures: {} })),
    spoil((keys) => ({ ...keys, user_id: carol.userId })),
    spoil((keys) => ({ ...keys, device_id: "ANOTHER" })),
    spoil((keys, { deviceId }) => ({ ...keys, keys: { ...keys.keys, [`curve25519:${deviceId}`]: "A".repeat(43) } })),
    spoil((keys, { deviceId }) => ({ ...keys, keys: { [`ed25519:${deviceId}`]: "not a key" } })),
    spoil(() => keysOf(genuine[1] as MadeUpDevice)),
  ];
  const roomId = await scene.room();
  const { receives, withheld } = await scene.alice.core.ok("trust.recipients", { roomId });
  expect(receives.map(({ deviceId }) => deviceId).sort()).toEqual(genuine.map(({ deviceId }) => deviceId).sort());
  expect(withheld).toEqual([]);
  expect((await sendOrFail(scene.alice, roomId, "to the genuine ones")).failure).toBeUndefined();
  for (const deviceId of bad) expect([...scene.wire.seen.readers].join(" ")).not.toContain(deviceId);
});

test("an identity whose parts do not fit together is none", async () => {
  const scene = await sceneOf(people, ["bob"]);
  const bob = scene.person("bob");
  const first = bob.newIdentity();
  bob.addDevice();
  const roomId = await scene.room();
  await scene.alice.core.ok("trust.recipients", { roomId });
  scene.alice.proxy.on(
    { method: "POST", path: /\/keys\/query$/ },
    {
      kind: "rewrite-response",
      json: (body) => {
        const answer = body as { master_keys?: Record<string, { keys: Record<string, string> }> };
        const master = answer.master_keys?.[bob.userId];
        // another master key, with the signatures of the old one
        if (master !== undefined) master.keys = { [`ed25519:${"B".repeat(43)}`]: "B".repeat(43) };
        return answer;
      },
    },
  );
  await scene.heard(bob);
  expect(await scene.alice.core.ok("trust.user", { userId: bob.userId })).toMatchObject({
    identity: "pinned",
    fingerprint: first,
  });
});

const crowdSize = process.env["TESSERA_FULL"] === "1" ? 10_000 : 1000;
test(
  "ten thousand devices of one person end nothing: they are listed, told as one line, and messages go on",
  { timeout: 600_000 },
  async () => {
    const scene = await sceneOf(people, ["bob", "carol"]);
    const [bob, carol] = [scene.person("bob"), scene.person("carol")];
    for (const person of [bob, carol]) person.newIdentity();
    const hers = carol.addDevice();
    bob.addDevice();
    const roomId = await scene.room();
    await scene.alice.core.ok("trust.recipients", { roomId });
    for (let made = 0; made < crowdSize; made++) bob.addDevice({ signed: false, oneTimeKeys: false });
    await scene.heard(bob);
    const devices = await scene.alice.core.ok("devices.list", { userId: bob.userId });
    expect(devices).toHaveLength(crowdSize + 1);
    expect((await sendOrFail(scene.alice, roomId, "in spite of them")).failure).toBeUndefined();
    const { receives } = await scene.alice.core.ok("trust.recipients", { roomId });
    expect(receives.map(({ deviceId }) => deviceId)).toContain(hers.deviceId);
    expect(
      (await scene.alice.core.ok("trust.ledger", { userId: bob.userId })).map(({ kind, detail }) => [kind, detail]),
    ).toEqual([
      ["device-added", `${crowdSize + 1} devices`],
      ["first-seen", expect.any(String) as string],
    ]);
  },
);

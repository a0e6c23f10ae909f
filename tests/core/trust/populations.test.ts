import fc from "fast-check";
import { expect, test } from "vitest";
import type { SendTo } from "../../../preload/contract/trust.ts";
import { useHomeserver } from "../people.ts";
import { codesIn, codesOn, readersIn, readersOn, sceneOf, sendOrFail } from "./scene.ts";

const people = useHomeserver();
const rounds = 12;
const names = ["bob", "carol", "dave", "erin"];

type DeviceKind = { signed: boolean; oneTimeKeys: boolean; dehydrated: boolean; blocked: boolean };
type Kind = {
  identity: "keep" | "renew";
  verified: boolean;
  /** An identity that changed is accepted before the message. */
  accepted: boolean;
  devices: DeviceKind[];
};
type Population = { sendTo: SendTo; people: Kind[] };

const mostly = (value: boolean) => fc.integer({ min: 0, max: 9 }).map((n) => (n < 7 ? value : !value));
const population: fc.Arbitrary<Population> = fc.record({
  sendTo: fc.constantFrom<SendTo>("everyone", "signed-devices", "verified-users"),
  people: fc.array(
    fc.record({
      identity: fc.constantFrom("keep" as const, "keep" as const, "renew" as const),
      verified: fc.boolean(),
      accepted: mostly(true),
      devices: fc.array(
        fc.record({
          signed: mostly(true),
          oneTimeKeys: mostly(true),
          dehydrated: mostly(false),
          blocked: mostly(false),
        }),
        { maxLength: 4 },
      ),
    }),
    { minLength: names.length, maxLength: names.length },
  ),
});

test("for random populations the recipients that are foretold are those that keys and notices then go to", async () => {
  const scene = await sceneOf(people, names);
  const { core } = scene.alice;
  const seed = Number(process.env["TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`[seed] ${seed}`);
  const outcomes = { sent: 0, refused: 0 };
  for (const [round, { sendTo, people: kinds }] of fc.sample(population, { numRuns: rounds, seed }).entries()) {
    for (const [index, kind] of kinds.entries()) {
      const person = scene.others[index];
      if (person === undefined) continue;
      // in the first round some have no identity at all
      if (kind.identity === "renew" && (round > 0 || kind.accepted)) {
        person.newIdentity();
        person.unverify();
      }
      if (kind.verified && person.master !== undefined) scene.verify(person);
      person.devices.clear();
      for (const device of kind.devices) person.addDevice(device);
    }
    await scene.heard(...scene.others);
    for (const [index, kind] of kinds.entries()) {
      const userId = scene.others[index]?.userId ?? "";
      const made = [...(scene.others[index]?.devices.keys() ?? [])];
      for (const [at, { blocked }] of kind.devices.entries())
        if (blocked) await core.ok("devices.block", { userId, deviceId: made[at] ?? "", blocked });
      const { identity } = await core.ok("trust.user", { userId });
      if (kind.accepted && (identity === "changed" || identity === "verification-violated"))
        await core.ok("trust.acceptIdentity", { userId });
    }
    const roomId = await scene.room();
    await core.ok("trust.policy", { sendTo, roomId });
    const foretold = await core.ok("trust.recipients", { roomId });
    scene.wire.clear();
    const { failure } = await sendOrFail(scene.alice, roomId, `round ${round}`);
    expect(failure?.code, `round ${round}`).toBe(foretold.refused?.code);
    expect([readersOn(scene), codesOn(scene)], `round ${round}`).toEqual(
      foretold.refused === undefined ? [readersIn(foretold), codesIn(foretold)] : [[], []],
    );
    outcomes[foretold.refused === undefined ? "sent" : "refused"]++;
  }
  expect(outcomes.sent).toBeGreaterThan(0);
});

test("three hundred devices of three kinds are told as they are sent to", async () => {
  const scene = await sceneOf(people, ["bob", "carol"]);
  for (const person of scene.others) {
    person.newIdentity();
    for (let made = 0; made < 150; made++) person.addDevice({ signed: made % 3 !== 0, oneTimeKeys: made % 7 !== 0 });
  }
  const roomId = await scene.room();
  const foretold = await scene.alice.core.ok("trust.recipients", { roomId });
  expect(foretold.receives).toHaveLength(2 * 86);
  await sendOrFail(scene.alice, roomId, "to many");
  expect([readersOn(scene), codesOn(scene)]).toEqual([readersIn(foretold), codesIn(foretold)]);
});

import { expect, test } from "vitest";
import { restarted } from "../core.ts";
import { useHomeserver } from "../people.ts";
import { sceneOf, sendOrFail } from "./scene.ts";

const people = useHomeserver();

async function scene() {
  const made = await sceneOf(people, ["bob", "carol"]);
  const [bob, carol] = [made.person("bob"), made.person("carol")];
  for (const person of [bob, carol]) person.newIdentity();
  bob.addDevice();
  carol.addDevice();
  const roomId = await made.room();
  const { alice } = made;
  /** The session of the message that this sends. */
  const session = async (who = alice): Promise<string> => {
    const body = `message ${Math.random()}`;
    expect((await sendOrFail(who, roomId, body)).failure).toBeUndefined();
    const sent = (await people.timeline(alice.account, roomId)).filter(({ type }) => type === "m.room.encrypted");
    return String(sent.at(-1)?.content["session_id"]);
  };
  return { ...made, bob, carol, roomId, session };
}

test("nothing rotates the room's key by itself: not another message, not a restart", async () => {
  const { alice, session } = await scene();
  const first = await session();
  expect(await session()).toBe(first);
  alice.core = await restarted(alice.core);
  expect(await session()).toBe(first);
});

test("a device that is new gets the present key, and none is made for it", async () => {
  const { bob, heard, session, wire } = await scene();
  const first = await session();
  const added = bob.addDevice();
  await heard(bob);
  wire.clear();
  expect(await session()).toBe(first);
  expect([...wire.seen.readers]).toEqual([`${bob.userId}|${added.deviceId}`]);
});

test("a device that is signed out, one that is blocked and a member who is removed each end the room's key", async () => {
  const { alice, bob, carol, heard, roomId, session } = await scene();
  const gone = bob.addDevice();
  await heard(bob);
  const sessions = [await session()];
  bob.devices.delete(gone.deviceId);
  await heard(bob);
  sessions.push(await session());
  const [deviceId] = [...carol.devices.keys()];
  await alice.core.ok("devices.block", { userId: carol.userId, deviceId: deviceId ?? "", blocked: true });
  sessions.push(await session());
  await alice.core.ok("rooms.remove", { roomId, userId: carol.userId });
  sessions.push(await session());
  expect(new Set(sessions).size).toBe(sessions.length);
});

test("a stricter choice and a stricter history visibility each end the room's key; a looser choice does not", async () => {
  const { alice, roomId, session } = await scene();
  const policy = (sendTo: "everyone" | "verified-users") => alice.core.ok("trust.policy", { sendTo, roomId });
  const first = await session();
  await policy("everyone");
  expect(await session()).toBe(first);
  await policy("verified-users");
  const second = await session();
  expect(second).not.toBe(first);
  await people.putState(alice.account, roomId, "m.room.history_visibility", { history_visibility: "joined" });
  await alice.core.sync();
  expect(await session()).not.toBe(second);
});

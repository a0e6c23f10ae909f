import { expect, test } from "vitest";
import type { Item } from "../../../preload/contract/timeline.ts";
import { restarted } from "../core.ts";
import { useHomeserver, type Person } from "../people.ts";

const people = useHomeserver();
type Encryption = Item["encryption"];

/** Ana sees what a further device of Ben's says, which Ben vouches for when the test asks for it. */
async function scene() {
  const [ana, ben] = await Promise.all([people.person("ana"), people.person("ben")]);
  const setUp = ({ core, account }: Person) =>
    core.ok("trust.setUp", { password: account.password, recovery: { kind: "key" } });
  const [, { recoveryKey }] = await Promise.all([setUp(ana), setUp(ben)]);
  const roomId = await people.room(ana, [ben]);
  const further = async (): Promise<Person> => people.person("ben", await people.server().login(ben.account));
  const vouch = async (device: Person) => {
    await device.core.ok("trust.recover", { recoveryKey });
  };
  return { ana, roomId, further, vouch };
}

const shieldAt = async (who: Person, roomId: string, body: string, reason: string | undefined): Promise<Encryption> => {
  const item = await who.core.item(
    roomId,
    (one) => one.body === body && one.encryption.at === "encrypted" && one.encryption.reason === reason,
    `"${body}" with the mark ${reason ?? "none"}`,
  );
  return item.encryption;
};
const say = async (who: Person, roomId: string, body: string) =>
  who.core.sent(roomId, await who.core.send(roomId, body));

test("a message of an unsigned device loses its mark once its owner vouches for it", async () => {
  const { ana, roomId, further, vouch } = await scene();
  const device = await further();
  await say(device, roomId, "before it was signed");
  expect(await shieldAt(ana, roomId, "before it was signed", "unsigned-device")).toMatchObject({
    device: device.account.deviceId,
  });
  await vouch(device);
  expect(await shieldAt(ana, roomId, "before it was signed", undefined)).toEqual({
    at: "encrypted",
    shield: "none",
    device: device.account.deviceId,
  });
});

test("a message of an unsigned device loses its mark after a start too, where its owner vouched for it in between", async () => {
  const { ana, roomId, further, vouch } = await scene();
  const device = await further();
  await say(device, roomId, "before it was signed");
  await shieldAt(ana, roomId, "before it was signed", "unsigned-device");
  await ana.core.stop();
  await vouch(device);
  const again = { ...ana, core: await restarted(ana.core) };
  expect(await shieldAt(again, roomId, "before it was signed", undefined)).toMatchObject({ shield: "none" });
});

import { expect, test } from "vitest";
import { texts } from "../core.ts";
import { eventually, holdSync, isToDevice, useHomeserver } from "../people.ts";

const { person, room } = useHomeserver();

// Both begin an Olm session with each other at the same time, so that Rust crypto gives the key once more; the receiver hears of
// neither until both are there, as somebody does who was away.
test("a room key that comes twice in one sync is kept from where it begins", async () => {
  const [ana, ben] = await Promise.all([person("ana"), person("ben")]);
  const roomId = await room(ana, [ben], { encrypted: true });
  const hold = await holdSync(ben);
  const given = () => ana.proxy.seen(isToDevice).length;
  const before = given();
  await ana.core.say(roomId, "the first");
  await ben.core.say(roomId, "meanwhile");
  await ana.core.message(roomId, "meanwhile");
  await ana.core.say(roomId, "the second");
  await eventually(given, (count) => count >= before + 2);
  hold.release();
  hold.remove();
  await ben.core.message(roomId, "the second");
  await ben.core.until(
    async () => texts(await ben.core.history(roomId)).includes("the first"),
    "the first message, whose key came twice",
  );
  expect(texts(await ben.core.history(roomId)).sort()).toEqual(["meanwhile", "the first", "the second"]);
});

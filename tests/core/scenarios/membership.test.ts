import { beforeAll, expect, test } from "vitest";
import type { Item, UndecryptableReason } from "../../../preload/contract/timeline.ts";
import { startCore, sameAs, texts } from "../core.ts";
import { eventually, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// Who can read what, as people and their devices come and go. README.md tells which scenario is tested where.
const { person, room, server, putState } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

const isJoin = (item: Item, who: Person) => item.change?.kind === "joined" && item.sender === who.userId;
const signIn = async (who: Person) => await person("again", await server().login(who.account));
const undecryptable = (who: Person, roomId: string, reason: UndecryptableReason) =>
  eventually(
    async () => (await who.core.history(roomId)).filter((item) => item.kind === "undecryptable"),
    (items) => items.every((item) => item.undecryptable?.reason === reason),
  );
/** A room of ana's in which ben can see what was said before he came. */
const seenByAll = async (kind: "shared" | "world_readable" = "shared") => {
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group", historyVisibility: kind });
  return roomId;
};

test("works between two", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "to ben");
  expect((await ben.core.message(roomId, "to ben")).encryption).toMatchObject({
    at: "encrypted",
    device: ana.account.deviceId,
  });
  await ben.core.say(roomId, "to ana");
  expect((await ana.core.message(roomId, "to ana")).encryption).toMatchObject({
    at: "encrypted",
    device: ben.account.deviceId,
  });
});

test("after invite but before join: what is said in between can be read after joining", async () => {
  const roomId = await seenByAll();
  await ana.core.ok("rooms.invite", { roomId, userId: ben.userId });
  await ben.core.room(roomId);
  await ana.core.say(roomId, "while you were invited");
  await ben.core.ok("rooms.join", { room: roomId });
  await ben.core.history(roomId);
  expect((await ben.core.message(roomId, "while you were invited")).kind).toBe("text");
});

test("after invite but before join, also while the invited person's app is not running", async () => {
  const roomId = await seenByAll();
  await ben.core.stop();
  await ana.core.ok("rooms.invite", { roomId, userId: ben.userId });
  await ana.core.say(roomId, "while you were away");
  ben = { ...ben, core: await startCore(sameAs(ben.core)) };
  await ben.core.room(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  await ben.core.history(roomId);
  expect((await ben.core.message(roomId, "while you were away")).kind).toBe("text");
});

test("where only members may read, an invited person gets the key of no message sent before they join", async () => {
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
  await putState(ana.account, roomId, "m.room.history_visibility", { history_visibility: "joined" });
  await ana.core.sync();
  await ana.core.ok("rooms.invite", { roomId, userId: ben.userId });
  await ben.core.room(roomId);
  ana.proxy.clear();
  await ana.core.say(roomId, "for members alone");
  const shared = ana.proxy.seen({ path: /\/sendToDevice\/m\.room\.encrypted/ });
  expect(shared.some((one) => String(one.requestBody).includes(ben.userId))).toBe(false);
  await ben.core.ok("rooms.join", { room: roomId });
  await ana.core.item(roomId, (item) => isJoin(item, ben));
  await ana.core.say(roomId, "for both");
  await ben.core.message(roomId, "for both");
  expect(texts(await ben.core.history(roomId))).not.toContain("for members alone");
});

test("on rejoin: what was said in the absence can be seen but not read, what comes after can", async () => {
  const roomId = await seenByAll("world_readable");
  await ana.core.ok("rooms.invite", { roomId, userId: ben.userId });
  await ben.core.room(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  await ana.core.item(roomId, (item) => isJoin(item, ben));
  await ana.core.say(roomId, "before");
  await ben.core.message(roomId, "before");
  await ben.core.ok("rooms.leave", { roomId });
  await ana.core.item(roomId, (item) => item.change?.kind === "left");
  const absent = await ana.core.say(roomId, "behind your back");
  // without an identity of their own, ana's app shares no history
  await ana.core.ok("rooms.invite", { roomId, userId: ben.userId });
  await ben.core.until(async () => (await ben.core.room(roomId)).membership === "invite", "the second invitation");
  await ben.core.ok("rooms.join", { room: roomId });
  await ana.core.until(
    async () => (await ana.core.load(roomId)).filter((item) => isJoin(item, ben)).length === 2,
    "the second joining",
  );
  await ana.core.say(roomId, "welcome back");
  await ben.core.message(roomId, "welcome back");
  const missed = await undecryptable(ben, roomId, "not-a-member-then");
  expect(missed.map((item) => item.eventId)).toEqual([absent.eventId]);
  expect(texts(await ben.core.history(roomId))).toEqual(["before", "welcome back"]);
});

test("on a new device: what was said before it can be seen but not read, what comes after can", async () => {
  const roomId = await room(ana, [ben]);
  const before = await ana.core.say(roomId, "before the device");
  await ben.core.message(roomId, "before the device");
  const second = await signIn(ben);
  await ana.core.sync();
  await ana.core.say(roomId, "after the device");
  await Promise.all([ben, second].map((one) => one.core.message(roomId, "after the device")));
  // the new device was given the session that was in use, from its next message on
  const missed = await undecryptable(second, roomId, "key-too-late");
  expect(missed.map((item) => item.eventId)).toEqual([before.eventId]);
  await second.core.stop();
});

test("on a new device of one's own: it reads what its owner says from the other one", async () => {
  const roomId = await room(ana, [ben]);
  await ben.core.say(roomId, "alone still");
  const second = await signIn(ben);
  await ben.core.sync();
  await ben.core.say(roomId, "from my first device");
  await second.core.message(roomId, "from my first device");
  await second.core.say(roomId, "from my second device");
  await Promise.all([ana, ben].map((one) => one.core.message(roomId, "from my second device")));
  await second.core.stop();
});

test("a device added after the invite and before the join reads what is said after it was added", async () => {
  const roomId = await seenByAll();
  await ana.core.ok("rooms.invite", { roomId, userId: ben.userId });
  await ben.core.room(roomId);
  await ana.core.say(roomId, "to your first device");
  const second = await signIn(ben);
  // ana shares no room with ben yet: her server tells her of his new device because he is invited, or does not; her app asks
  await second.core.ok("rooms.join", { room: roomId });
  await ana.core.item(roomId, (item) => isJoin(item, ben));
  await ana.core.say(roomId, "to both devices");
  await Promise.all([ben, second].map((one) => one.core.message(roomId, "to both devices")));
  await ben.core.history(roomId);
  expect((await ben.core.message(roomId, "to your first device")).kind).toBe("text");
  await second.core.stop();
});

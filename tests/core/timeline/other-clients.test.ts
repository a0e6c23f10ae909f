import { beforeAll, expect, test } from "vitest";
import { restarted } from "../core.ts";
import { otherClient } from "../other-client.ts";
import { useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// What other clients write into encrypted rooms, and what cannot be read there.
const { person, room, server, account } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

const edit = (eventId: string, body: string) => ({
  msgtype: "m.text",
  body: `* ${body}`,
  "m.new_content": { msgtype: "m.text", body },
  "m.relates_to": { rel_type: "m.replace", event_id: eventId },
});
const edited = (who: Person, roomId: string, eventId: string, body: string) =>
  who.core.item(roomId, (item) => item.eventId === eventId && item.body === body, `the edit to "${body}"`);

test("an encrypted edit by another device of the sender is shown right, on both sides and after a restart", async () => {
  const roomId = await room(ana, [ben]);
  const said = await ana.core.say(roomId, "helo");
  const eventId = said.eventId ?? "";
  const other = await otherClient(server(), await server().login(ana.account));
  const all = [ana.userId, ben.userId];
  await other.send(roomId, all, "m.room.message", edit(eventId, "hello"));
  for (const who of [ana, ben])
    expect(await edited(who, roomId, eventId, "hello")).toMatchObject({
      kind: "text",
      edited: true,
      encryption: { at: "encrypted" },
      itemId: who === ana ? said.itemId : eventId,
    });
  await other.send(roomId, all, "m.room.message", edit(eventId, "hello again"));
  for (const who of [ana, ben]) {
    await edited(who, roomId, eventId, "hello again");
    expect((await who.core.load(roomId)).filter((item) => item.kind === "text")).toHaveLength(1);
  }
  ben = { ...ben, core: await restarted(ben.core) };
  expect(await edited(ben, roomId, eventId, "hello again")).toMatchObject({ edited: true });
  other.close();
});

test("the other person's encrypted edit of their own message is shown, of ours it changes nothing", async () => {
  const dora = await account("dora");
  const roomId = await room(ana, []);
  await ana.core.ok("rooms.invite", { roomId, userId: dora.userId });
  await server().api("POST", `v3/join/${encodeURIComponent(roomId)}`, { token: dora.accessToken, body: {} });
  const client = await otherClient(server(), dora);
  const all = [ana.userId, dora.userId];
  const theirs = await client.send(roomId, all, "m.room.message", { msgtype: "m.text", body: "theirs" });
  await edited(ana, roomId, theirs, "theirs");
  const ours = (await ana.core.say(roomId, "ours")).eventId ?? "";
  await client.send(roomId, all, "m.room.message", edit(ours, "put into our mouth"));
  await client.send(roomId, all, "m.room.message", edit(theirs, "theirs, better"));
  expect(await edited(ana, roomId, theirs, "theirs, better")).toMatchObject({ edited: true, sender: dora.userId });
  const own = await edited(ana, roomId, ours, "ours");
  expect(own.edited).toBeUndefined();
  client.close();
});

test("an edit whose relation stands in the ciphertext alone is shown as one too", async () => {
  const roomId = await room(ana, [ben]);
  const other = await otherClient(server(), await server().login(ana.account));
  const all = [ana.userId, ben.userId];
  const first = await other.send(roomId, all, "m.room.message", { msgtype: "m.text", body: "wrong" });
  await other.send(roomId, all, "m.room.message", edit(first, "right"), "hidden");
  await edited(ben, roomId, first, "right");
  other.close();
});

test("reasons: what was written before one came in says that one was not a member then", async () => {
  const roomId = await room(ana, []);
  const before = (await ana.core.say(roomId, "before ben")).eventId ?? "";
  // by bare requests, so that nobody shares the history's keys with the invitation
  await server().api("POST", `v3/rooms/${encodeURIComponent(roomId)}/invite`, {
    token: ana.account.accessToken,
    body: { user_id: ben.userId },
  });
  await ben.core.room(roomId);
  await server().api("POST", `v3/join/${encodeURIComponent(roomId)}`, { token: ben.account.accessToken, body: {} });
  await ben.core.until(async () => (await ben.core.room(roomId)).membership === "join", "joined");
  expect(await ben.core.event(roomId, before)).toMatchObject({
    kind: "undecryptable",
    undecryptable: { reason: "not-a-member-then" },
  });
  await ana.core.until(
    async () => (await ana.core.ok("rooms.members", { roomId })).some((one) => one.userId === ben.userId),
    "the newcomer",
  );
  await ana.core.say(roomId, "now ben is here");
  expect((await ben.core.message(roomId, "now ben is here")).kind).toBe("text");
});

test("reasons: a message from before its session was shared with this device has a key that came too late", async () => {
  const roomId = await room(ana, [ben]);
  const before = (await ana.core.say(roomId, "to the first device")).eventId ?? "";
  const second = await person("ben", await server().login(ben.account));
  await ana.core.sync();
  await ana.core.say(roomId, "to both");
  await second.core.message(roomId, "to both");
  await second.core.history(roomId);
  const item = await second.core.item(
    roomId,
    (one) => one.eventId === before && one.undecryptable?.reason === "key-too-late",
    "the reason",
  );
  expect(item.body).toBe("");
  await second.core.stop();
});

import { afterAll, beforeAll, expect, test } from "vitest";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { conversation, joinedChat, newPerson, password, received, sent, texts, type Person } from "./people.ts";

let homeserver: Homeserver;
let ana: Person;
let ben: Person;
let roomId: string;

beforeAll(async () => {
  homeserver = await startHomeserver();
  [ana, ben] = await Promise.all([newPerson(homeserver.url, "ana"), newPerson(homeserver.url, "ben")]);
  roomId = await joinedChat(ana, ben);
});
afterAll(async () => {
  await Promise.all([ana.app.remove(), ben.app.remove()]);
  await homeserver.stop();
});

test("two people chat end-to-end encrypted, restart, and find their messages again", async () => {
  const first = await ana.app.call("timeline.send", { roomId, body: "Hello **Ben**", format: "markdown" });
  expect((await received(ben.app, roomId, "Hello **Ben**")).html).toContain("<strong>Ben</strong>");
  await ben.app.call("timeline.send", { roomId, body: "Hello Ana" });
  await received(ana.app, roomId, "Hello Ana");

  const item = await sent(ana.app, roomId, first.itemId);
  expect(item).toMatchObject({ sender: ana.userId, encryption: { at: "encrypted" } });
  expect(item.eventId).toBeDefined();
  const listed = (await ben.app.call("rooms.list", {})).find((room) => room.roomId === roomId);
  expect(listed).toMatchObject({ kind: "dm", encrypted: true, membership: "join", latest: { body: "Hello Ana" } });

  expect(await ana.app.stop()).toMatchObject({ code: 0 });
  expect(await ben.app.kill("SIGTERM")).toMatchObject({ code: 0 });
  await Promise.all([ana.app.start(), ben.app.start()]);
  expect(ana.app.ready.vault.at).toBe("ready");
  expect(await ana.app.call("account.status", {})).toMatchObject({ at: "signed-in", userId: ana.userId });
  for (const { app } of [ana, ben]) expect(await texts(app, roomId)).toEqual(["Hello **Ben**", "Hello Ana"]);
  expect((await conversation(ana.app, roomId)).find((each) => each.eventId === item.eventId)?.itemId).toBe(item.itemId);
});

test("what was written while the other was away is there, in order, after a start", async () => {
  await ben.app.stop();
  for (let count = 1; count <= 20; count++)
    await ana.app.call("timeline.send", { roomId, body: `while away ${count}` });
  await received(ana.app, roomId, "while away 20");
  await ana.app.call("account.sync", {});
  await ben.app.start();
  const wanted = Array.from({ length: 20 }, (_, index) => `while away ${index + 1}`);
  for (const body of wanted) await received(ben.app, roomId, body);
  expect((await texts(ben.app, roomId)).slice(-20)).toEqual(wanted);
});

test("a message sent straight after rooms.create reaches the invited, also as the first thing after a restart", async () => {
  const made = await ana.app.call("rooms.create", { kind: "group", name: "Walks", invite: [ben.userId] });
  await ana.app.call("timeline.send", { roomId: made.roomId, body: "at once" });
  await ana.app.kill("SIGKILL");
  await ana.app.start();
  const { itemId } = await ana.app.call("timeline.send", { roomId: made.roomId, body: "after the restart" });
  await sent(ana.app, made.roomId, itemId);
  await ben.app.call("account.sync", {});
  await ben.app.call("rooms.join", { room: made.roomId });
  for (const body of ["at once", "after the restart"]) await received(ben.app, made.roomId, body);
  expect(await texts(ben.app, made.roomId)).toEqual(["at once", "after the restart"]);
});

test("one transaction id makes one event, also across a kill", async () => {
  const input = { roomId, body: "only once", transactionId: "given-twice" };
  const first = await ana.app.call("timeline.send", input);
  expect(await ana.app.call("timeline.send", input)).toEqual(first);
  await ana.app.kill("SIGKILL");
  await ana.app.start();
  expect(await ana.app.call("timeline.send", input)).toEqual(first);
  const { itemId } = await ana.app.call("timeline.send", { roomId, body: "and then" });
  await sent(ana.app, roomId, itemId);
  for (const body of ["only once", "and then"]) await received(ben.app, roomId, body);
  expect((await texts(ben.app, roomId)).filter((body) => body === "only once")).toHaveLength(1);
});

test("a second process on a profile says so and leaves the first alone", async () => {
  const { openHeadless } = await import("./headless-app.ts");
  const { profile, passphraseFile } = ana.app;
  await expect(openHeadless({ profile, passphraseFile })).rejects.toMatchObject({ failure: { code: "conflict" } });
  expect(await ana.app.call("account.status", {})).toMatchObject({ at: "signed-in" });
});

test("two accounts in one profile are told apart by the envelope's account", async () => {
  const { app } = ben;
  const second = await app.call("account.register", { homeserver: homeserver.url, user: "ben-at-work", password });
  expect((await app.call("account.list", {})).map((account) => account.userId)).toEqual([ben.userId, second.userId]);
  await app.call("account.sync", {}, second.userId);
  expect(await app.call("rooms.list", {}, second.userId)).toEqual([]);
  expect((await app.call("rooms.list", {}, ben.userId)).length).toBeGreaterThan(0);
  expect(await app.ask("rooms.list", {})).toMatchObject({ ok: false, error: { code: "bad-request" } });
  expect(await app.ask("rooms.list", {}, "@nobody:tessera.test")).toMatchObject({
    ok: false,
    error: { code: "not-signed-in" },
  });
  await app.stop();
  await app.start();
  expect(await app.call("account.status", {}, second.userId)).toMatchObject({ at: "signed-in", userId: second.userId });
  const made = await app.call("rooms.create", { kind: "dm", invite: [ben.userId] }, second.userId);
  await app.call("account.sync", {}, ben.userId);
  await app.call("rooms.join", { room: made.roomId }, ben.userId);
  await app.call("timeline.send", { roomId: made.roomId, body: "to myself" }, second.userId);
  const arrived = await app.waitFor(
    (event) =>
      event.event === "timeline.changed" &&
      event.account === ben.userId &&
      JSON.stringify(event.payload).includes("to myself"),
  );
  expect(arrived.account).toBe(ben.userId);
});

import { randomUUID } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { restarted, sameAs, startCore, texts } from "../core.ts";
import { isSend, sentType, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

const { person, room, timeline, put } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

const countSends = (who: Person) => who.proxy.seen(isSend).length;

test("a message sent straight after rooms.create reaches the invited, twenty times of twenty", async () => {
  const rooms = await Promise.all(
    Array.from({ length: 20 }, async (_, round) => {
      const { roomId } = await ana.core.ok("rooms.create", {
        kind: "group",
        name: `round ${round}`,
        invite: [ben.userId],
      });
      await ana.core.send(roomId, `straight after ${round}`);
      return roomId;
    }),
  );
  const read = await Promise.all(
    rooms.map(async (roomId, round) => {
      await ben.core.room(roomId);
      await ben.core.ok("rooms.join", { room: roomId });
      return (await ben.core.message(roomId, `straight after ${round}`)).kind;
    }),
  );
  expect(read).toEqual(rooms.map(() => "text"));
});

test("the first thing sent after a restart is readable by everyone in the room", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "before");
  for (const round of [1, 2, 3]) {
    ana = { ...ana, core: await restarted(ana.core) };
    await ana.core.send(roomId, `after restart ${round}`);
    expect((await ben.core.message(roomId, `after restart ${round}`)).kind).toBe("text");
  }
});

test("what is sent in a room stays in order, there and on the other side", async () => {
  const roomId = await room(ana, [ben]);
  const wanted = Array.from({ length: 40 }, (_, n) => `number ${n}`);
  await Promise.all(wanted.map((body) => ana.core.send(roomId, body)));
  await ben.core.message(roomId, "number 39");
  expect(texts(await ben.core.load(roomId))).toEqual(wanted);
  const own = await ana.core.until(async () => {
    const items = (await ana.core.load(roomId)).filter((item) => item.kind === "text");
    return items.every((item) => item.state === "sent") && items;
  });
  expect(texts(own)).toEqual(wanted);
  expect(new Set(own.map((item) => item.eventId)).size).toBe(40);
});

test("an own item keeps its id from pending to sent, and there is never a second with its event", async () => {
  const roomId = await room(ana, [ben]);
  const from = ana.core.events.length;
  const itemId = await ana.core.send(roomId, "one and the same");
  const sent = await ana.core.sent(roomId, itemId);
  await ana.core.sync();
  const states = ana.core.events
    .slice(from)
    .flatMap((one) => (one.event === "timeline.changed" ? one.payload.items : []))
    .filter((item) => item.body === "one and the same");
  expect(new Set(states.map((item) => item.itemId))).toEqual(new Set([itemId]));
  expect(states.map((item) => item.state)).toEqual(expect.arrayContaining(["pending", "sent"]) as string[]);
  const items = await ana.core.load(roomId);
  expect(items.filter((item) => item.eventId === sent.eventId)).toHaveLength(1);
});

test("a transaction id given twice answers the same item and makes one event, across a restart too", async () => {
  const roomId = await room(ana, [ben]);
  const transactionId = randomUUID();
  const first = await ana.core.send(roomId, "only once", transactionId);
  expect(await ana.core.send(roomId, "only once", transactionId)).toBe(first);
  await ana.core.sent(roomId, first);
  ana = { ...ana, core: await restarted(ana.core) };
  expect(await ana.core.send(roomId, "only once", transactionId)).toBe(first);
  await ana.core.send(roomId, "behind it");
  await ben.core.message(roomId, "behind it");
  expect(texts(await ben.core.load(roomId))).toEqual(["only once", "behind it"]);
  const other = await room(ana, []);
  const elsewhere = await ana.core.call("timeline.send", { roomId: other, body: "only once", transactionId });
  expect(elsewhere).toMatchObject({ ok: false, error: { code: "conflict" } });
});

test("an answer that is lost makes no second event", async () => {
  const roomId = await room(ana, [ben]);
  ana.proxy.on(isSend, { kind: "drop-response" }, { times: 2 });
  await ana.core.say(roomId, "once, though the answer was lost");
  await ana.core.send(roomId, "then this");
  await ben.core.message(roomId, "then this");
  expect(texts(await ben.core.load(roomId))).toEqual(["once, though the answer was lost", "then this"]);
});

test("a message too large fails alone, is not retried and holds up nothing", async () => {
  const roomId = await room(ana, [ben]);
  const large = await ana.core.send(roomId, "x".repeat(66_000));
  const behind = await ana.core.send(roomId, "behind the large one");
  await ana.core.sent(roomId, behind);
  const item = await ana.core.item(roomId, (one) => one.itemId === large);
  expect(item).toMatchObject({ state: "failed", failure: { code: "too-large", retryable: false } });
  await ben.core.message(roomId, "behind the large one");
  expect(texts(await ben.core.load(roomId))).toEqual(["behind the large one"]);
  await ana.core.ok("timeline.discard", { itemId: large });
  expect((await ana.core.load(roomId)).some((one) => one.itemId === large)).toBe(false);
  expect(await ana.core.call("timeline.discard", { itemId: large })).toMatchObject({ error: { code: "not-found" } });
});

test("45 kB of text go through", async () => {
  const roomId = await room(ana, [ben]);
  const body = "größer ".repeat(5000);
  await ana.core.send(roomId, body);
  expect((await ben.core.message(roomId, body)).kind).toBe("text");
});

test("what is written offline waits, goes out in order once, and can be discarded before", async () => {
  const roomId = await room(ana, [ben]);
  ana.proxy.setOnline(false);
  const items = [
    await ana.core.send(roomId, "first offline"),
    await ana.core.send(roomId, "never mind"),
    await ana.core.send(roomId, "second offline"),
  ];
  expect((await ana.core.load(roomId)).slice(-3).map((item) => item.state)).not.toContain("sent");
  await ana.core.ok("timeline.discard", { itemId: items[1] ?? "" });
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
  await ana.core.sent(roomId, items[2] ?? "");
  await ben.core.message(roomId, "second offline");
  expect(texts(await ben.core.load(roomId))).toEqual(["first offline", "second offline"]);
});

test("what the server refuses fails with its reason, and is sent by a retry once the reason is gone", async () => {
  const roomId = await room(ana, [ben]);
  ana.proxy.on(isSend, { kind: "status", status: 403, body: { errcode: "M_FORBIDDEN", error: "no" } }, { times: 1 });
  const itemId = await ana.core.send(roomId, "refused at first");
  const failed = await ana.core.item(roomId, (item) => item.itemId === itemId && item.state === "failed");
  expect(failed.failure?.code).toBe("forbidden");
  const before = countSends(ana);
  await ana.core.sync();
  expect(countSends(ana)).toBe(before);
  await ana.core.ok("timeline.retry", { itemId });
  await ana.core.sent(roomId, itemId);
  expect((await ben.core.message(roomId, "refused at first")).kind).toBe("text");
});

test("a draft is kept across a restart and forgotten when it is emptied", async () => {
  const roomId = await room(ana, []);
  await ana.core.ok("timeline.draft", { roomId, body: "not finis" });
  ana = { ...ana, core: await restarted(ana.core) };
  expect(await ana.core.ok("timeline.draft", { roomId })).toEqual({ body: "not finis" });
  await ana.core.ok("timeline.draft", { roomId, body: "" });
  expect(await ana.core.ok("timeline.draft", { roomId })).toEqual({ body: "" });
});

test("in an encrypted room nothing but m.room.encrypted leaves, whatever its state says, restarts included", async () => {
  const roomId = await room(ana, [ben]);
  ana.proxy.clear();
  await ana.core.say(roomId, "one");
  ana = { ...ana, core: await restarted(ana.core) };
  const second = await ana.core.send(roomId, "two");
  await ana.core.sent(roomId, second);
  await ana.core.kill();
  ana = { ...ana, core: await startCore({ ...sameAs(ana.core), lastStopOrderly: false }) };
  const third = await ana.core.send(roomId, "three");
  await ana.core.sent(roomId, third);
  const types = ana.proxy.seen(isSend).map(sentType);
  expect(types.length).toBeGreaterThanOrEqual(3);
  expect(new Set(types)).toEqual(new Set(["m.room.encrypted"]));
  for (const exchange of ana.proxy.seen(isSend))
    expect(Object.keys(JSON.parse(String(exchange.requestBody)) as object)).toContain("ciphertext");
  await ben.core.message(roomId, "three");
});

test("five people in a group all read one another", async () => {
  const more = await Promise.all(["cem", "dana", "eli"].map((name) => person(name)));
  const all = [ana, ben, ...more];
  const roomId = await room(ana, all.slice(1));
  for (const [n, who] of all.entries()) await who.core.send(roomId, `from person ${n}`);
  for (const who of all)
    for (const n of all.keys()) expect((await who.core.message(roomId, `from person ${n}`)).kind).toBe("text");
  await Promise.all(more.map((who) => who.core.stop()));
});

test("markdown, replies and mentions arrive as they were written", async () => {
  const roomId = await room(ana, [ben]);
  const { itemId } = await ana.core.ok("timeline.send", {
    roomId,
    body: "look, **ben**",
    format: "markdown",
    mentions: [ben.userId],
  });
  const sent = await ana.core.sent(roomId, itemId);
  const seen = await ben.core.message(roomId, "look, **ben**");
  expect(seen).toMatchObject({
    html: "look, <strong>ben</strong>",
    eventId: sent.eventId,
    mentionsMe: true,
    sender: ana.userId,
    senderName: "ana",
  });
  await ben.core.ok("timeline.send", { roomId, body: "I see", replyTo: seen.itemId });
  expect(await ana.core.message(roomId, "I see")).toMatchObject({
    replyTo: sent.eventId,
    encryption: { at: "encrypted" },
  });
});

test("a reply to an own message that came back from the server a moment ago points at its event", async () => {
  const roomId = await room(ana, [ben]);
  const itemId = await ana.core.send(roomId, "the first");
  const sent = await ana.core.sent(roomId, itemId);
  await ana.core.ok("timeline.send", { roomId, body: "an afterthought", replyTo: itemId });
  expect(await ben.core.message(roomId, "an afterthought")).toMatchObject({ replyTo: sent.eventId });
});

test("a room without encryption is written to in clear, and says so", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await ana.core.say(roomId, "in clear");
  expect(await ben.core.message(roomId, "in clear")).toMatchObject({ encryption: { at: "none" } });
  expect((await timeline(ana.account, roomId)).at(-1)).toMatchObject({
    type: "m.room.message",
    content: { body: "in clear" },
  });
  await put(ben.account, roomId, "m.room.message", { msgtype: "m.notice", body: "a notice" });
  expect(await ana.core.message(roomId, "a notice")).toMatchObject({ kind: "notice", sender: ben.userId });
});

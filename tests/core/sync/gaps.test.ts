import { beforeAll, expect, test } from "vitest";
import { sameAs, startCore, texts } from "../core.ts";
import { eventually, holdSync, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// Rule 7: the hole of a limited answer is filled before what lies behind it counts as continuous.
const { person, room, put } = useHomeserver();
const isMessages = { method: "GET", path: /\/messages$/ };
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

const numbered = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => `number ${from + n}`);
const sayAll = async (who: Person, roomId: string, bodies: string[]) => {
  for (const body of bodies) await put(who.account, roomId, "m.room.message", { msgtype: "m.text", body });
};
const back = async (who: Person) => ({ ...who, core: await startCore(sameAs(who.core)) });
const inOrder = (items: { order: number }[]) => items.map((item) => item.order).toSorted((a, b) => a - b);

test("120 messages sent while away are all there, in order and once", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await sayAll(ben, roomId, ["before"]);
  await ana.core.message(roomId, "before");
  await ana.core.stop();
  await sayAll(ben, roomId, numbered(0, 120));
  ana = await back(ana);
  await ana.core.sync();
  const items = await ana.core.history(roomId, 30);
  expect(texts(items)).toEqual(["before", ...numbered(0, 120)]);
  expect(items.map((item) => item.order)).toEqual(inOrder(items));
  await eventually(
    () => ana.core.load(roomId, 500),
    (all) => texts(all).length === 121,
  );
});

test("60 encrypted messages sent while away are all read, in order", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.stop();
  const wanted = numbered(0, 60);
  for (const body of wanted) await ben.core.send(roomId, body);
  await eventually(
    () => ben.core.load(roomId, 1),
    (items) => items[0]?.body === "number 59" && items[0].state === "sent",
  );
  ana = await back(ana);
  await ana.core.sync();
  await ana.core.message(roomId, "number 59");
  const items = await ana.core.until(async () => {
    const all = await ana.core.history(roomId);
    return texts(all).length === 60 && all;
  });
  expect(texts(items)).toEqual(wanted);
});

test("with the server away a hole is not stepped over: before stays set and the next page is unreachable", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await sayAll(ben, roomId, ["before"]);
  await ana.core.message(roomId, "before");
  await ana.core.stop();
  await sayAll(ben, roomId, numbered(0, 60));
  const closed = ana.proxy.on(isMessages, { kind: "drop" });
  ana = await back(ana);
  await ana.core.sync();
  const first = await ana.core.ok("timeline.load", { roomId, limit: 100 });
  expect(texts(first.items)).toEqual(numbered(10, 60));
  expect(first.from).toBe("store");
  expect(first.before).toBeDefined();
  const before = first.before ?? "";
  expect(await ana.core.call("timeline.load", { roomId, before })).toMatchObject({
    ok: false,
    error: { code: "unreachable", retryable: true },
  });
  ana.proxy.setOnline(false);
  expect(await ana.core.call("timeline.load", { roomId, before })).toMatchObject({
    ok: false,
    error: { code: "unreachable" },
  });
  ana.proxy.setOnline(true);
  closed.remove();
  await ana.core.reconnected();
  const second = await ana.core.ok("timeline.load", { roomId, before, limit: 60 });
  expect(texts(second.items)).toEqual(["before", ...numbered(0, 10)]);
  expect(texts(await ana.core.history(roomId))).toEqual(["before", ...numbered(0, 60)]);
});

test("two holes are filled in their own places, whichever is read first", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await sayAll(ben, roomId, ["before"]);
  await ana.core.message(roomId, "before");
  const closed = ana.proxy.on(isMessages, { kind: "drop" });
  for (const [from, to] of [
    [0, 55],
    [55, 110],
  ] as const) {
    await ana.core.stop();
    await sayAll(ben, roomId, numbered(from, to));
    ana = await back(ana);
    await ana.core.sync();
  }
  closed.remove();
  const items = await ana.core.history(roomId, 1000);
  expect(texts(items)).toEqual(["before", ...numbered(0, 110)]);
  expect(items.map((item) => item.order)).toEqual(inOrder(items));
});

test("a hole that could not be filled is filled by itself once the server answers again", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await sayAll(ben, roomId, ["before"]);
  await ana.core.message(roomId, "before");
  await ana.core.stop();
  await sayAll(ben, roomId, numbered(0, 55));
  const closed = ana.proxy.on(isMessages, { kind: "drop" }, { times: 1 });
  ana = await back(ana);
  await ana.core.sync();
  await eventually(
    () => closed.used,
    (used) => used === 1,
  );
  await ana.core.stop();
  ana = await back(ana);
  await ana.core.sync();
  await eventually(
    () => ana.core.load(roomId, 300),
    (items) => texts(items).length === 56,
  );
});

test("a limited answer is told as a gap, and never moves the newest items out of order", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  const hold = await holdSync(ana);
  await sayAll(ben, roomId, numbered(0, 60));
  const from = ana.core.events.length;
  hold.release();
  await ana.core.nextEvent("timeline.changed", (change) => change.roomId === roomId && change.gap === true, from);
  expect(texts(await ana.core.history(roomId))).toEqual(numbered(0, 60));
});

test("a limit caps all items, state included, and pages join without a seam", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await sayAll(ben, roomId, numbered(0, 23));
  await ana.core.message(roomId, "number 22");
  const whole = await ana.core.history(roomId, 1000);
  for (const limit of [1, 2, 7]) {
    const paged: string[] = [];
    for (let before: string | undefined; ;) {
      const page = await ana.core.ok("timeline.load", { roomId, limit, ...(before === undefined ? {} : { before }) });
      expect(page.items.length).toBeLessThanOrEqual(limit);
      paged.unshift(...page.items.map((item) => item.itemId));
      before = page.before;
      if (before === undefined) break;
    }
    expect(paged).toEqual(whole.map((item) => item.itemId));
  }
  expect(whole[0]).toMatchObject({ kind: "state", change: { kind: "created" } });
});

test("pages go over messages on their way out, and two rooms page at once", async () => {
  const rooms = await Promise.all([room(ana, [ben], { encrypted: false }), room(ana, [ben], { encrypted: false })]);
  for (const roomId of rooms) await sayAll(ben, roomId, numbered(0, 5));
  for (const roomId of rooms) await ana.core.message(roomId, "number 4");
  ana.proxy.setOnline(false);
  for (const roomId of rooms) for (const body of ["out 1", "out 2", "out 3"]) await ana.core.send(roomId, body);
  const wanted = [...numbered(0, 5), "out 1", "out 2", "out 3"];
  const paged = await Promise.all(
    rooms.map(async (roomId) => {
      const items: string[] = [];
      for (let before: string | undefined; items.length < 8;) {
        const page = await ana.core.ok("timeline.load", {
          roomId,
          limit: 2,
          ...(before === undefined ? {} : { before }),
        });
        items.unshift(...texts(page.items));
        before = page.before;
      }
      return items;
    }),
  );
  expect(paged).toEqual([wanted, wanted]);
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
  for (const roomId of rooms) await ben.core.message(roomId, "out 3");
});

test("a word that is no cursor is a bad request, an unknown room is not found", async () => {
  const roomId = await room(ana, []);
  for (const before of [
    "x",
    "%%%",
    Buffer.from("[1]").toString("base64url"),
    Buffer.from('["a",1,2]').toString("base64url"),
  ])
    expect(await ana.core.call("timeline.load", { roomId, before })).toMatchObject({
      ok: false,
      error: { code: "bad-request" },
    });
  expect(await ana.core.call("timeline.load", { roomId: "!nowhere:tessera.test" })).toMatchObject({
    error: { code: "not-found" },
  });
});

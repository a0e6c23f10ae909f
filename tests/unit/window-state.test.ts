import { expect, test } from "vitest";
import type { Room } from "../../preload/contract/rooms.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import { arrange, matching } from "../../renderer/src/features/rooms/arrange.ts";
import { mentionHits, mentionQuery, Mentions, toggleMark } from "../../renderer/src/features/timeline/mentions.ts";
import { upsert } from "../../renderer/src/features/timeline/upsert.ts";

const item = (itemId: string, order: number, more: Partial<Item> = {}): Item => ({
  ...{
    itemId,
    order,
    roomId: "!r:x",
    sender: "@a:x",
    sentAtMs: order,
    state: "sent",
    kind: "text",
    body: itemId,
    reactions: [],
  },
  encryption: { at: "none" },
  ...more,
});
const ids = (items: readonly Item[]): string => items.map((one) => one.itemId).join(" ");

test("a changed item is replaced where it stands", () => {
  const items = [item("a", 1), item("b", 2), item("c", 3)];
  const next = upsert(items, [item("b", 2, { body: "new" })], [], false);
  expect(ids(next)).toBe("a b c");
  expect(next[1]?.body).toBe("new");
  expect(items[1]?.body).toBe("b");
});

test("an own message moves to its place once the server has ordered it", () => {
  const items = [item("a", 1), item("own", 1000, { state: "sending" })];
  const arrived = upsert(items, [item("b", 2)], [], false);
  expect(ids(arrived)).toBe("a b own");
  expect(ids(upsert(arrived, [item("own", 1.5)], [], false))).toBe("a own b");
});

test("a gap that is filled late takes its place, and what is older than all is left to loading", () => {
  const items = [item("a", 10), item("d", 40)];
  expect(ids(upsert(items, [item("b", 20), item("c", 30)], [], true))).toBe("a b c d");
  expect(ids(upsert(items, [item("z", 5)], [], true))).toBe("a d");
  expect(ids(upsert(items, [item("z", 5)], [], false))).toBe("z a d");
});

test("a discarded item is gone", () => {
  expect(ids(upsert([item("a", 1), item("b", 2)], [], ["b"], false))).toBe("a");
});

const room = (roomId: string, more: Partial<Room>): Room => ({
  ...{ roomId, kind: "group", name: roomId, membership: "join", encrypted: true, unread: { messages: 0, mentions: 0 } },
  ...{ lastActivityMs: 0, members: 2, muted: false, favourite: false },
  ...more,
});

test("rooms stand newest first below favourites; spaces and left rooms are not chats", () => {
  const { joined, invited } = arrange([
    room("old", { lastActivityMs: 1 }),
    room("new", { lastActivityMs: 9 }),
    room("kept", { favourite: true }),
    room("space", { kind: "space" }),
    room("left", { membership: "leave" }),
    room("asked", { membership: "invite" }),
  ]);
  expect(joined.map((one) => one.roomId)).toEqual(["kept", "new", "old"]);
  expect(invited.map((one) => one.roomId)).toEqual(["asked"]);
});

test("a filter wants every word, whatever the accents, and puts beginnings first", () => {
  const rooms = [
    room("1", { name: "Chor Südstadt" }),
    room("2", { name: "Stadtlauf" }),
    room("3", { name: "Mum", directUserId: "@mum:x" }),
  ];
  expect(matching(rooms, "stadt").map((one) => one.roomId)).toEqual(["2", "1"]);
  expect(matching(rooms, "sud chor").map((one) => one.roomId)).toEqual(["1"]);
  expect(matching(rooms, "@mum").map((one) => one.roomId)).toEqual(["3"]);
});

test("a mention begins at a sign after a space, not inside an address", () => {
  expect(mentionQuery("hello @an", 9)).toEqual({ from: 6, text: "an" });
  expect(mentionQuery("mail me@home", 12)).toBeUndefined();
  expect(mentionHits([{ userId: "@ana:x", name: "Ana Ruiz" }], "ru").map((one) => one.name)).toEqual(["Ana Ruiz"]);
  const mentions = new Mentions();
  mentions.add({ userId: "@ana:x", name: "Ana Ruiz" });
  expect(mentions.of("thanks Ana Ruiz")).toEqual(["@ana:x"]);
  expect(mentions.of("thanks")).toEqual([]);
});

test("a mark is put around the selection and taken away again", () => {
  const bold = toggleMark("say it loud", 4, 6, "**");
  expect(bold).toEqual({ text: "say **it** loud", from: 6, to: 8 });
  expect(toggleMark(bold.text, bold.from, bold.to, "**").text).toBe("say it loud");
});

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { joinedChat, newPerson, received, type Person } from "./people.ts";

let homeserver: Homeserver;
let proxy: FaultProxy;
let ana: Person;
let ben: Person;
let roomId: string;

beforeAll(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  [ana, ben] = await Promise.all([newPerson(proxy.url, "ana"), newPerson(homeserver.url, "ben")]);
  roomId = await joinedChat(ana, ben);
  await ben.app.call("timeline.send", { roomId, body: "settled" });
  await received(ana.app, roomId, "settled");
});
afterAll(async () => {
  await Promise.all([ana.app.remove(), ben.app.remove()]);
  await proxy.stop();
  await homeserver.stop();
});

/** What the app does by itself all the time. */
const background = /\/sync$|\/keys\/(upload|query)$|\/receipt\/|\/members$/;
const asked = () =>
  proxy.exchanges.filter((one) => !background.test(one.path)).map((one) => `${one.method} ${one.path}`);
beforeEach(() => {
  proxy.clear();
});

const room = "!somewhere:tessera.test";
const wrong: [name: string, input: unknown][] = [
  ...[-5, 0, 1.5, 1001, 1e308, "10", null, true].map((limit): [string, unknown] => [
    "timeline.load",
    { roomId: room, limit },
  ]),
  ["timeline.load", {}],
  ["timeline.load", { roomId: "not a room" }],
  ["timeline.load", { roomId: "!" }],
  ["timeline.load", { roomId: `!${"r".repeat(300)}` }],
  ["timeline.load", { roomId: room, before: "" }],
  ["timeline.load", { roomId: room, before: 7 }],
  ["timeline.send", { roomId: room }],
  ["timeline.send", { roomId: room, body: "" }],
  ["timeline.send", { roomId: room, body: 5 }],
  ["timeline.send", { roomId: room, body: "x", format: "html" }],
  ["timeline.send", { roomId: room, body: "x", mentions: ["ben"] }],
  ["timeline.send", { roomId: room, body: "x", mentions: "@ben:tessera.test" }],
  ["timeline.send", { roomId: room, body: "x", transactionId: "" }],
  ["timeline.send", { roomId: room, body: "x", unknown: true }],
  ["timeline.markRead", { roomId: room }],
  ["timeline.retry", {}],
  ["rooms.create", {}],
  ["rooms.create", { kind: "space" }],
  ["rooms.create", { kind: "dm", invite: [] }],
  ["rooms.create", { kind: "dm", invite: ["ben"] }],
  ["rooms.create", { kind: "dm", invite: ["@ben"] }],
  ["rooms.create", { kind: "group", invite: ["@ben:tessera.test", "nobody"] }],
  ["rooms.create", { kind: "group", encrypted: "yes" }],
  ["rooms.create", { kind: "group", historyVisibility: "everyone" }],
  ["rooms.join", { room: "somewhere" }],
  ["rooms.join", { room: "@ben:tessera.test" }],
  ["rooms.invite", { roomId: room, userId: "ben" }],
  ["rooms.remove", { roomId: room, userId: "@ben:tessera.test", ban: 1 }],
  ["rooms.list", { all: true }],
  ["rooms.list", []],
  ["rooms.list", null],
  ["account.sync", { timeoutMs: 0 }],
  ["account.sync", { timeoutMs: 0.5 }],
  ["account.sync", { timeoutMs: -1 }],
  ["account.logout", { force: "yes" }],
  ["account.login", { homeserver: "", user: "ana", password: "x" }],
  ["people.ignore", { userId: "@ben:tessera.test" }],
];

test.each(wrong)("%s refuses %j with nothing sent", async (name, input) => {
  const answer = await ana.app.ask(name, input);
  expect(answer).toMatchObject({ ok: false, error: { code: "bad-request", retryable: false } });
  expect(asked()).toEqual([]);
});

test("the offending field is named, its value is not", async () => {
  const answer = await ana.app.ask("rooms.create", {
    kind: "group",
    invite: ["@ben:tessera.test", "a value to keep secret"],
  });
  expect(answer).toMatchObject({ ok: false, error: { details: { path: "invite.1" } } });
  expect(JSON.stringify(answer)).not.toContain("secret");
  const unknown = await ana.app.ask("rooms.list", { "a field to keep secret": 1 });
  expect(unknown).toMatchObject({ ok: false, error: { details: { path: "?" } } });
  expect(JSON.stringify(unknown)).not.toContain("secret");
});

test("an envelope that is none is refused, and the next request is served", async () => {
  for (const [line, id] of [
    ["nonsense", null],
    ["[]", null],
    ["7", null],
    ['{"name":"rooms.list","input":{}}', null],
    ['{"id":{},"name":"rooms.list","input":{}}', null],
    ['{"id":"a","name":7,"input":{}}', "a"],
    ['{"id":"b","name":"rooms.list"}', "b"],
    ['{"id":"c","name":"rooms.list","input":{},"account":7}', "c"],
    ['{"id":"d","name":"rooms.list","input":{},"extra":1}', "d"],
    [`{"id":"e","name":"rooms.list","input":{"x":"${"x".repeat(1024 * 1024)}"}}`, null],
  ] as const)
    expect(await ana.app.line(line, id)).toMatchObject({ id, ok: false, error: { code: "bad-request" } });
  expect(await ana.app.ask("rooms.list", {})).toMatchObject({ ok: true });
  expect(asked()).toEqual([]);
});

test.each([
  // of the contract, and not built yet
  ["search.messages", { query: "x" }],
  ["timeline.edit", { roomId: room, itemId: "$x", body: "y" }],
  ["timeline.react", { roomId: room, itemId: "$x", key: "y" }],
  ["constructor", {}],
  ["__proto__", {}],
  ["guest.login", {}],
  ["account.endSession", {}],
  ["", {}],
])("%s is unsupported", async (name, input) => {
  expect(await ana.app.ask(name, input)).toMatchObject({ ok: false, error: { code: "unsupported" } });
  expect(asked()).toEqual([]);
});

test("what is well-formed and not there is not-found, with nothing sent", async () => {
  for (const [name, input] of [
    ["timeline.load", { roomId: room }],
    ["timeline.send", { roomId: room, body: "x" }],
    ["timeline.retry", { itemId: "~nothing" }],
    ["timeline.discard", { itemId: "~nothing" }],
    ["timeline.markRead", { roomId, itemId: "$nothing" }],
    ["timeline.redact", { roomId, itemId: "$nothing" }],
    ["rooms.leave", { roomId: room }],
  ] as const)
    expect(await ana.app.ask(name, input)).toMatchObject({ ok: false, error: { code: "not-found" } });
  expect(asked()).toEqual([]);
});

test("a message beyond what an event may hold fails as too-large and holds up nothing behind it", async () => {
  const large = await ana.app.call("timeline.send", { roomId, body: "ä".repeat(60_000) });
  await ana.app.call("timeline.send", { roomId, body: "behind it" });
  await received(ben.app, roomId, "behind it");
  const { items } = await ana.app.call("timeline.load", { roomId });
  expect(items.find((item) => item.itemId === large.itemId)).toMatchObject({
    state: "failed",
    failure: { code: "too-large", retryable: false },
  });
});

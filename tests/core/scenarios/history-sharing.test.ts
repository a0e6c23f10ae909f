import { beforeAll, expect, test } from "vitest";
import type { Item } from "../../../preload/contract/timeline.ts";
import { sameAs, startCore, texts } from "../core.ts";
import { eventually, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";
import { setUp } from "../verification/verifying.ts";
import type { Fault } from "../../homeserver/fault-proxy.ts";

// History for an invitee (MSC4268): who is invited reads what was said before, where the room shows it. README.md has the list.
const { person } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
  await Promise.all([ana, ben].map(setUp));
});

const killed = async (who: Person): Promise<Person> => {
  await who.core.kill();
  return { ...who, core: await startCore({ ...sameAs(who.core), lastStopOrderly: false }) };
};
const isUpload = { method: "POST", path: /\/media\/v3\/upload$/ };
const isDownload = { method: "GET", path: /\/v1\/media\/download\// };
const isKeySharing = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\// };
const failing: Fault = { kind: "status", status: 503, body: { errcode: "M_UNKNOWN" } };

const said = ["first of all", "second"];
/** A room of ana's alone in which something was said. */
const withHistory = async (historyVisibility: "shared" | "invited" = "shared"): Promise<string> => {
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group", historyVisibility });
  for (const body of said) await ana.core.say(roomId, body);
  return roomId;
};
const invite = async (roomId: string, who = ben) => {
  await ana.core.ok("rooms.invite", { roomId, userId: who.userId });
  await who.core.until(async () => (await who.core.room(roomId)).membership === "invite", "the invitation");
};
const readsAll = (who: Person, roomId: string, wanted = said) =>
  eventually(
    async () => texts(await who.core.history(roomId)),
    (read) => wanted.every((body) => read.includes(body)),
  );

test("history for an invitee arrives: what was said before the invitation can be read after joining", async () => {
  const roomId = await withHistory();
  await invite(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  expect(await readsAll(ben, roomId)).toEqual(said);
  await ben.core.say(roomId, "thank you");
  await ana.core.message(roomId, "thank you");
});

test("it arrives late: joined before the inviter could send it, rows repair in place and are told", async () => {
  const roomId = await withHistory();
  const held = ana.proxy.on(isUpload, { kind: "hold" });
  await invite(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  const before = (await ben.core.history(roomId)).filter((item) => item.kind === "undecryptable");
  expect(before).toHaveLength(said.length);
  const from = ben.core.events.length;
  held.remove();
  expect(await readsAll(ben, roomId)).toEqual(said);
  const after = (await ben.core.history(roomId)).filter((item) => item.kind === "text");
  expect(after.map((item) => item.itemId)).toEqual(before.map((item) => item.itemId));
  await ben.core.nextEvent(
    "timeline.changed",
    ({ items }) => items.some((item) => item.itemId === before[0]?.itemId && item.kind === "text"),
    from,
  );
});

test.each([
  ["the upload", isUpload, failing],
  ["the upload's answer", isUpload, { kind: "drop-response" }],
  ["the sending to their devices", isKeySharing, failing],
  ["the look-up of their devices", { method: "POST", path: /\/keys\/query$/ }, { kind: "drop" }],
] as const)(
  "a sharing in which %s fails does not undo the invitation, and is taken up again",
  async (_, match, fault) => {
    const roomId = await withHistory();
    ana.proxy.clear();
    const rule = ana.proxy.on(match, fault, { times: 1 });
    await invite(roomId);
    await ben.core.ok("rooms.join", { room: roomId });
    expect(await readsAll(ben, roomId)).toEqual(said);
    expect(rule.used).toBe(1);
    ana.proxy.clear();
  },
);

test("the inviter is killed in the middle of sharing, and shares after the start", async () => {
  const roomId = await withHistory();
  ana.proxy.clear();
  const held = ana.proxy.on(isUpload, { kind: "hold" });
  await invite(roomId);
  await ana.proxy.waitFor(isUpload, { state: "arrived" });
  await ana.core.kill();
  held.remove();
  ana = { ...ana, core: await startCore({ ...sameAs(ana.core), lastStopOrderly: false }) };
  await ben.core.ok("rooms.join", { room: roomId });
  expect(await readsAll(ben, roomId)).toEqual(said);
});

test("the invited person is killed while the keys are downloaded, and takes them after the start", async () => {
  const roomId = await withHistory();
  ben.proxy.clear();
  const held = ben.proxy.on(isDownload, { kind: "hold" });
  await invite(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  await ben.proxy.waitFor(isDownload, { state: "arrived" });
  await ben.core.kill();
  held.remove();
  ben = { ...ben, core: await startCore({ ...sameAs(ben.core), lastStopOrderly: false }) };
  expect(await readsAll(ben, roomId)).toEqual(said);
});

test("a download that fails is tried again", async () => {
  const roomId = await withHistory();
  ben.proxy.clear();
  const rule = ben.proxy.on(isDownload, failing, { times: 1 });
  await invite(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  expect(await readsAll(ben, roomId)).toEqual(said);
  expect(rule.used).toBe(1);
});

test("a file that is not what was announced is refused once, and disturbs nothing", async () => {
  const roomId = await withHistory();
  ben.proxy.clear();
  const rule = ben.proxy.on(isDownload, { kind: "raw", bytes: httpAnswer("no keys in here") });
  await invite(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  await eventually(
    () => ben.core.logs,
    (lines) => lines.some((line) => line.text === "taking shared history: unreadable"),
  );
  await ana.core.say(roomId, "after the broken file");
  await ben.core.message(roomId, "after the broken file");
  rule.remove();
  ben = await killed(ben);
  await ben.core.sync();
  expect(ben.proxy.seen(isDownload).length).toBe(1);
  expect(texts(await ben.core.history(roomId))).toEqual(["after the broken file"]);
});

test("where history is not shown to those who come, no key of it leaves", async () => {
  const roomId = await withHistory("invited");
  ana.proxy.clear();
  await invite(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  await ana.core.say(roomId, "welcome");
  await ben.core.message(roomId, "welcome");
  expect(ana.proxy.seen(isUpload)).toEqual([]);
  expect(texts(await ben.core.history(roomId))).toEqual(["welcome"]);
});

test("an invitation that the server refuses gives no keys away", async () => {
  const roomId = await withHistory();
  await invite(roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  await readsAll(ben, roomId);
  ana.proxy.clear();
  expect(await ana.core.call("rooms.invite", { roomId, userId: ben.userId })).toMatchObject({
    ok: false,
    error: { code: "forbidden" },
  });
  await ana.core.sync();
  await ana.core.say(roomId, "and on");
  expect(ana.proxy.seen(isUpload)).toEqual([]);
});

test("whoever has no identity gets nothing, until they have set one up", async () => {
  const cem = await person("cem");
  const roomId = await withHistory();
  await invite(roomId, cem);
  await cem.core.ok("rooms.join", { room: roomId });
  const welcome = await ana.core.say(roomId, "welcome");
  // ana has an identity, and so sends to signed devices alone
  await cem.core.item(roomId, (item) => item.eventId === welcome.eventId && reasonOf(item) === "withheld-unsigned");
  expect(texts(await cem.core.history(roomId))).toEqual([]);
  await setUp(cem);
  const all = [...said, "welcome"];
  expect(await readsAll(cem, roomId, all)).toEqual(all);
  await cem.core.stop();
});

const reasonOf = (item: Item) => item.undecryptable?.reason;
const httpAnswer = (body: string) =>
  `HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;

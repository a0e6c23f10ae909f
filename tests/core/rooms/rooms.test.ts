import { beforeAll, expect, test } from "vitest";
import { restarted } from "../core.ts";
import { eventually, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

const { person, room, server, put, putState } = useHomeserver();
let ana: Person;
let ben: Person;
let cem: Person;

beforeAll(async () => {
  [ana, ben, cem] = await Promise.all([person("ana"), person("ben"), person("cem")]);
});

const roomOf = (who: Person, roomId: string, fits: (found: Awaited<ReturnType<Person["core"]["room"]>>) => boolean) =>
  who.core.until(async () => {
    const found = (await who.core.ok("rooms.list", {})).find((one) => one.roomId === roomId);
    return found !== undefined && fits(found) && found;
  }, "the room as expected");
const gone = (who: Person, roomId: string) =>
  who.core.until(
    async () => !(await who.core.ok("rooms.list", {})).some((one) => one.roomId === roomId),
    "the room's end",
  );

test("a direct chat is named after the other person, on both sides, and stays one after a restart", async () => {
  const { roomId } = await ana.core.ok("rooms.create", { kind: "dm", invite: [ben.userId] });
  expect(await roomOf(ana, roomId, (found) => found.name === "ben")).toMatchObject({
    kind: "dm",
    directUserId: ben.userId,
    encrypted: true,
    membership: "join",
  });
  expect(await roomOf(ben, roomId, () => true)).toMatchObject({
    kind: "dm",
    name: "ana",
    membership: "invite",
    inviter: ana.userId,
    encrypted: true,
  });
  await ben.core.ok("rooms.join", { room: roomId });
  expect(await roomOf(ben, roomId, (found) => found.membership === "join")).toMatchObject({
    kind: "dm",
    name: "ana",
    directUserId: ana.userId,
  });
  const direct = await server().api<Record<string, string[]>>(
    "GET",
    `v3/user/${encodeURIComponent(ben.userId)}/account_data/m.direct`,
    { token: ben.account.accessToken },
  );
  expect(direct[ana.userId]).toContain(roomId);
  ben.core = await restarted(ben.core);
  await ben.core.sync();
  expect(await ben.core.room(roomId)).toMatchObject({ kind: "dm", name: "ana", directUserId: ana.userId, members: 2 });
});

test("m.direct that another client wrote is taken, and other people's entries are kept when we add one", async () => {
  const roomId = await room(ana, [cem], { name: "was a group" });
  const path = `v3/user/${encodeURIComponent(ana.userId)}/account_data/m.direct`;
  // none is there where the test runs alone
  const before = await server()
    .api<Record<string, string[]>>("GET", path, { token: ana.account.accessToken })
    .catch(() => ({}));
  await server().api("PUT", path, { token: ana.account.accessToken, body: { ...before, [cem.userId]: [roomId] } });
  await roomOf(ana, roomId, (found) => found.kind === "dm" && found.directUserId === cem.userId);
  const { roomId: another } = await ana.core.ok("rooms.create", { kind: "dm", invite: [ben.userId] });
  const after = await server().api<Record<string, string[]>>("GET", path, { token: ana.account.accessToken });
  expect(after[cem.userId]).toEqual([roomId]);
  expect(after[ben.userId]).toContain(another);
});

test("a group without a name is named after its people, one alone is empty", async () => {
  const roomId = await room(ana, [ben, cem]);
  expect((await roomOf(ana, roomId, (found) => ["ben and cem", "cem and ben"].includes(found.name))).kind).toBe(
    "group",
  );
  await cem.core.ok("rooms.leave", { roomId });
  await roomOf(ana, roomId, (found) => found.name === "ben");
  const { roomId: alone } = await ana.core.ok("rooms.create", { kind: "group" });
  expect((await ana.core.room(alone)).name).toBe("Empty room");
  await putState(ana.account, roomId, "m.room.name", { name: "  Harbour  " });
  await roomOf(ben, roomId, (found) => found.name === "Harbour");
});

test("an invitation is accepted or declined, and a room that is left is no longer listed", async () => {
  const { roomId } = await ana.core.ok("rooms.create", {
    kind: "group",
    name: "Perhaps",
    invite: [ben.userId, cem.userId],
  });
  expect(await roomOf(ben, roomId, () => true)).toMatchObject({
    name: "Perhaps",
    membership: "invite",
    inviter: ana.userId,
    unread: { messages: 0, mentions: 0 },
  });
  await cem.core.room(roomId);
  await cem.core.ok("rooms.leave", { roomId });
  await gone(cem, roomId);
  await ben.core.ok("rooms.join", { room: roomId });
  await roomOf(ben, roomId, (found) => found.membership === "join");
  const change = await ana.core.item(roomId, (item) => item.change?.kind === "declined", "the refusal");
  expect(change.change).toMatchObject({ userId: cem.userId });
  await ben.core.ok("rooms.leave", { roomId });
  await gone(ben, roomId);
  ben.core = await restarted(ben.core);
  await ben.core.sync();
  await gone(ben, roomId);
});

test("an invitation that is withdrawn is gone", async () => {
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group", invite: [ben.userId] });
  await ben.core.room(roomId);
  await ana.core.ok("rooms.remove", { roomId, userId: ben.userId });
  await gone(ben, roomId);
});

test("members are listed with names, membership and power, the most powerful first", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.ok("rooms.invite", { roomId, userId: cem.userId });
  const members = await ana.core.ok("rooms.members", { roomId });
  expect(members.map(({ userId, name, membership }) => ({ userId, name, membership }))).toEqual([
    { userId: ana.userId, name: "ana", membership: "join" },
    { userId: ben.userId, name: "ben", membership: "join" },
    expect.objectContaining({ userId: cem.userId, membership: "invite" }),
  ]);
  expect(members[0]?.powerLevel).toBeGreaterThanOrEqual(100);
  expect(members.slice(1).map((member) => member.powerLevel)).toEqual([0, 0]);
  await ana.core.ok("rooms.remove", { roomId, userId: ben.userId, ban: true, reason: "a test" });
  await eventually(
    () => ana.core.ok("rooms.members", { roomId }),
    (now) => now.some((member) => member.userId === ben.userId && member.membership === "ban"),
  );
  expect(await ben.core.call("rooms.invite", { roomId, userId: cem.userId })).toMatchObject({ ok: false });
});

test("whoever is invited after the first message reads the next one sent", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "before cem");
  await ana.core.ok("rooms.invite", { roomId, userId: cem.userId });
  await ana.core.send(roomId, "after the invitation");
  await cem.core.room(roomId);
  await cem.core.ok("rooms.join", { room: roomId });
  expect((await cem.core.message(roomId, "after the invitation")).kind).toBe("text");
});

test("unread messages and mentions are counted, read receipts take them away on both sides", async () => {
  const roomId = await room(ana, [ben]);
  await ben.core.say(roomId, "from ben");
  await ana.core.message(roomId, "from ben");
  await ana.core.send(roomId, "one");
  await ana.core.ok("timeline.send", { roomId, body: "two, ben", mentions: [ben.userId] });
  await roomOf(ben, roomId, (found) => found.unread.messages === 2 && found.unread.mentions === 1);
  const two = await ben.core.message(roomId, "two, ben");
  await ben.core.ok("timeline.markRead", { roomId, itemId: two.itemId });
  await roomOf(ben, roomId, (found) => found.unread.messages === 0 && found.unread.mentions === 0);
  const read = await ana.core.item(
    roomId,
    (item) => item.body === "two, ben" && item.readBy?.includes(ben.userId) === true,
  );
  expect(read.readBy).toEqual([ben.userId]);
  ben.core = await restarted(ben.core);
  await ben.core.sync();
  expect((await ben.core.room(roomId)).unread).toEqual({ messages: 0, mentions: 0 });
});

test("in a room in clear the server's own counts are shown", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await put(ana.account, roomId, "m.room.message", { msgtype: "m.text", body: "one" });
  await put(ana.account, roomId, "m.room.message", {
    msgtype: "m.text",
    body: "two",
    "m.mentions": { user_ids: [ben.userId] },
  });
  await roomOf(ben, roomId, (found) => found.unread.messages === 2 && found.unread.mentions === 1);
});

test("a muted room counts nothing and says that it is muted; one that is marked favourite says so", async () => {
  const roomId = await room(ana, [ben]);
  const token = ben.account.accessToken;
  await server().api("PUT", `v3/pushrules/global/override/${encodeURIComponent(roomId)}`, {
    token,
    body: { actions: [], conditions: [{ kind: "event_match", key: "room_id", pattern: roomId }] },
  });
  await server().api(
    "PUT",
    `v3/user/${encodeURIComponent(ben.userId)}/rooms/${encodeURIComponent(roomId)}/tags/m.favourite`,
    { token, body: { order: 0.5 } },
  );
  await roomOf(ben, roomId, (found) => found.muted && found.favourite);
  await ben.core.say(roomId, "read up to here");
  await ana.core.send(roomId, "unheard");
  await ben.core.message(roomId, "unheard");
  expect((await ben.core.room(roomId)).unread).toEqual({ messages: 0, mentions: 0 });
  await server().api(
    "DELETE",
    `v3/user/${encodeURIComponent(ben.userId)}/rooms/${encodeURIComponent(roomId)}/tags/m.favourite`,
    { token },
  );
  await roomOf(ben, roomId, (found) => !found.favourite);
});

test("wrong invitations are refused before anything is sent", async () => {
  ana.proxy.clear();
  expect(await ana.core.call("rooms.create", { kind: "dm", invite: [ana.userId] })).toMatchObject({
    error: { code: "bad-request" },
  });
  expect(await ana.core.call("rooms.create", { kind: "dm" })).toMatchObject({ error: { code: "bad-request" } });
  expect(ana.proxy.seen({ path: /createRoom$/ })).toEqual([]);
  expect(await ana.core.call("rooms.join", { room: "#nowhere:tessera.test" })).toMatchObject({
    error: { code: "not-found" },
  });
  expect(await ana.core.call("rooms.leave", { roomId: "!unknown:tessera.test" })).toMatchObject({
    error: { code: "not-found" },
  });
});

test("ignored people are account data, taken from and given to other clients", async () => {
  await ana.core.ok("people.ignore", { userId: "@pest:tessera.test", ignored: true });
  expect(await ana.core.ok("people.ignored", {})).toEqual(["@pest:tessera.test"]);
  await ana.core.ok("people.ignore", { userId: "@pest:tessera.test", ignored: false });
  expect(await ana.core.ok("people.ignored", {})).toEqual([]);
});

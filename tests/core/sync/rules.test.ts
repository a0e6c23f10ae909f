import { beforeAll, expect, test } from "vitest";
import { restarted, sameAs, startCore } from "../core.ts";
import { eventually, isSend, isSync, isToDevice, sentType, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// The rules of our own sync that show on the wire; rule 1 is tested on the parts in apply.test.ts, rule 7 in gaps.test.ts.
const { person, room, server, put, putState, event } = useHomeserver();
let ana: Person;
let ben: Person;
let cem: Person;

beforeAll(async () => {
  [ana, ben, cem] = await Promise.all([person("ana"), person("ben"), person("cem")]);
});

const sessionOf = async (who: Person, roomId: string, body: string) => {
  const said = await who.core.say(roomId, body);
  const { content } = await event(who.account, roomId, said.eventId ?? "");
  return { eventId: said.eventId ?? "", sessionId: String(content["session_id"]) };
};
const since = (query: URLSearchParams) => query.get("since");

test("rule 2: nothing goes out in clear into an encrypted room whose encryption the server denies", async () => {
  const roomId = await room(ana, [ben]);
  ana.proxy.clear();
  ana.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => {
      const sync = body as {
        rooms?: { join?: Record<string, { state?: { events: unknown[] }; timeline?: { events: unknown[] } }> };
      };
      const denial = {
        type: "m.room.encryption",
        state_key: "",
        sender: ana.userId,
        content: {},
        event_id: "$denied",
        origin_server_ts: 1,
      };
      for (const joined of Object.values(sync.rooms?.join ?? {})) {
        (joined.state ??= { events: [] }).events.push(denial);
        (joined.timeline ??= { events: [] }).events.push({ ...denial, event_id: `$denied-${Math.random()}` });
      }
      return sync;
    },
  });
  await put(ben.account, roomId, "m.room.message", { msgtype: "m.text", body: "a nudge" });
  await ana.core.message(roomId, "a nudge");
  await ana.core.say(roomId, "still encrypted");
  ana = { ...ana, core: await restarted(ana.core) };
  await ana.core.say(roomId, "still encrypted after a restart");
  expect(new Set(ana.proxy.seen(isSend).map(sentType))).toEqual(new Set(["m.room.encrypted"]));
  ana.proxy.clear();
  expect((await ben.core.message(roomId, "still encrypted after a restart")).kind).toBe("text");
});

test("rule 3: encrypted, once set, is never unset nor changed, whatever state the room is given", async () => {
  const roomId = await room(ana, [ben]);
  await putState(ana.account, roomId, "m.room.encryption", { algorithm: "org.example.rot13" });
  await putState(ana.account, roomId, "m.room.encryption", {});
  await putState(ana.account, roomId, "m.room.name", { name: "it has come" });
  await eventually(
    () => ana.core.room(roomId),
    (found) => found.name === "it has come",
  );
  expect((await ana.core.room(roomId)).encrypted).toBe(true);
  ana.proxy.clear();
  await ana.core.say(roomId, "as before");
  expect(ana.proxy.seen(isSend).map(sentType)).toEqual(["m.room.encrypted"]);
  expect((await ben.core.message(roomId, "as before")).kind).toBe("text");
});

test("rule 3: a room whose first encryption is unknown here takes nothing, rather than in clear", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  await putState(ana.account, roomId, "m.room.encryption", { algorithm: "org.example.rot13" });
  await eventually(
    () => ana.core.room(roomId),
    (found) => found.encrypted,
  );
  ana.proxy.clear();
  const itemId = await ana.core.send(roomId, "not in clear");
  const item = await ana.core.item(roomId, (one) => one.itemId === itemId && one.state === "failed");
  expect(item.failure?.code).toBe("unsupported");
  expect(ana.proxy.seen(isSend)).toEqual([]);
});

test("a message queued before the room was encrypted does not leave in clear afterwards", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  ana.proxy.clear();
  const refused = ana.proxy.on(isSend, { kind: "status", status: 502, body: "" }, { times: 1 });
  ana.proxy.on({ ...isSend, path: /never/ }, { kind: "drop" });
  const hold = ana.proxy.on(isSend, { kind: "status", status: 502, body: "" });
  const itemId = await ana.core.send(roomId, "in the meantime");
  await eventually(
    () => refused.used,
    (used) => used === 1,
  );
  await putState(ben.account, roomId, "m.room.encryption", { algorithm: "m.megolm.v1.aes-sha2" }).catch(() =>
    putState(ana.account, roomId, "m.room.encryption", { algorithm: "m.megolm.v1.aes-sha2" }),
  );
  await eventually(
    () => ana.core.room(roomId),
    (found) => found.encrypted,
  );
  // one try may have been on its way when that was learned
  const tries = hold.used;
  await eventually(
    () => hold.used,
    (used) => used > tries,
  );
  const before = ana.proxy.exchanges.length;
  hold.remove();
  await ana.core.sent(roomId, itemId);
  const after = ana.proxy.exchanges
    .slice(before)
    .filter((one) => one.method === "PUT" && /\/send\//.test(one.path) && one.status === 200);
  expect(after.map(sentType)).toEqual(["m.room.encrypted"]);
});

test("rule 4: after a limited answer the members are asked for as of that sync, before the next encryption", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "before");
  ana.proxy.setOnline(false);
  for (let n = 0; n < 60; n++) await put(ben.account, roomId, "m.reaction", { n });
  await server().api("POST", `v3/rooms/${roomId}/invite`, {
    token: ben.account.accessToken,
    body: { user_id: cem.userId },
  });
  await cem.core.room(roomId);
  await cem.core.ok("rooms.join", { room: roomId });
  for (let n = 0; n < 60; n++) await put(ben.account, roomId, "m.reaction", { n });
  ana.proxy.clear();
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
  await ana.core.say(roomId, "after the hole");
  const limited = ana.proxy.seen(isSync).find((one) => String(one.responseBody).includes('"limited":true'));
  const { next_batch: token } = JSON.parse(String(limited?.responseBody)) as { next_batch: string };
  const asked = ana.proxy
    .seen({ method: "GET", path: /\/members$/ })
    .find((one) => one.path.includes(encodeURIComponent(roomId)));
  expect(asked?.query.get("at")).toBe(token);
  expect(asked?.n).toBeLessThan(ana.proxy.seen(isSend)[0]?.n ?? 0);
  expect((await cem.core.message(roomId, "after the hole")).kind).toBe("text");
});

test("rule 4: a change that comes while the member list is under way is not overwritten by it", async () => {
  const roomId = await room(ana, [ben, cem]);
  await ana.core.say(roomId, "before");
  ana.proxy.setOnline(false);
  for (let n = 0; n < 60; n++) await put(ben.account, roomId, "m.reaction", { n });
  ana.proxy.clear();
  const hold = ana.proxy.on({ method: "GET", path: /\/members$/ }, { kind: "hold" });
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
  const itemId = await ana.core.send(roomId, "not for cem");
  await ana.proxy.waitFor({ method: "GET", path: /\/members$/ }, { state: "arrived" });
  await cem.core.ok("rooms.leave", { roomId });
  await eventually(
    () => ana.core.load(roomId),
    (items) => items.some((item) => item.change?.kind === "left"),
  );
  hold.release();
  const sent = await ana.core.sent(roomId, itemId);
  const members = await ana.core.ok("rooms.members", { roomId });
  expect(members.map((member) => member.userId).sort()).toEqual([ana.userId, ben.userId].sort());
  const keysFor = ana.proxy.seen(isToDevice).map((one) => String(one.requestBody));
  expect(keysFor.some((body) => body.includes(cem.userId))).toBe(false);
  expect((await ben.core.event(roomId, sent.eventId)).kind).toBe("text");
});

test("rule 5: after somebody left the next message begins a new session", async () => {
  const roomId = await room(ana, [ben, cem]);
  const first = await sessionOf(ana, roomId, "for all");
  expect((await sessionOf(ana, roomId, "for all as well")).sessionId).toBe(first.sessionId);
  await cem.core.ok("rooms.leave", { roomId });
  await eventually(
    () => ana.core.load(roomId),
    (items) => items.some((item) => item.change?.kind === "left"),
  );
  expect((await sessionOf(ana, roomId, "for those who stayed")).sessionId).not.toBe(first.sessionId);
  expect((await ben.core.message(roomId, "for those who stayed")).kind).toBe("text");
});

test("rule 5: somebody who left and came back while we were away makes a new session too", async () => {
  const roomId = await room(ana, [ben, cem]);
  const first = await sessionOf(ana, roomId, "before the absence");
  await ana.core.stop();
  await cem.core.ok("rooms.leave", { roomId });
  await server().api("POST", `v3/rooms/${roomId}/invite`, {
    token: ana.account.accessToken,
    body: { user_id: cem.userId },
  });
  await cem.core.ok("rooms.join", { room: roomId });
  ana = { ...ana, core: await startCore(sameAs(ana.core)) };
  expect((await sessionOf(ana, roomId, "after the absence")).sessionId).not.toBe(first.sessionId);
});

test("rule 5: also when the leaving is hidden in the hole of a limited sync", async () => {
  const roomId = await room(ana, [ben, cem]);
  const first = await sessionOf(ana, roomId, "before the absence");
  await ana.core.stop();
  await cem.core.ok("rooms.leave", { roomId });
  for (let n = 0; n < 60; n++) await put(ben.account, roomId, "m.reaction", { n });
  ana = { ...ana, core: await startCore(sameAs(ana.core)) };
  ana.proxy.clear();
  const second = await sessionOf(ana, roomId, "after the absence");
  expect(second.sessionId).not.toBe(first.sessionId);
  expect(ana.proxy.seen(isToDevice).some((one) => String(one.requestBody).includes(cem.userId))).toBe(false);
  await ben.core.item(roomId, (item) => item.eventId === second.eventId && item.kind === "text");
});

test("rule 6: a key that comes late repairs its rows in place, after a restart too", async () => {
  const roomId = await room(ana, [ben]);
  const kept: unknown[] = [];
  const strip = ben.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => {
      const sync = body as { to_device?: { events?: unknown[] } };
      kept.push(...(sync.to_device?.events ?? []));
      delete sync.to_device;
      return sync;
    },
  });
  const said = await Promise.all(["one", "two"].map((body) => ana.core.say(roomId, body)));
  const waiting = await eventually(
    () => ben.core.load(roomId),
    (items) => items.filter((item) => item.kind === "undecryptable").length === 2,
  );
  expect(waiting.filter((item) => item.undecryptable?.reason === "missing-key")).toHaveLength(2);
  ben = { ...ben, core: await restarted(ben.core) };
  strip.remove();
  ben.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => ({
      ...(body as object),
      to_device: {
        // as a server does, again and again until a later token acknowledges it
        events: [...kept, ...((body as { to_device?: { events?: unknown[] } }).to_device?.events ?? [])],
      },
    }),
  });
  const from = ben.core.events.length;
  await ben.core.sync();
  for (const item of said) {
    const repaired = await ben.core.item(roomId, (one) => one.eventId === item.eventId && one.kind === "text");
    expect(repaired.itemId).toBe(item.eventId);
    await ben.core.nextEvent(
      "timeline.changed",
      ({ items }) => items.some((one) => one.itemId === item.eventId && one.kind === "text"),
      from,
    );
  }
  ben.proxy.clear();
});

test("rule 8: an answer from before is no reason to throw the token away", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.sync();
  const last = ana.proxy.seen({ ...isSync, when: (one) => one.outcome === "passed" }).at(-1);
  const token = (JSON.parse(String(last?.responseBody)) as { next_batch: string }).next_batch;
  await ana.core.stop();
  ana.proxy.clear();
  // a first report that is stale: no keys left, none unused
  ana.proxy.on(
    isSync,
    {
      kind: "rewrite-response",
      json: (body) => ({ ...(body as object), device_one_time_keys_count: {}, device_unused_fallback_key_types: [] }),
    },
    { times: 1 },
  );
  ana = { ...ana, core: await startCore(sameAs(ana.core)) };
  await ana.core.sync();
  const polls = ana.proxy.seen(isSync);
  expect(polls.every((one) => since(one.query) !== null)).toBe(true);
  expect(since(polls[0]?.query ?? new URLSearchParams())).not.toBeNull();
  expect(token).not.toBe("");
  await ana.core.say(roomId, "it works");
  expect((await ben.core.message(roomId, "it works")).kind).toBe("text");
});

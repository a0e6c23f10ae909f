import { beforeAll, expect, test } from "vitest";
import { restarted, sameAs, startCore, texts } from "../core.ts";
import { eventually, isSend, isSync, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";
import type { Exchange } from "../../homeserver/fault-proxy.ts";
import type { SyncState } from "../../../preload/contract/account.ts";

const { person, room, server, put } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

/** The next state of the sync that fits, of those told from now on. */
const nextState = (who: Person, at: SyncState["at"]) => {
  const from = who.core.events.length;
  return async () => {
    const { status } = await who.core.nextEvent(
      "account.changed",
      (told) => told.status.at === "signed-in" && told.status.sync.at === at,
      from,
    );
    if (status.at !== "signed-in") throw new Error("It signed out.");
    return status.sync;
  };
};
/** All states of the sync that were told so far. */
const states = (who: Person): SyncState[] =>
  who.core.events.flatMap(({ event, payload }) =>
    event === "account.changed" && payload.status.at === "signed-in" ? [payload.status.sync] : [],
  );
const say = (roomId: string, body: unknown) => put(ben.account, roomId, "m.room.message", { msgtype: "m.text", body });

test.each([
  [
    "429 that says when",
    { kind: "status", status: 429, headers: { "retry-after": "1" }, body: { errcode: "M_LIMIT_EXCEEDED" } },
    "rate-limited",
  ],
  [
    "429 that says when in its body",
    { kind: "status", status: 429, body: { errcode: "M_LIMIT_EXCEEDED", retry_after_ms: 300 } },
    "rate-limited",
  ],
  ["429 that does not say when", { kind: "status", status: 429, body: "slow down" }, "rate-limited"],
  ["500", { kind: "status", status: 500, body: { errcode: "M_UNKNOWN" } }, "unreachable"],
  ["a gateway's page", { kind: "status", status: 502, body: "<html>Bad gateway</html>" }, "unreachable"],
  ["an answer that breaks off", { kind: "cut", afterBytes: 20 }, "unreachable"],
  ["a connection that is reset", { kind: "drop" }, "unreachable"],
  ["no JSON", { kind: "status", status: 200, body: '{"next_batch": "t' }, "unreachable"],
  ["JSON that is no sync", { kind: "status", status: 200, body: ["next_batch"] }, "unreachable"],
  ["a sync without a token", { kind: "status", status: 200, body: { rooms: {} } }, "unreachable"],
  ["no HTTP", { kind: "raw", bytes: "220 mail ready\r\n" }, "unreachable"],
] as const)("a sync that meets %s waits, is asked again and goes on", async (_, fault, code) => {
  const roomId = await room(ana, [], { encrypted: false });
  const rule = ana.proxy.on(isSync, fault, { times: 2 });
  const from = states(ana).length;
  const wanted = await ana.core.call("account.sync", {});
  expect(wanted).toMatchObject({
    ok: false,
    error: { code: code === "rate-limited" ? "rate-limited" : "unreachable", retryable: true },
  });
  const isOffline = (state: SyncState) => state.at === "offline";
  const told = await eventually(
    () => states(ana).slice(from),
    (all) => all.some(isOffline) && all.at(-1)?.at === "live",
  );
  expect(told.find(isOffline)).toMatchObject({ code });
  expect(rule.used).toBe(2);
  await put(ana.account, roomId, "m.room.message", { msgtype: "m.text", body: "it goes on" });
  await ana.core.message(roomId, "it goes on");
});

test("Retry-After is waited for", async () => {
  ana.proxy.clear();
  // the first may meet a poll that is being given up for the sync asked for below
  ana.proxy.on(isSync, { kind: "status", status: 429, headers: { "retry-after": "2" }, body: {} }, { times: 2 });
  const live = nextState(ana, "live");
  await ana.core.call("account.sync", {});
  await live();
  const polls = ana.proxy.seen(isSync);
  const refused = polls.findLastIndex((one) => one.status === 429);
  expect((polls[refused + 1]?.startedMs ?? 0) - (polls[refused]?.endedMs ?? Infinity)).toBeGreaterThanOrEqual(1990);
});

test.each([
  ["429 with Retry-After", { kind: "status", status: 429, headers: { "retry-after": "1" }, body: {} }],
  ["429 without", { kind: "status", status: 429, body: {} }],
  ["503", { kind: "status", status: 503, body: "" }],
  ["an answer that is cut", { kind: "cut", afterBytes: 5 }],
  ["an answer that names no event", { kind: "status", status: 200, body: {} }],
] as const)("a message that meets %s is sent once all the same", async (_, fault) => {
  const roomId = await room(ana, [ben]);
  const rule = ana.proxy.on(isSend, fault, { times: 2 });
  await ana.core.say(roomId, "patience");
  // one that reached the server may come back by sync before it is tried again
  expect(rule.used).toBeGreaterThanOrEqual(1);
  rule.remove();
  await ana.core.send(roomId, "and then");
  await ben.core.message(roomId, "and then");
  expect(texts(await ben.core.load(roomId))).toEqual(["patience", "and then"]);
});

test("parts of a sync of wrong type or absurd size cost themselves alone: valid rooms still arrive", async () => {
  const roomId = await room(ana, [], { encrypted: false });
  await ana.core.sync();
  const deep = JSON.parse(`${'{"a":'.repeat(3000)}1${"}".repeat(3000)}`) as unknown;
  const odd = (content: unknown, more: object = {}) => ({
    event_id: `$odd${Math.random()}`,
    type: "m.room.message",
    sender: "@x:y",
    origin_server_ts: 1,
    content,
    ...more,
  });
  const events = [
    null,
    7,
    "event",
    [],
    {},
    { event_id: 5, type: 5, sender: 5 },
    { type: "m.room.message" },
    odd(null),
    odd("text"),
    odd([]),
    odd({ body: 7, msgtype: {} }),
    odd({ body: "x".repeat(2_000_000) }),
    odd({ body: "a\u0000b\u202e\ud800" }),
    odd({}, { origin_server_ts: 1e300 }),
    odd({}, { origin_server_ts: -5.5 }),
    odd({}, { state_key: "k".repeat(3000), type: "m.room.name" }),
    odd({}, { state_key: 4 }),
    odd({ name: { a: 1 } }, { state_key: "", type: "m.room.name" }),
    odd({ membership: 5 }, { state_key: "@z:y", type: "m.room.member" }),
    odd({ membership: "join" }, { state_key: "@z:!!!", type: "m.room.member" }),
    odd({ "m.relates_to": { rel_type: "m.replace", event_id: 7 } }),
    odd({ "m.relates_to": [] }),
    odd({}, { unsigned: 5 }),
    odd({}, { sender: "@z:!!!", type: "m.room.encrypted" }),
    odd({ redacts: {} }, { type: "m.room.redaction", redacts: [] }),
    odd({ deep }),
    odd({ algorithm: {}, ciphertext: [], session_id: 5 }, { type: "m.room.encrypted" }),
  ];
  const fault = ana.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => {
      const sync = body as { next_batch: string; rooms?: { join?: Record<string, unknown> } };
      return {
        ...sync,
        to_device: {
          events: [
            null,
            5,
            {},
            { type: 5 },
            odd({ deep }),
            { type: "m.room.encrypted", sender: "@z:!!!", content: {} },
            { type: "m.room_key", sender: "@z:y", content: { algorithm: 5 } },
          ],
        },
        device_lists: { changed: [5, "@z:!!!", "x", "@"], left: {} },
        device_one_time_keys_count: { signed_curve25519: "many", x: -1, y: 1e99 },
        device_unused_fallback_key_types: [5],
        account_data: {
          events: [
            null,
            { type: "m.direct", content: 5 },
            { type: 5, content: {} },
            { type: "m.push_rules", content: { global: 7 } },
            { type: "org.deep", content: { deep } },
          ],
        },
        presence: 5,
        rooms: {
          invite: { "!i:y": 5, "!j:y": { invite_state: { events: [5, { type: "m.room.member" }] } } },
          knock: [],
          leave: "none",
          join: {
            "no room": {},
            "!five:y": 5,
            "!list:y": [],
            "!null:y": null,
            [`!${"long".repeat(100)}:y`]: {},
            "!odd:y": {
              timeline: { events, limited: "yes", prev_batch: 5 },
              state: { events },
              summary: { "m.heroes": [5, null], "m.joined_member_count": "three" },
              unread_notifications: { notification_count: 1.5 },
              ephemeral: {
                events: [5, { type: "m.receipt", content: { $a: 5, $b: { "m.read": { "@z:y": 5, x: {} } } } }],
              },
              account_data: { events: [{ type: "m.tag", content: { tags: 5 } }] },
            },
            "!flat:y": {
              timeline: [],
              state: 5,
              summary: [],
              ephemeral: null,
              account_data: 7,
              unread_notifications: [],
            },
            ...sync.rooms?.join,
          },
        },
      };
    },
  });
  await put(ana.account, roomId, "m.room.message", { msgtype: "m.text", body: "a valid one" });
  await ana.core.message(roomId, "a valid one");
  await ana.core.sync();
  expect(fault.used).toBeGreaterThan(0);
  fault.remove();
  const shown = await ana.core.load("!odd:y");
  expect(shown.length).toBeGreaterThan(5);
  expect(shown.every((item) => typeof item.body === "string")).toBe(true);
  expect((await ana.core.ok("rooms.list", {})).some((one) => one.roomId === roomId)).toBe(true);
  ana = { ...ana, core: await restarted(ana.core) };
  await ana.core.sync();
  await ana.core.load("!odd:y");
  await ana.core.ok("rooms.list", {});
});

test("bodies of 64 KiB with control characters arrive as they are", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  const body = `\u0001\u001b[31m\u202e${"<b>\u0007".repeat(7000)}`;
  await say(roomId, body);
  expect((await ana.core.message(roomId, body)).kind).toBe("text");
});

test("a token that is no longer valid stops the sync and deletes nothing", async () => {
  const gone = await person("dora");
  const roomId = await room(gone, [], {});
  await gone.core.say(roomId, "kept");
  const stopped = nextState(gone, "stopped");
  await server().api("POST", "v3/logout", { token: gone.account.accessToken, body: {} });
  expect(await stopped()).toEqual({ at: "stopped", code: "not-signed-in" });
  expect(await gone.core.call("account.sync", {})).toMatchObject({ ok: false, error: { code: "not-signed-in" } });
  expect(texts(await gone.core.load(roomId))).toEqual(["kept"]);
  const waiting = await gone.core.send(roomId, "written while signed out");
  const again = await server().api<{ access_token: string }>("POST", "v3/login", {
    body: {
      type: "m.login.password",
      identifier: { type: "m.id.user", user: gone.account.localpart },
      password: gone.account.password,
      device_id: gone.account.deviceId,
    },
  });
  await gone.core.stop();
  gone.core = await startCore({
    ...sameAs(gone.core),
    session: { ...gone.core.session, accessToken: again.access_token },
  });
  await gone.core.sync();
  await gone.core.sent(roomId, waiting);
  expect(texts(await gone.core.load(roomId))).toEqual(["kept", "written while signed out"]);
});

test("without a route it says unreachable at once, tries again and recovers by itself", async () => {
  const offline = nextState(ana, "offline");
  ana.proxy.setOnline(false);
  expect(await offline()).toMatchObject({ at: "offline", code: "unreachable" });
  expect(await ana.core.call("account.sync", {})).toMatchObject({
    ok: false,
    error: { code: "unreachable", retryable: true },
  });
  expect(await ana.core.call("rooms.create", { kind: "group" })).toMatchObject({
    ok: false,
    error: { code: "unreachable" },
  });
  expect((await ana.core.ok("rooms.list", {})).length).toBeGreaterThan(0);
  const live = nextState(ana, "live");
  ana.proxy.setOnline(true);
  await live();
});

test("account.sync ends the long poll and asks again without waiting, and nothing flashes offline", async () => {
  // held, so that nothing that happens on the server ends the poll before we do
  const isLong = { ...isSync, when: (one: Exchange) => one.query.get("timeout") === "30000" };
  const hold = ana.proxy.on(isLong, { kind: "hold" });
  await ana.core.sync();
  const poll = await ana.proxy.waitFor(
    { ...isSync, when: (one) => isLong.when(one) && one.endedMs === undefined && hold.used > 0 },
    { state: "arrived" },
  );
  const from = ana.core.events.length;
  const began = Date.now();
  const { at } = await ana.core.ok("account.sync", {});
  expect(at).toBeGreaterThanOrEqual(began);
  await eventually(
    () => poll.outcome,
    (outcome) => outcome === "aborted",
  );
  const asked = ana.proxy.seen(isSync).find((one) => one.n > poll.n);
  expect(asked?.query.get("timeout")).toBe("0");
  expect(ana.core.events.slice(from).filter((one) => one.event === "account.changed")).toEqual([]);
});

test("account.sync answers timeout when the server takes longer than the caller waits", async () => {
  const slow = ana.proxy.on(isSync, { kind: "hold" });
  expect(await ana.core.call("account.sync", { timeoutMs: 300 })).toMatchObject({
    ok: false,
    error: { code: "timeout", retryable: true },
  });
  slow.release();
  await ana.core.sync();
});

test("a restart without the server shows rooms and messages, and says offline", async () => {
  const roomId = await room(ana, [ben], { name: "kept here" });
  await ana.core.say(roomId, "read offline");
  // its echo has taken the place of what was on its way out
  await ana.core.item(roomId, (item) => item.body === "read offline" && item.order < 2 ** 52);
  await ana.core.sync();
  const before = await ana.core.ok("rooms.list", {});
  ana.proxy.setOnline(false);
  ana = { ...ana, core: await restarted(ana.core) };
  expect(await ana.core.ok("rooms.list", {})).toEqual(before);
  expect(texts(await ana.core.load(roomId))).toEqual(["read offline"]);
  expect(await ana.core.call("account.sync", {})).toMatchObject({ error: { code: "unreachable" } });
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
});

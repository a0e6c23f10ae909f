import { expect, test, vi } from "vitest";
import { otherClient } from "../other-client.ts";
import { eventually, holdSync, isSend, isSync, sentType, useHomeserver, type Person } from "../people.ts";
import { MadeUpPerson } from "../trust/made-up-keys.ts";
import { agree, comparing, directChat, done, ended, ready, setUp } from "../verification/verifying.ts";

// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const homeserver = useHomeserver();
type Json = Record<string, unknown>;

const isQuery = { method: "POST", path: /\/keys\/query$/ };
const isSignatures = { method: "POST", path: /\/keys\/signatures\/upload$/ };

/** The server's answers, with every trace of the room's encryption taken out. */
const withoutEncryption = (body: unknown): unknown =>
  Array.isArray(body)
    ? body.filter((one) => (one as Json)["type"] !== "m.room.encryption").map(withoutEncryption)
    : typeof body === "object" && body !== null
      ? Object.fromEntries(Object.entries(body).map(([name, value]) => [name, withoutEncryption(value)]))
      : body;
const hideEncryption = ({ proxy }: Person) => {
  for (const match of [isSync, { path: /\/rooms\/[^/]+\/state$/ }])
    proxy.on(match, { kind: "rewrite-response", json: withoutEncryption });
};
const sentBy = ({ proxy }: Person) => proxy.seen(isSend).map(sentType);

test("a room that was made encrypted is one, whatever the server says of it: nothing goes out in clear", async () => {
  const ana = await homeserver.person("ana");
  hideEncryption(ana);
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group", name: "ours" });
  await ana.core.say(roomId, "only for us");
  expect(sentBy(ana)).toEqual(["m.room.encrypted"]);
  expect((await ana.core.room(roomId)).encrypted).toBe(true);
});

test("an invitation to an encrypted room binds: after joining nothing goes out in clear", async () => {
  const [ana, ben] = await Promise.all([homeserver.person("ana"), homeserver.person("ben")]);
  const { roomId } = await ana.core.ok("rooms.create", { kind: "dm", invite: [ben.userId] });
  await ben.core.room(roomId);
  hideEncryption(ben);
  await ben.core.ok("rooms.join", { room: roomId });
  await ben.core.say(roomId, "only for us");
  expect(sentBy(ben)).toEqual(["m.room.encrypted"]);
});

test("an own device that the server swaps while the emoji are compared is never signed", async () => {
  const first = await homeserver.person("ana");
  await setUp(first);
  const second = await homeserver.person("ana", await homeserver.server().login(first.account));
  const { deviceId } = second.account;
  const flowId = await ready(second, first);
  await comparing(second, first, flowId);
  // taken away and put back with other keys: a device that only changes its keys is refused by Rust crypto
  const forged = new MadeUpPerson(first.userId).addDevice({ signed: false }, deviceId);
  const shown: { keys?: Json } = {};
  first.proxy.on(isQuery, {
    kind: "rewrite-response",
    json: (body) => {
      const answer = body as { device_keys?: Record<string, Json> };
      const own = answer.device_keys?.[first.userId];
      if (own === undefined) return body;
      const { [deviceId]: _, ...others } = own;
      const devices = shown.keys === undefined ? others : { ...others, [deviceId]: shown.keys };
      return { ...answer, device_keys: { ...answer.device_keys, [first.userId]: devices } };
    },
  });
  const ledger = () => first.core.ok("trust.ledger", { userId: first.userId });
  const told = (kind: string, detail?: string) =>
    eventually(ledger, (entries) =>
      entries.some(
        (one) => one.kind === kind && one.deviceId === deviceId && (detail === undefined || one.detail === detail),
      ),
    );
  // a new device makes the client ask for the keys of all
  await homeserver.server().login(first.account);
  await told("device-removed");
  shown.keys = forged.keys;
  await homeserver.server().login(first.account);
  await told("device-added", forged.ed25519);
  await agree([second, first], flowId);
  const [here] = await ended([first], flowId);
  expect(here).toMatchObject({ code: "m.key_mismatch", byMe: true });
  const uploaded = first.proxy.seen(isSignatures).map((one) => one.requestBody.toString());
  expect(uploaded.filter((body) => body.includes(forged.ed25519))).toEqual([]);
});

test("an edit by a device that nobody vouches for brings its own mark to the message", async () => {
  const [ana, ben] = await Promise.all([homeserver.person("ana"), homeserver.person("ben")]);
  await Promise.all([setUp(ana), setUp(ben)]);
  const roomId = await homeserver.room(ana, [ben]);
  const said = await ana.core.say(roomId, "the account number is 1");
  // once ben's app has asked for her keys, which may take longer than her message
  await ben.core.item(
    roomId,
    ({ body, encryption }) =>
      body === "the account number is 1" && encryption.at === "encrypted" && encryption.shield === "none",
    "a message without a mark",
  );
  // to him this is what a server could do that adds a device to hers
  const slipped = await homeserver.server().login(ana.account);
  const other = await otherClient(homeserver.server(), slipped);
  await other.send(roomId, [ben.userId], "m.room.message", {
    msgtype: "m.text",
    body: "* the account number is 2",
    "m.new_content": { msgtype: "m.text", body: "the account number is 2" },
    "m.relates_to": { rel_type: "m.replace", event_id: said.eventId },
  });
  other.close();
  const item = await ben.core.item(roomId, (one) => one.eventId === said.eventId && one.edited === true);
  expect(item.body).toBe("the account number is 2");
  expect(item.encryption).toEqual({
    at: "encrypted",
    device: slipped.deviceId,
    shield: "red",
    reason: "unsigned-device",
  });
});

test("what an event of one room says of another room's message changes nothing there", async () => {
  const [ana, ben] = await Promise.all([homeserver.person("ana"), homeserver.person("ben")]);
  const here = await homeserver.room(ana, [ben]);
  const elsewhere = await homeserver.room(ana, [ben]);
  const hold = await holdSync(ben);
  const said = await ana.core.say(here, "to stay");
  await ana.core.say(elsewhere, "beside it");
  const forged = (type: string, content: Json) => ({
    event_id: `$forged-${type}`,
    type,
    sender: ben.userId,
    origin_server_ts: Date.now(),
    content,
    unsigned: {},
  });
  // before the message itself: the redaction waits for it
  const rule = ben.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => {
      const answer = body as { rooms?: { join?: Record<string, { timeline: { events: unknown[] } }> } };
      const { [elsewhere]: other, [here]: one } = answer.rooms?.join ?? {};
      if (other === undefined || one === undefined) return body;
      other.timeline.events.unshift(
        forged("m.room.redaction", { redacts: said.eventId }),
        forged("m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: said.eventId, key: "👎" } }),
      );
      return { ...answer, rooms: { ...answer.rooms, join: { [elsewhere]: other, [here]: one } } };
    },
  });
  hold.release();
  await ben.core.message(elsewhere, "beside it");
  const item = await ben.core.event(here, said.eventId);
  expect(rule.used).toBeGreaterThan(0);
  expect(item).toMatchObject({ kind: "text", body: "to stay", reactions: [] });
});

test("keys of users that nobody asked for stop neither a set-up nor a verification", async () => {
  const [ana, ben] = await Promise.all([homeserver.person("ana"), homeserver.person("ben")]);
  for (const { proxy } of [ana, ben])
    proxy.on(isQuery, {
      kind: "rewrite-response",
      json: (body) => {
        const answer = body as { device_keys?: Json; master_keys?: Json };
        const odd = { "no user id": {} };
        return {
          ...answer,
          device_keys: { ...answer.device_keys, ...odd },
          master_keys: { ...answer.master_keys, ...odd },
        };
      },
    });
  await Promise.all([setUp(ana), setUp(ben)]);
  await directChat(ana, ben);
  const flowId = await ready(ana, ben);
  await comparing(ana, ben, flowId);
  await agree([ana, ben], flowId);
  await done([ana, ben], flowId);
});

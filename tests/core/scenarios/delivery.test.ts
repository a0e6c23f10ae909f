import { beforeAll, expect, test } from "vitest";
import { sameAs, sessionOf, startCore, texts } from "../core.ts";
import { eventually, isSync, isToDevice, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";
import type { Exchange, Fault } from "../../homeserver/fault-proxy.ts";

// Keys get through though requests fail, answers are lost and the app is killed. README.md tells which scenario is tested where.
const { person, room, server, proxyFor, account, putState, timeline } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

const isUpload = { method: "POST", path: /\/keys\/upload$/ };
const isQuery = { method: "POST", path: /\/keys\/query$/ };
const isClaim = { method: "POST", path: /\/keys\/claim$/ };
const isKeySharing = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\// };
const failing: Fault = { kind: "status", status: 503, body: { errcode: "M_UNKNOWN" } };

const killed = async (who: Person): Promise<Person> => {
  await who.core.kill();
  return { ...who, core: await startCore({ ...sameAs(who.core), lastStopOrderly: false }) };
};
/** A person whose proxy misbehaves before their app has asked for anything. */
const stranger = async (name: string, prepare: (proxy: Person["proxy"]) => void): Promise<Person> => {
  const mine = await account(name);
  const proxy = await proxyFor();
  prepare(proxy);
  const core = await startCore({ session: sessionOf(mine, server().url), via: proxy.url });
  return { core, account: mine, userId: mine.userId, proxy };
};
/** Every message of the room starts a session of its own, so that every message needs a key sent to all. */
const chattyRoom = async (first: Person, others: Person[]): Promise<string> => {
  const roomId = await room(first, others, { encrypted: false });
  await putState(first.account, roomId, "m.room.encryption", {
    algorithm: "m.megolm.v1.aes-sha2",
    rotation_period_msgs: 1,
  });
  await Promise.all(
    [first, ...others].map((one) =>
      one.core.until(async () => (await one.core.room(roomId)).encrypted, "the room's encryption"),
    ),
  );
  return roomId;
};
const bodyOf = (exchange: Exchange) => JSON.parse(String(exchange.requestBody)) as { messages: Messages };
type Messages = Record<string, Record<string, unknown>>;
const bringsKeys = (exchange: Exchange) => String(exchange.responseBody).includes('"to_device"');

test.each([
  ["the server is overloaded", failing],
  ["the connection is reset", { kind: "drop" }],
  ["the answer is lost", { kind: "drop-response" }],
] as const)("failed upload retried: %s, and the device can be reached all the same", async (_, fault) => {
  let refused: ReturnType<Person["proxy"]["on"]> | undefined;
  const dora = await stranger("dora", (proxy) => {
    refused = proxy.on(isUpload, fault, { times: 2 });
  });
  await dora.proxy.waitFor({ ...isUpload, when: (one) => one.status === 200 && one.outcome === "passed" });
  expect(refused?.used).toBe(2);
  const roomId = await room(ana, [dora]);
  await ana.core.say(roomId, "you can be reached");
  await dora.core.message(roomId, "you can be reached");
  await dora.core.stop();
});

test.each([
  ["claim", isClaim, failing],
  ["claim whose answer is lost", isClaim, { kind: "drop-response" }],
  ["device-key download", isQuery, failing],
  ["device-key download whose answer breaks off", isQuery, { kind: "cut", afterBytes: 10 }],
  ["key sharing", isToDevice, failing],
  ["key sharing whose answer is lost", isToDevice, { kind: "drop-response" }],
] as const)("failed %s retried: the message is sent once, and read", async (_, match, fault) => {
  const dora = await person("dora");
  ana.proxy.clear();
  const refused = ana.proxy.on(match, fault, { times: 2 });
  const roomId = await room(ana, [dora]);
  const itemId = await ana.core.send(roomId, "patience");
  await ana.core.sent(roomId, itemId);
  expect(refused.used).toBe(2);
  await dora.core.message(roomId, "patience");
  await ana.core.sync();
  expect(texts(await ana.core.load(roomId))).toEqual(["patience"]);
  expect(texts(await dora.core.load(roomId))).toEqual(["patience"]);
  ana.proxy.clear();
  await dora.core.stop();
});

test("a key that was sent twice, since the first answer was lost, is the same request to the server", async () => {
  const roomId = await room(ana, [ben]);
  ana.proxy.clear();
  ana.proxy.on(isKeySharing, { kind: "drop-response" }, { times: 1 });
  await ana.core.say(roomId, "once");
  const tries = ana.proxy.seen(isKeySharing);
  expect(tries.length).toBe(2);
  expect(new Set(tries.map((one) => one.path)).size).toBe(1);
  expect(new Set(tries.map((one) => String(one.requestBody))).size).toBe(1);
  ana.proxy.clear();
  await ben.core.message(roomId, "once");
});

test("in order: 120 keys that waited on the server come in more than one sync, and all are taken", async () => {
  const roomId = await chattyRoom(ana, [ben]);
  await ben.core.stop();
  const wanted = Array.from({ length: 120 }, (_, n) => `session ${n}`);
  const ids: string[] = [];
  for (const body of wanted) ids.push(await ana.core.send(roomId, body));
  await ana.core.sent(roomId, ids.at(-1) ?? "");
  ben.proxy.clear();
  ben = { ...ben, core: await startCore(sameAs(ben.core)) };
  await eventually(
    async () => texts(await ben.core.history(roomId)),
    (read) => read.length === wanted.length,
  );
  expect(texts(await ben.core.history(roomId))).toEqual(wanted);
  expect(ben.proxy.seen(isSync).filter(bringsKeys).length).toBeGreaterThan(1);
});

test("not lost on restart: killed as the keys arrive, again and again, it reads every message", async () => {
  const roomId = await chattyRoom(ana, [ben]);
  const wanted: string[] = [];
  for (let round = 0; round < 6; round++) {
    const before = new Set(ben.proxy.seen(isSync).filter((one) => one.endedMs !== undefined));
    const body = `round ${round}`;
    const itemId = await ana.core.send(roomId, body);
    wanted.push(body);
    await ben.proxy.waitFor({ ...isSync, when: (one) => bringsKeys(one) && !before.has(one) });
    // at once, then a little later each time: before, in and after the taking of what came
    for (let turns = 0; turns < round * 4; turns++) await new Promise((resolve) => setImmediate(resolve));
    ben = await killed(ben);
    await ana.core.sent(roomId, itemId);
  }
  for (const body of wanted) await ben.core.message(roomId, body);
  expect(texts(await ben.core.history(roomId))).toEqual(wanted);
});

test("not lost when keys/query fails: a key of a device that cannot be looked up is taken, and read with", async () => {
  const roomId = await room(ana, [ben]);
  ben.proxy.clear();
  const blocked = ben.proxy.on(isQuery, failing);
  const second = await person("ana", await server().login(ana.account));
  await second.core.say(roomId, "from a device you do not know");
  const read = await ben.core.message(roomId, "from a device you do not know");
  // the key came with the device's own signed word of who it is, and with nobody else's
  expect(read.encryption).toMatchObject({ at: "encrypted", device: second.account.deviceId });
  expect(["grey", "red"]).toContain(read.encryption.at === "encrypted" ? read.encryption.shield : undefined);
  blocked.remove();
  await second.core.say(roomId, "and now you do");
  await ben.core.message(roomId, "and now you do");
  await second.core.stop();
});

test("killed before the answer of keys/upload, the device can be reached after the start", async () => {
  let dora = await stranger("dora", (proxy) => {
    proxy.on(isUpload, { kind: "drop-response" }, { times: 1 });
  });
  await dora.proxy.waitFor({ ...isUpload, when: (one) => one.outcome === "answer-dropped" });
  dora = await killed(dora);
  await dora.core.sync();
  const roomId = await room(ana, [dora]);
  await ana.core.say(roomId, "after the kill");
  await dora.core.message(roomId, "after the kill");
  await dora.core.stop();
});

test("killed before the answer of sendToDevice, the message goes out once after the start, and is read", async () => {
  let dora = await person("dora");
  const roomId = await room(dora, [ben]);
  dora.proxy.on(isKeySharing, { kind: "drop-response" });
  const itemId = await dora.core.send(roomId, "survives");
  await dora.proxy.waitFor({ ...isKeySharing, when: (one) => one.outcome === "answer-dropped" });
  await dora.core.kill();
  dora.proxy.clear();
  dora = { ...dora, core: await startCore({ ...sameAs(dora.core), lastStopOrderly: false }) };
  await dora.core.sent(roomId, itemId);
  await ben.core.message(roomId, "survives");
  const encrypted = (await timeline(ana.account, roomId).catch(() => timeline(dora.account, roomId))).filter(
    (one) => one.type === "m.room.encrypted",
  );
  expect(encrypted).toHaveLength(1);
  await dora.core.stop();
});

test("killed before the answer of keys/query, the first message reaches everyone after the start", async () => {
  let dora = await person("dora");
  const held = dora.proxy.on(isQuery, { kind: "hold" });
  const roomId = await room(dora, [ben]);
  const itemId = await dora.core.send(roomId, "to those I had to look up");
  await eventually(
    () => held.used,
    (used) => used > 0,
  );
  await dora.core.kill();
  held.remove();
  dora = { ...dora, core: await startCore({ ...sameAs(dora.core), lastStopOrderly: false }) };
  await dora.core.sent(roomId, itemId);
  await ben.core.message(roomId, "to those I had to look up");
  await dora.core.stop();
});

test("fallback key used when one-time keys run out: whoever writes first finds a key, and is read", async () => {
  const dora = await person("dora");
  await dora.proxy.waitFor({
    ...isUpload,
    when: (one) => one.status === 200 && String(one.requestBody).includes('"fallback":true'),
  });
  const roomId = await room(ana, [dora]);
  await dora.core.stop();
  const { oneTime } = await server().claimAllOneTimeKeysOf(dora.account);
  expect(oneTime.length).toBeGreaterThan(0);
  ana.proxy.clear();
  await ana.core.say(roomId, "on the last key");
  const claims = ana.proxy.seen(isClaim).map((one) => String(one.responseBody));
  expect(claims.some((answer) => answer.includes('"fallback":true') && answer.includes(dora.account.deviceId))).toBe(
    true,
  );
  const back = await startCore(sameAs(dora.core));
  await back.message(roomId, "on the last key");
  await back.stop();
});

test("a key goes to each device of each member, and to no other", async () => {
  const dora = await person("dora");
  const second = await person("ben", await server().login(ben.account));
  const roomId = await room(dora, [ben]);
  dora.proxy.clear();
  await dora.core.say(roomId, "for members");
  const to = dora.proxy.seen(isKeySharing).flatMap((one) => Object.entries(bodyOf(one).messages));
  expect(to.flatMap(([userId, devices]) => Object.keys(devices).map((id) => `${userId} ${id}`)).sort()).toEqual(
    [ben.account, second.account].map((one) => `${one.userId} ${one.deviceId}`).sort(),
  );
  await Promise.all([dora.core.stop(), second.core.stop()]);
});

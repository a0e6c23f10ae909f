import { generateKeyPairSync } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { eventually, isSync, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";
import type { Exchange } from "../../homeserver/fault-proxy.ts";
import { madeUpDevice, madeUpDevices, madeUpIdentity, signedBy } from "../../homeserver/made-up-devices.ts";

// What a hostile server, or a hostile person through it, may put before us. README.md has the list.
const { person, room, server } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

const isQuery = { method: "POST", path: /\/keys\/query$/ };
const isClaim = { method: "POST", path: /\/keys\/claim$/ };
const isKeySharing = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\// };

type Json = Record<string, unknown>;
type Queried = { device_keys: Record<string, Json> } & Record<string, Record<string, Json>>;
type ToDevice = {
  type: string;
  sender: string;
  content: { ciphertext?: Record<string, { type: number; body: string }> };
};
type Sync = { to_device?: { events: ToDevice[] }; rooms?: { join?: Record<string, { timeline: { events: Json[] } }> } };
const requested = (exchange: Exchange) =>
  (JSON.parse(String(exchange.requestBody)) as { device_keys: Json }).device_keys;
/** Changes what keys/query answers of one user. */
const answerOf = (who: Person, of: string, change: (answer: Queried) => void) =>
  who.proxy.on(isQuery, {
    kind: "rewrite-response",
    json: (body, exchange) => {
      const answer = body as Queried;
      if (requested(exchange)[of] !== undefined) change(answer);
      return answer;
    },
  });
const onSync = (who: Person, change: (sync: Sync) => void) =>
  who.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => {
      change(body as Sync);
      return body;
    },
  });
const olmMessageOf = (event: ToDevice) => Object.values(event.content.ciphertext ?? {})[0];
/** The devices that were given a room key. */
const given = (who: Person) =>
  who.proxy
    .seen(isKeySharing)
    .flatMap((one) =>
      Object.entries((JSON.parse(String(one.requestBody)) as { messages: Record<string, Json> }).messages),
    )
    .flatMap(([userId, devices]) => Object.keys(devices).map((deviceId) => `${userId} ${deviceId}`));

test("spoofed sender: an event that the server gives to somebody else is not read as theirs without a red shield", async () => {
  const cem = await person("cem");
  const roomId = await room(ana, [ben, cem]);
  const spoof = onSync(ben, (sync) => {
    for (const joined of Object.values(sync.rooms?.join ?? {}))
      for (const event of joined.timeline.events)
        if (event["type"] === "m.room.encrypted" && event["sender"] === ana.userId) event["sender"] = cem.userId;
  });
  const said = await ana.core.say(roomId, "by ana");
  const seen = await ben.core.item(
    roomId,
    (item) => item.eventId === said.eventId && (item.undecryptable?.lastTryMs ?? 1) > 0,
  );
  spoof.remove();
  expect(seen.sender).toBe(cem.userId);
  if (seen.kind === "undecryptable") expect(seen.undecryptable?.reason).toBe("malformed");
  else expect(seen.encryption).toMatchObject({ shield: "red", reason: "mismatched-sender" });
  await cem.core.stop();
});

test("spoofed sender: a key that the server says somebody else sent is not taken", async () => {
  const dora = await person("dora");
  const roomId = await room(ana, [dora]);
  const spoof = onSync(dora, (sync) => {
    for (const event of sync.to_device?.events ?? []) if (event.sender === ana.userId) event.sender = ben.userId;
  });
  const said = await ana.core.say(roomId, "whose key is it");
  const seen = await dora.core.item(
    roomId,
    (item) => item.eventId === said.eventId && (item.undecryptable?.lastTryMs ?? 1) > 0,
  );
  expect(seen.undecryptable?.reason).toBe("missing-key");
  spoof.remove();
  await dora.core.stop();
});

test("a bad pre-key message does not cost the one-time key: the good one after it is read", async () => {
  const dora = await person("dora");
  const roomId = await room(ana, [dora]);
  const good: ToDevice[] = [];
  const spoil = onSync(dora, (sync) => {
    for (const event of sync.to_device?.events ?? []) {
      const message = olmMessageOf(event);
      if (message?.type !== 0) continue;
      good.push(structuredClone(event));
      // within the ciphertext's check sum, which ends the message
      const at = message.body.length - 6;
      message.body = `${message.body.slice(0, at)}${message.body[at] === "A" ? "B" : "A"}${message.body.slice(at + 1)}`;
    }
  });
  await ana.core.say(roomId, "on its way");
  await eventually(
    () => good.length,
    (found) => found > 0,
  );
  await dora.core.sync();
  spoil.remove();
  expect((await dora.core.load(roomId)).filter((item) => item.kind === "text")).toEqual([]);
  const bring = onSync(dora, (sync) => {
    (sync.to_device ??= { events: [] }).events.push(...good.splice(0));
  });
  await dora.core.sync();
  await dora.core.message(roomId, "on its way");
  bring.remove();
  await dora.core.stop();
});

test("one-time key used twice is refused; a session of one's own brings the refused one back", async () => {
  const [dora, eva] = await Promise.all([person("dora"), person("eva")]);
  const [first, second] = [await room(ana, [dora]), await room(eva, [dora])];
  await ana.core.say(first, "the first on this key");
  await dora.core.message(first, "the first on this key");
  const claimed = ana.proxy
    .seen(isClaim)
    .map((one) => JSON.parse(String(one.responseBody)) as { one_time_keys: Record<string, unknown> })
    .findLast((answer) => answer.one_time_keys[dora.userId] !== undefined);
  const twice = eva.proxy.on(
    { ...isClaim, when: (one) => String(one.requestBody).includes(dora.userId) },
    { kind: "rewrite-response", json: () => ({ one_time_keys: claimed?.one_time_keys, failures: {} }) },
    { times: 1 },
  );
  const said = await eva.core.say(second, "on a key that is spent");
  expect(twice.used).toBe(1);
  const refused = await dora.core.item(
    second,
    (item) => item.eventId === said.eventId && (item.undecryptable?.lastTryMs ?? 1) > 0,
  );
  expect(refused.undecryptable?.reason).toBe("missing-key");
  // dora's answer begins a session that both have, and eva uses the newest
  await dora.core.say(second, "I could not read that");
  await eva.core.message(second, "I could not read that");
  const third = await room(eva, [dora]);
  await eva.core.say(third, "on a session of yours");
  await dora.core.message(third, "on a session of yours");
  await Promise.all([dora.core.stop(), eva.core.stop()]);
});

test("malformed device keys, wrong signatures and keys of another user get no room key, and stop nobody from getting one", async () => {
  const dora = await person("dora");
  const roomId = await room(ana, [ben, dora]);
  const lent = madeUpDevice(ben.userId, "LENT").deviceKeys;
  const stranger = generateKeyPairSync("ed25519").privateKey;
  const keys: Json = madeUpDevice(dora.userId, "REAL").deviceKeys;
  ana.proxy.clear();
  const answered = answerOf(ana, dora.userId, (answer) => {
    const devices = (answer.device_keys[dora.userId] ??= {});
    const as = (deviceId: string) => ({
      user_id: dora.userId,
      device_id: deviceId,
      algorithms: keys["algorithms"],
      keys: Object.fromEntries(
        Object.entries((keys["keys"] ?? {}) as Json).map(([id, key]) => [id.replace("REAL", deviceId), key]),
      ),
    });
    Object.assign(devices, {
      NULL: null,
      NUMBER: 5,
      LIST: [],
      EMPTY: {},
      NOKEYS: { ...as("NOKEYS"), keys: {} },
      ODDKEYS: { ...as("ODDKEYS"), keys: { "curve25519:ODDKEYS": 7, "ed25519:ODDKEYS": "not base64!" } },
      UNSIGNED: as("UNSIGNED"),
      BADSIGNATURE: { ...as("BADSIGNATURE"), signatures: { [dora.userId]: { "ed25519:BADSIGNATURE": "AAAA" } } },
      FORGED: signedBy(stranger, dora.userId, "FORGED", as("FORGED")),
      OTHERNAME: keys,
      LENT: lent,
    });
    answer.device_keys["@nobody:asked.test"] = { LENT: lent };
    answer.device_keys["no user id"] = {};
  });
  // a further device makes the server say that the list has changed, so that the answer above is what ana's app learns
  const second = await person("dora", await server().login(dora.account));
  await ana.core.sync();
  await ana.core.say(roomId, "for the real ones");
  expect(answered.used).toBeGreaterThan(0);
  await Promise.all([ben, dora, second].map((one) => one.core.message(roomId, "for the real ones")));
  expect(given(ana).sort()).toEqual(
    [ben, dora, second].map(({ userId, account }) => `${userId} ${account.deviceId}`).sort(),
  );
  await Promise.all([dora.core.stop(), second.core.stop()]);
});

test("keys that the server puts in the place of a known device's are not believed: the real one reads on", async () => {
  const dora = await person("dora");
  const roomId = await room(ana, [dora]);
  await ana.core.say(roomId, "before");
  await dora.core.message(roomId, "before");
  const { deviceKeys: forged } = madeUpDevice(dora.userId, dora.account.deviceId);
  const rule = answerOf(ana, dora.userId, (answer) => {
    answer.device_keys[dora.userId] = { [dora.account.deviceId]: forged };
  });
  const second = await person("dora", await server().login(dora.account));
  await eventually(
    () => rule.used,
    (used) => used > 0,
  );
  await ana.core.say(roomId, "after the swap");
  // what was known first stays: the real device reads on
  await dora.core.message(roomId, "after the swap");
  rule.remove();
  await Promise.all([dora.core.stop(), second.core.stop()]);
});

test("a replaced master key in keys/query (man in the middle) verifies nothing and is shown", async () => {
  const [eva, finn] = await Promise.all([person("eva"), person("finn")]);
  for (const one of [eva, finn])
    await one.core.ok("trust.setUp", { password: one.account.password, recovery: { kind: "key" } });
  const roomId = await room(eva, [finn]);
  await eva.core.say(roomId, "hello");
  await finn.core.message(roomId, "hello");
  const identityOf = async () => await eva.core.ok("trust.user", { userId: finn.userId });
  const before = await eva.core.until(async () => {
    const now = await identityOf();
    return now.identity === "pinned" && now;
  }, "finn's identity");
  const { master, selfSigning } = madeUpIdentity(finn.userId);
  const rule = answerOf(eva, finn.userId, (answer) => {
    (answer["master_keys"] ??= {})[finn.userId] = master;
    (answer["self_signing_keys"] ??= {})[finn.userId] = selfSigning;
  });
  await server().login(finn.account);
  const after = await eva.core.until(async () => {
    const now = await identityOf();
    return now.identity !== "pinned" && now;
  }, "that it changed");
  expect(after.identity).toBe("changed");
  expect(after.fingerprint).not.toBe(before.fingerprint);
  const devices = await eva.core.ok("devices.list", { userId: finn.userId });
  expect(devices.length).toBeGreaterThan(0);
  // no device of finn's is signed by what the server made up
  expect(devices.filter((device) => device.verified || device.signedByOwner)).toEqual([]);
  rule.remove();
  await Promise.all([eva.core.stop(), finn.core.stop()]);
});

/** Joined, with no app behind it: its devices are those that the proxy makes up. */
const crowd = async (count: number, oneTimeKeys: boolean) => {
  const eva = await person("eva");
  const roomId = await room(ana, [ben, eva]);
  await eva.core.stop();
  const devices = madeUpDevices(eva.userId, count);
  const byId = Object.fromEntries(devices.map((device) => [device.deviceId, device.deviceKeys]));
  const rules = [
    answerOf(ana, eva.userId, (answer) => {
      answer.device_keys[eva.userId] = byId;
    }),
    ana.proxy.on(isClaim, {
      kind: "rewrite-response",
      json: (body, exchange) => {
        const asked = (JSON.parse(String(exchange.requestBody)) as { one_time_keys: Record<string, Json> })
          .one_time_keys;
        const answer = body as { one_time_keys: Record<string, Json> };
        if (oneTimeKeys && asked[eva.userId] !== undefined)
          answer.one_time_keys[eva.userId] = Object.fromEntries(
            devices.map((device) => [device.deviceId, device.oneTimeKey()]),
          );
        return answer;
      },
    }),
  ];
  // a device that is new on the server makes it say that eva's list has changed
  await server().login(eva.account);
  await ana.core.sync();
  const done = () => {
    for (const rule of rules) rule.remove();
  };
  return { roomId, eva, done };
};

test("to-device messages are batched: 600 devices of a room take few requests, not one each", async () => {
  const { roomId, eva, done } = await crowd(600, true);
  const before = ana.proxy.seen(isKeySharing).length;
  await ana.core.say(roomId, "to many");
  await ben.core.message(roomId, "to many");
  const to = given(ana).filter((name) => name.startsWith(eva.userId));
  // what was asked for before stands beside it, to tell a session that was not begun from a key that was not sent
  const claimed = ana.proxy
    .seen(isClaim)
    .map((one) => (JSON.parse(String(one.requestBody)) as { one_time_keys: Record<string, Json> }).one_time_keys)
    .map((asked) => Object.keys(asked[eva.userId] ?? {}).length)
    .filter((count) => count > 0);
  expect({ given: new Set(to).size, times: to.length, claimed }).toEqual({ given: 600, times: 600, claimed: [600] });
  expect(ana.proxy.seen(isKeySharing).length - before).toBeLessThanOrEqual(5);
  done();
});

const crowdSize = process.env["TESSERA_FULL"] === "1" ? 10_000 : 1000;
test(
  "10,000 devices of one user: the message is sent, the others read it, and the app answers meanwhile",
  { timeout: 600_000 },
  async () => {
    const { roomId, done } = await crowd(crowdSize, false);
    const sending = ana.core.send(roomId, "to a crowd").then((itemId) => ana.core.sent(roomId, itemId));
    let answered = 0;
    const asking = (async () => {
      while (!(await Promise.race([sending.then(() => true), ana.core.ok("rooms.list", {}).then(() => false)])))
        answered++;
    })();
    await Promise.all([sending, asking]);
    expect(answered).toBeGreaterThan(1);
    await ben.core.message(roomId, "to a crowd");
    await ana.core.sync();
    done();
  },
);

import { beforeAll, expect, test } from "vitest";
import { restarted } from "../core.ts";
import { isToDevice, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// What is told of a message that cannot be read, and how it is tried again. README.md has the list.
const { person, room, server, event } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

/** Said by ana, with its key lost on the way: the server took it and gave it to nobody. */
const withoutKey = async (roomId: string, body: string) => {
  const lost = ana.proxy.on(isToDevice, { kind: "status", status: 200, body: {} }, { times: 1 });
  const said = await ana.core.say(roomId, body);
  expect(lost.used).toBe(1);
  return said.eventId ?? "";
};
const rowOf = async (who: Person, roomId: string, eventId: string) =>
  await who.core.item(roomId, (item) => item.eventId === eventId && (item.undecryptable?.lastTryMs ?? 0) > 0);

test("a missing key: since when, tried when, tried next when, which device sent it, and who is awaited", async () => {
  const roomId = await room(ana, [ben]);
  const before = Date.now();
  const item = await rowOf(ben, roomId, await withoutKey(roomId, "without its key"));
  const { sinceMs, lastTryMs, nextTryMs, ...rest } = item.undecryptable ?? { sinceMs: 0, lastTryMs: 0 };
  expect(rest).toEqual({ reason: "missing-key", tried: [], awaits: ["sender"], device: ana.account.deviceId });
  expect(sinceMs).toBeGreaterThanOrEqual(before);
  expect(lastTryMs).toBeGreaterThanOrEqual(sinceMs);
  expect(nextTryMs).toBeGreaterThan(lastTryMs);
});

test("it is tried again by itself when its time has come, after a restart too, and each time later", async () => {
  const roomId = await room(ana, [ben]);
  const eventId = await withoutKey(roomId, "without its key");
  const first = (await rowOf(ben, roomId, eventId)).undecryptable;
  const from = ben.core.events.length;
  await ben.core.nextEvent(
    "timeline.changed",
    ({ items }) =>
      items.some((item) => item.eventId === eventId && (item.undecryptable?.lastTryMs ?? 0) > (first?.lastTryMs ?? 0)),
    from,
  );
  const second = (await rowOf(ben, roomId, eventId)).undecryptable;
  expect(second?.lastTryMs).toBeGreaterThanOrEqual(first?.nextTryMs ?? Infinity);
  expect((second?.nextTryMs ?? 0) - (second?.lastTryMs ?? 0)).toBeGreaterThan(
    (first?.nextTryMs ?? 0) - (first?.lastTryMs ?? 0),
  );
  expect(second?.sinceMs).toBe(first?.sinceMs);
  ben = { ...ben, core: await restarted(ben.core) };
  const third = await ben.core.item(
    roomId,
    (item) => item.eventId === eventId && (item.undecryptable?.lastTryMs ?? 0) > (second?.lastTryMs ?? 0),
  );
  // the start tried it out of turn: the plan stays
  expect(third.undecryptable).toMatchObject({ sinceMs: first?.sinceMs, nextTryMs: second?.nextTryMs });
});

test("timeline.retryDecryption tries at once, says when, and leaves the plan as it is", async () => {
  const roomId = await room(ana, [ben]);
  const eventId = await withoutKey(roomId, "without its key");
  const { itemId, undecryptable: before } = await rowOf(ben, roomId, eventId);
  await ben.core.ok("timeline.retryDecryption", { roomId, itemId });
  const { undecryptable: after } = await rowOf(ben, roomId, eventId);
  expect(after?.lastTryMs).toBeGreaterThanOrEqual(before?.lastTryMs ?? Infinity);
  expect(after?.reason).toBe("missing-key");
  expect(after?.sinceMs).toBe(before?.sinceMs);
});

const withheld = async (code: string) => {
  const roomId = await room(ana, [ben]);
  const eventId = await withoutKey(roomId, "withheld");
  await rowOf(ben, roomId, eventId);
  const wire = await event(ana.account, roomId, eventId);
  const answer = await server().api<{
    device_keys: Record<string, Record<string, { keys: Record<string, string> }>>;
  }>("POST", "v3/keys/query", { token: ana.account.accessToken, body: { device_keys: { [ana.userId]: [] } } });
  const senderKey = answer.device_keys[ana.userId]?.[ana.account.deviceId]?.keys[`curve25519:${ana.account.deviceId}`];
  await server().api("PUT", `v3/sendToDevice/m.room_key.withheld/${code}-${Date.now()}`, {
    token: ana.account.accessToken,
    body: {
      messages: {
        [ben.userId]: {
          [ben.account.deviceId]: {
            algorithm: "m.megolm.v1.aes-sha2",
            room_id: roomId,
            session_id: wire.content["session_id"],
            sender_key: senderKey,
            code,
          },
        },
      },
    },
  });
  return { roomId, eventId };
};

test("withheld for a device that is unsigned: where our own device is not signed, that is what is said", async () => {
  const { roomId, eventId } = await withheld("m.unverified");
  const item = await ben.core.item(
    roomId,
    (one) => one.eventId === eventId && one.undecryptable?.reason !== "missing-key",
  );
  expect(item.undecryptable?.reason).toBe("withheld-unsigned");
  expect(item.undecryptable).not.toHaveProperty("nextTryMs");
});

test.each(["m.blacklisted", "m.unauthorised"])("%s is withheld, and no next try is planned", async (code) => {
  const { roomId, eventId } = await withheld(code);
  const item = await ben.core.item(
    roomId,
    (one) => one.eventId === eventId && one.undecryptable?.reason !== "missing-key",
  );
  expect(item.undecryptable).toMatchObject({ reason: "withheld", awaits: [] });
  expect(item.undecryptable).not.toHaveProperty("nextTryMs");
});

test("withheld for a device that is signed: the sender wants us verified", async () => {
  await ben.core.ok("trust.setUp", { password: ben.account.password, recovery: { kind: "key" } });
  const { roomId, eventId } = await withheld("m.unverified");
  const item = await ben.core.item(
    roomId,
    (one) => one.eventId === eventId && one.undecryptable?.reason !== "missing-key",
  );
  expect(item.undecryptable?.reason).toBe("withheld-unverified");
});

import { beforeAll, expect, test } from "vitest";
import { restarted } from "../core.ts";
import { eventually, isSync, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// Keys are asked of, and given to, one's own verified devices. README.md has the list.
const { person, room, server } = useHomeserver();
let ana: Person;
let ben: Person;
let recoveryKey: string;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
  ({ recoveryKey } = await ben.core.ok("trust.setUp", {
    password: ben.account.password,
    recovery: { kind: "key" },
  }));
});

const isRequest = { method: "PUT", path: /\/sendToDevice\/m\.room_key_request\// };
const isKeySharing = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\// };
const signIn = async (): Promise<Person> => await person("second", await server().login(ben.account));
const isBackupRead = { method: "GET", path: /\/room_keys\/keys/ };
const recover = async (who: Person) => {
  // the backup of the other device would often be as quick as its answer
  who.proxy.on(isBackupRead, { kind: "status", status: 404, body: { errcode: "M_NOT_FOUND" } });
  expect(await who.core.ok("trust.recover", { recoveryKey })).toEqual({ missing: [] });
};
const unread = async (who: Person, roomId: string) =>
  (await who.core.history(roomId)).filter((item) => item.kind === "undecryptable");

test("a device that becomes verified asks the others, gets the key in a moment, and its rows repair in place", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "before the second device");
  await ben.core.message(roomId, "before the second device");
  const second = await signIn();
  const [before] = await unread(second, roomId);
  expect(before?.undecryptable).toMatchObject({ tried: [], awaits: [] });
  expect(second.proxy.seen(isRequest)).toEqual([]);
  const from = second.core.events.length;
  await recover(second);
  const repaired = await second.core.message(roomId, "before the second device");
  expect(repaired.itemId).toBe(before?.itemId);
  await second.core.nextEvent(
    "timeline.changed",
    ({ items }) => items.some((item) => item.itemId === before?.itemId && item.kind === "text"),
    from,
  );
  expect(second.proxy.seen(isRequest).length).toBeGreaterThan(0);
  await second.core.stop();
});

test("an unverified device of one's own gets nothing, however often it asks", async () => {
  const roomId = await room(ana, [ben]);
  const said = await ana.core.say(roomId, "not for a stranger with my password");
  await ben.core.message(roomId, "not for a stranger with my password");
  const second = await signIn();
  await eventually(
    () => unread(second, roomId),
    (items) => items.length === 1,
  );
  ben.proxy.clear();
  // what an app that asks all the same would send
  const wire = await server().api<{ content: { session_id: string; sender_key?: string } }>(
    "GET",
    `v3/rooms/${encodeURIComponent(roomId)}/event/${encodeURIComponent(said.eventId ?? "")}`,
    { token: ben.account.accessToken },
  );
  for (let n = 0; n < 3; n++)
    await server().api("PUT", `v3/sendToDevice/m.room_key_request/ask-${n}`, {
      token: second.account.accessToken,
      body: {
        messages: {
          [ben.userId]: {
            [ben.account.deviceId]: {
              action: "request",
              requesting_device_id: second.account.deviceId,
              request_id: `ask-${n}`,
              body: {
                algorithm: "m.megolm.v1.aes-sha2",
                room_id: roomId,
                session_id: wire.content.session_id,
                ...(wire.content.sender_key === undefined ? {} : { sender_key: wire.content.sender_key }),
              },
            },
          },
        },
      },
    });
  await ben.proxy.waitFor({ ...isSync, when: (one) => String(one.responseBody).includes("ask-2") });
  await ben.core.sync();
  await ben.core.sync();
  const given = ben.proxy.seen(isKeySharing).map((one) => String(one.requestBody));
  expect(given.filter((body) => body.includes(second.account.deviceId))).toEqual([]);
  expect(await unread(second, roomId)).toHaveLength(1);
  await second.core.stop();
});

test("a verified device that is away is asked; the row says so, and repairs when it comes back", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "for later");
  await ben.core.message(roomId, "for later");
  await ben.core.stop();
  const second = await signIn();
  await recover(second);
  const item = await second.core.until(
    async () => (await unread(second, roomId)).find((one) => one.undecryptable?.tried.includes("own-devices")),
    "that it asked",
  );
  expect(item.undecryptable?.awaits).toContain("own-devices");
  expect(item.undecryptable?.device).toBe(ana.account.deviceId);
  ben = { ...ben, core: await restarted(ben.core) };
  await second.core.message(roomId, "for later");
  await second.core.stop();
});

test("a verified device gives what it has to another one that asks, and to no other person", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "ours");
  await ben.core.message(roomId, "ours");
  const second = await signIn();
  ben.proxy.clear();
  await recover(second);
  await second.core.message(roomId, "ours");
  // the keys of other rooms may be on their way still, and their bodies with them
  const shared = await eventually(
    () => ben.proxy.seen(isKeySharing),
    (all) => all.length > 0 && all.every((one) => one.endedMs !== undefined),
  );
  const given = shared.flatMap((one) =>
    Object.keys((JSON.parse(String(one.requestBody)) as { messages: object }).messages),
  );
  expect(new Set(given)).toEqual(new Set([ben.userId]));
  await second.core.stop();
});

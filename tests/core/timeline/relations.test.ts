import { beforeAll, expect, test } from "vitest";
import { restarted } from "../core.ts";
import { holdSync, isToDevice, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

const { person, room, put, event, server } = useHomeserver();
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

test("a redacted message is gone on both sides, and for good", async () => {
  const roomId = await room(ana, [ben]);
  const said = await ana.core.say(roomId, "to be taken back");
  await ben.core.message(roomId, "to be taken back");
  await ana.core.ok("timeline.redact", { roomId, itemId: said.itemId, reason: "wrong room" });
  for (const who of [ana, ben]) {
    const item = await who.core.item(roomId, (one) => one.eventId === said.eventId && one.kind === "redacted");
    expect(item).toMatchObject({ body: "", itemId: who === ana ? said.itemId : said.eventId });
  }
  ben = { ...ben, core: await restarted(ben.core) };
  expect((await ben.core.event(roomId, said.eventId)).kind).toBe("redacted");
});

test("an own message is redacted by its item id before it came back from the server", async () => {
  const roomId = await room(ana, [ben]);
  const hold = await holdSync(ana);
  const itemId = await ana.core.send(roomId, "quickly taken back");
  await ana.core.sent(roomId, itemId);
  await ana.core.ok("timeline.redact", { roomId, itemId });
  hold.release();
  expect((await ana.core.item(roomId, (item) => item.itemId === itemId && item.kind === "redacted")).body).toBe("");
});

test("edits and reactions of another client change the item they point at", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  const said = await ana.core.say(roomId, "helo");
  await put(ana.account, roomId, "m.room.message", {
    msgtype: "m.text",
    body: "* hello",
    "m.new_content": { msgtype: "m.text", body: "hello" },
    "m.relates_to": { rel_type: "m.replace", event_id: said.eventId },
  });
  const react = (who: Person, key: string) =>
    put(who.account, roomId, "m.reaction", {
      "m.relates_to": { rel_type: "m.annotation", event_id: said.eventId, key },
    });
  await react(ben, "👍");
  const second = await react(ana, "👍");
  const item = await ben.core.item(
    roomId,
    (one) => one.edited === true && (one.reactions[0]?.senders.length ?? 0) === 2,
  );
  expect(item).toMatchObject({ body: "hello", edited: true, kind: "text" });
  expect(item.reactions).toEqual([
    { key: "👍", senders: expect.arrayContaining([ana.userId, ben.userId]) as string[] },
  ]);
  expect((await ben.core.load(roomId)).filter((one) => one.kind === "text")).toHaveLength(1);
  await ana.core.ok("timeline.redact", { roomId, itemId: second }).catch(() => undefined);
  await server().api("PUT", `v3/rooms/${roomId}/redact/${encodeURIComponent(second)}/r1`, {
    token: ana.account.accessToken,
    body: {},
  });
  await ben.core.item(roomId, (one) => one.eventId === said.eventId && one.reactions[0]?.senders.length === 1);
});

test("nobody edits what another wrote", async () => {
  const roomId = await room(ana, [ben], { encrypted: false });
  const said = await ana.core.say(roomId, "as I said");
  await put(ben.account, roomId, "m.room.message", {
    msgtype: "m.text",
    body: "* never said",
    "m.new_content": { msgtype: "m.text", body: "never said" },
    "m.relates_to": { rel_type: "m.replace", event_id: said.eventId },
  });
  await ben.core.say(roomId, "afterwards");
  await ana.core.message(roomId, "afterwards");
  const item = await ana.core.event(roomId, said.eventId);
  expect(item).toMatchObject({ body: "as I said" });
  expect(item.edited).toBeUndefined();
});

test("an edit in clear of an encrypted message, which a server could make up, changes nothing", async () => {
  const roomId = await room(ana, [ben]);
  const said = await ana.core.say(roomId, "the account number is 1");
  await put(ana.account, roomId, "m.room.message", {
    msgtype: "m.text",
    body: "* the account number is 2",
    "m.new_content": { msgtype: "m.text", body: "the account number is 2" },
    "m.relates_to": { rel_type: "m.replace", event_id: said.eventId },
  });
  await ana.core.say(roomId, "afterwards");
  await ben.core.message(roomId, "afterwards");
  const item = await ben.core.event(roomId, said.eventId);
  expect(item.body).toBe("the account number is 1");
  expect(item.edited).toBeUndefined();
});

test("a ciphertext sent again under a second event id is shown as replayed, after a restart too", async () => {
  const roomId = await room(ana, [ben]);
  const said = await ana.core.say(roomId, "pay ten");
  const wire = await event(ana.account, roomId, said.eventId ?? "");
  const again = await put(ana.account, roomId, "m.room.encrypted", wire.content);
  expect(await ben.core.event(roomId, again)).toMatchObject({ kind: "text", body: "pay ten", replayed: true });
  expect((await ben.core.event(roomId, said.eventId)).replayed).toBeUndefined();
  ben = { ...ben, core: await restarted(ben.core) };
  const third = await put(ana.account, roomId, "m.room.encrypted", wire.content);
  const item = await ben.core.item(roomId, (one) => one.eventId === third && one.kind === "text");
  expect(item.replayed).toBe(true);
});

test("a message whose key did not arrive says so and holds up nothing", async () => {
  const roomId = await room(ana, [ben]);
  const lost = ana.proxy.on(isToDevice, { kind: "status", status: 200, body: {} }, { times: 1 });
  const said = await ana.core.say(roomId, "without its key");
  expect(lost.used).toBe(1);
  const item = await ben.core.event(roomId, said.eventId);
  expect(item).toMatchObject({ kind: "undecryptable", body: "", undecryptable: { reason: "missing-key", tried: [] } });
  expect(item.encryption).toMatchObject({ at: "encrypted" });
  await ben.core.say(roomId, "from the other side");
  expect((await ana.core.message(roomId, "from the other side")).kind).toBe("text");
});

test("reasons: what was never a Megolm message is malformed, what was sent before this device existed has no backup", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "before the new device");
  const broken = [
    await put(ana.account, roomId, "m.room.encrypted", {
      algorithm: "m.megolm.v1.aes-sha2",
      ciphertext: "no base64 at all!",
      session_id: "abc",
      sender_key: "x",
      device_id: "y",
    }),
    await put(ana.account, roomId, "m.room.encrypted", {}),
    await put(ana.account, roomId, "m.room.encrypted", { algorithm: 7, ciphertext: { a: 1 }, session_id: ["x"] }),
  ];
  for (const eventId of broken)
    expect(["malformed", "missing-key", "other"]).toContain(
      (await ben.core.event(roomId, eventId)).undecryptable?.reason,
    );
  await ben.core.item(roomId, (item) => item.eventId === broken[0] && item.undecryptable?.reason === "malformed");
  const second = await person("ben", await server().login(ben.account));
  const old = (await second.core.history(roomId)).filter((item) => item.kind === "undecryptable");
  expect(old.map((item) => item.undecryptable?.reason)).toContain("no-backup");
  // whoever has not heard of the new device yet cannot write to it
  await ana.core.sync();
  await ana.core.say(roomId, "to both devices");
  expect((await second.core.message(roomId, "to both devices")).kind).toBe("text");
  await second.core.stop();
});

test("reasons: a key that its sender withholds is withheld, though the message came first", async () => {
  const roomId = await room(ana, [ben]);
  ana.proxy.on(isToDevice, { kind: "status", status: 200, body: {} }, { times: 1 });
  const said = await ana.core.say(roomId, "withheld");
  expect((await ben.core.event(roomId, said.eventId)).undecryptable?.reason).toBe("missing-key");
  const wire = await event(ana.account, roomId, said.eventId ?? "");
  const devices = await server().api<{ device_keys: Record<string, Record<string, { keys: Record<string, string> }>> }>(
    "POST",
    "v3/keys/query",
    {
      token: ana.account.accessToken,
      body: { device_keys: { [ana.userId]: [] } },
    },
  );
  const senderKey = devices.device_keys[ana.userId]?.[ana.account.deviceId]?.keys[`curve25519:${ana.account.deviceId}`];
  await server().api("PUT", "v3/sendToDevice/m.room_key.withheld/w1", {
    token: ana.account.accessToken,
    body: {
      messages: {
        [ben.userId]: {
          "*": {
            algorithm: "m.megolm.v1.aes-sha2",
            room_id: roomId,
            session_id: wire.content["session_id"],
            sender_key: senderKey,
            code: "m.unverified",
            reason: "x",
          },
        },
      },
    },
  });
  const item = await ben.core.item(
    roomId,
    (one) => one.eventId === said.eventId && one.undecryptable?.reason.startsWith("withheld") === true,
  );
  expect(["withheld-unverified", "withheld-unsigned"]).toContain(item.undecryptable?.reason);
});

test("in an encrypted room an event in clear is shown as what it is", async () => {
  const roomId = await room(ana, [ben]);
  await put(ana.account, roomId, "m.room.message", { msgtype: "m.text", body: "somebody's bot" });
  expect(await ben.core.message(roomId, "somebody's bot")).toMatchObject({ encryption: { at: "none" } });
});

import { expect, test, vi } from "vitest";
import { associatedData, open, rootKey, stepKey } from "../../../main/core/features/invites/keys.ts";
import { parseText } from "../../../main/core/features/invites/link.ts";
import { helloSchema, messageTypes, read, toBase64 } from "../../../main/core/features/invites/messages.ts";
import { object, text, type Json } from "../../../main/core/json.ts";
import { opened } from "../../unit/invites/wire.ts";
import type { Letter } from "../../unit/invites/world.ts";
import type { Account } from "../../homeserver/homeserver.ts";
import { restarted } from "../core.ts";
import { otherClient } from "../other-client.ts";
import { isSync, type Person } from "../people.ts";
import { identityOf } from "../verification/verifying.ts";
import { codeHolder, isConfirm, isOpen, isProof, keysOf, lettersIn, put, signaturesFor } from "./code-holder.ts";
import {
  accept,
  chatsWith,
  code,
  dropped,
  expectContacts,
  join,
  joinOf,
  joined,
  useInviting,
  verified,
} from "./inviting.ts";

// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 400_000, hookTimeout: 300_000 });
const { people, someone, twoDevices } = useInviting();

/** Setting up takes long: all tests share Alice's two devices, and leave her as she was but for codes. */
let pair: ReturnType<typeof twoDevices> | undefined;
const alices = () => (pair ??= twoDevices("alice"));
const inviteOf = async ({ core }: Person, tokenId: string) =>
  (await core.ok("invites.list", {})).find((one) => one.tokenId === tokenId);

test("scenario 9: a device whose build knows nothing of it, and another client: nothing to be seen, a warning at most, and sync goes on", async () => {
  const { laptop } = await alices();
  const server = people.server();
  const [old, plainAccount, eve] = await Promise.all([
    server.login(laptop.account).then((account) => people.person("old", account)),
    server.login(laptop.account),
    people.account("eve"),
  ]);
  const plain = await otherClient(server, plainAccount);
  // for a build from before, HELLO has a type that it never heard of; to this one such a type is given instead
  const unknown = "chat.tessera.not-known-yet";
  old.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => JSON.parse(JSON.stringify(body).replaceAll(`"${messageTypes.open}"`, `"${unknown}"`)) as unknown,
  });
  const { link } = await code(laptop, "public");
  const seen = async () => ({
    rooms: await old.core.ok("rooms.list", {}),
    codes: await old.core.ok("invites.list", {}),
    joins: await old.core.ok("invites.joins", {}),
    requests: await old.core.ok("invites.requests", {}),
    alarms: await old.core.ok("invites.alarms", {}),
  });
  await Promise.all([laptop.core.sync(), old.core.sync()]);
  const before = { seen: await seen(), logs: old.core.logs.length, events: old.core.events.length };
  const sender = await codeHolder(server, eve, link);
  // a good one: the laptop, which knows it, answers
  await sender.answered(laptop.proxy);
  await old.proxy.waitFor({ ...isSync, when: (one) => String(one.responseBody).includes(unknown) });
  await old.core.sync();
  expect(await seen()).toEqual(before.seen);
  const told = old.core.events.slice(before.events).map((one) => one.event);
  expect(told.filter((name) => /^(invites|timeline|verification)\./.test(name))).toEqual([]);
  const lines = old.core.logs.slice(before.logs).filter(({ level }) => level === "warn" || level === "error");
  expect(lines.length).toBeLessThanOrEqual(1);
  expect(old.proxy.seen(isOpen)).toEqual([]);

  // both go on
  const roomId = await people.room(laptop, [], { encrypted: false, name: "Still here" });
  await laptop.core.send(roomId, "after the HELLO");
  await old.core.message(roomId, "after the HELLO");
  const friend = await otherClient(server, await people.account("friend"));
  await plain.sync();
  await friend.sendToDevice(laptop.userId, plainAccount.deviceId, "org.example.word", { body: "by Olm" });
  expect(await plain.received("org.example.word")).toHaveLength(1);
  for (const client of [plain, friend, sender]) client.close();
});

test("scenario 22: who recorded all of it and gets the code later reads who and which device; no room, no name, no proof", async () => {
  const [{ laptop: alice, phone }, bob] = await Promise.all([alices(), someone("bob")]);
  const name = "Mushroom hunters";
  const { roomId } = await alice.core.ok("rooms.create", { kind: "group", name });
  const { link } = await code(alice, "show", roomId);
  expect(await join(bob, link)).toMatchObject({ roomId, result: "mutual" });
  const isToDevice = { method: "PUT", path: /\/sendToDevice\// };
  const letters = [alice, phone, bob]
    .flatMap(({ userId, proxy }) => lettersIn(userId, proxy.seen(isToDevice)))
    .filter(({ sender, userId }) => [sender, userId].includes(bob.userId) && sender !== userId);

  const inClear = letters.filter(({ type }) => type === messageTypes.open);
  const messages = inClear.map((letter) => opened(letter, link));
  expect(new Set(messages.map((message) => message?.["s"]))).toEqual(new Set(["hello", "reply"]));
  for (const message of messages) {
    expect(JSON.stringify(message)).toContain(bob.userId);
    for (const hidden of [roomId, name]) expect(JSON.stringify(message)).not.toContain(hidden);
    expect(Object.keys(message ?? {})).not.toContain("mac");
  }

  // everything else went by Olm: nothing of it stands in clear, and no key of the code opens it
  const sealed = letters.filter(({ type }) => type !== messageTypes.open);
  expect(new Set(sealed.map(({ type }) => type))).toEqual(new Set(["m.room.encrypted"]));
  expect(bob.proxy.seen(isProof).length).toBeGreaterThan(0);
  // whichever device of hers was picked
  const confirms = [alice, phone].flatMap(({ proxy }) => proxy.seen(isConfirm));
  expect(lettersIn(alice.userId, confirms).filter(({ userId }) => userId === bob.userId)).not.toEqual([]);
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("no code");
  const root = rootKey(alice.userId, parsed.code.header, parsed.code.secret);
  const exchanges = new Map(inClear.map(({ content }) => [text(content["x"]) ?? "", text(content["t"]) ?? ""]));
  for (const letter of sealed) {
    expect(letter.content["algorithm"]).toBe("m.olm.v1.curve25519-aes-sha2");
    expect(opened(letter, link)).toBeUndefined();
    const wire = JSON.stringify(letter.content);
    for (const hidden of [roomId, name, ...exchanges.keys(), ...exchanges.values()]) expect(wire).not.toContain(hidden);
    const bodies = Object.values(object(letter.content["ciphertext"]) ?? {});
    expect(bodies.length).toBeGreaterThan(0);
    for (const body of bodies.map((one) => Buffer.from(text(object(one)?.["body"]) ?? "", "base64"))) {
      expect(body.length).toBeGreaterThan(0);
      for (const [x, tag] of exchanges)
        for (const step of ["hello", "reply", "proof", "confirm"] as const) {
          const [transaction, t] = [Buffer.from(x, "base64"), Buffer.from(tag, "base64")];
          const { sender, userId: recipient } = letter;
          const aad = associatedData(step, { sender, recipient, tag: t, transaction });
          const key = stepKey(root, step, bob.userId, transaction);
          expect(open(key, body.subarray(0, 12), aad, body.subarray(12))).toBeUndefined();
        }
    }
  }
});

test("scenarios 23 and 24: a HELLO turned round or altered is no answer; REPLY and PROOF again, after a restart too, change nothing", async () => {
  const [first, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const server = people.server();
  const { link, tokenId } = await code(first, "personal-link");
  first.proxy.setOnline(false);
  const joinId = await accept(bob, link);
  const [hello] = lettersIn(bob.userId, [await bob.proxy.waitFor(isOpen)]);
  if (hello === undefined) throw new Error("no HELLO");
  const toBob = { userId: bob.userId, deviceId: bob.account.deviceId };
  const mallory = await people.account("mallory");
  const flipped = (name: string): Json => {
    const bytes = Buffer.from(text(hello.content[name]) ?? "", "base64");
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    return { ...hello.content, [name]: toBase64(bytes) };
  };
  const send = (sender: Account, content: Json) => put(server, sender, messageTypes.open, toBob, content);
  const from = bob.core.logs.length;
  await send(first.account, hello.content);
  await dropped(bob, "reply: sealed otherwise", from);
  await send(first.account, flipped("t"));
  await dropped(bob, "reply: not of this code", from);
  // of no exchange that Bob has with her: a HELLO, then, for a code that he never made
  await send(first.account, flipped("x"));
  await dropped(bob, "hello: no such code", from);
  // each gate has spoken, and says no more of those within a second
  await send(mallory, hello.content);
  for (const name of ["n", "c"]) await send(first.account, flipped(name));
  await bob.core.sync();
  // `waiting` after twenty seconds
  expect(["inviter-verified", "waiting"]).toContain((await joinOf(bob.core, joinId))?.state.at);
  expect(bob.proxy.seen(isProof)).toEqual([]);

  first.proxy.setOnline(true);
  const done = await joined(bob.core, joinId, "done");
  expect(done.result).toBe("mutual");
  const chatId = await expectContacts(first, bob);
  const alice: Person = { ...first, core: await restarted(first.core) };
  const toHer = () => ({
    confirms: alice.proxy.seen(isConfirm).length,
    signatures: signaturesFor(alice, bob.userId).length,
  });
  const replies = () => lettersIn(alice.userId, alice.proxy.seen(isOpen));
  const [before, answered] = [toHer(), replies().length];
  const [proof] = lettersIn(bob.userId, bob.proxy.seen(isProof));
  const [reply] = replies();
  if (proof === undefined || reply === undefined) throw new Error("no PROOF or REPLY");
  await put(server, bob.account, "m.room.encrypted", alice.account, proof.content);
  await put(server, bob.account, messageTypes.open, alice.account, hello.content);
  await put(server, alice.account, messageTypes.open, toBob, reply.content);
  await alice.core.until(() => Promise.resolve(replies().length > answered), "an answer");
  await Promise.all([alice.core.sync(), bob.core.sync()]);
  expect(new Set(replies().map((letter) => text(opened(letter, link)?.["na"]))).size).toBe(1);
  expect(toHer()).toEqual(before);
  expect((await inviteOf(alice, tokenId))?.uses).toEqual([bob.userId]);
  expect(await alice.core.ok("invites.alarms", {})).toEqual([]);
  expect((await joinOf(bob.core, joinId))?.state).toEqual(done);
  expect(bob.proxy.seen(isProof)).toHaveLength(1);
  expect(await expectContacts(alice, bob)).toBe(chatId);
});

test("scenario 25: Eve, who holds Alice's code, lures Bob with her own and passes on what he says: Alice binds nothing to him", async () => {
  const [{ laptop: alice }, bob, eve] = await Promise.all([alices(), someone("bob"), someone("eve")]);
  const server = people.server();
  const [ofAlice, ofEve] = await Promise.all([code(alice, "show"), code(eve, "show")]);
  const from = alice.core.logs.length;
  expect((await join(bob, ofEve.link)).result).toBe("mutual");
  await expectContacts(bob, eve);
  const [hello] = lettersIn(bob.userId, bob.proxy.seen(isOpen));
  const [proof] = lettersIn(bob.userId, bob.proxy.seen(isProof));
  const said = read(helloSchema, hello === undefined ? undefined : opened(hello, ofEve.link));
  if (hello === undefined || proof === undefined || said === undefined) throw new Error("Bob said nothing");

  // as it came, under her own name
  await put(server, eve.account, messageTypes.open, { userId: alice.userId, deviceId: "*" }, hello.content);
  await put(server, eve.account, "m.room.encrypted", alice.account, proof.content);
  await dropped(alice, "hello: no such code", from);
  // with a server that helps her, under his
  const forged: Json[] = [hello, proof].map(({ type, content }) => ({ sender: bob.userId, type, content }));
  const helped = alice.proxy.on(isSync, { kind: "rewrite-response", json: withEvents(forged) }, { times: 1 });
  await alice.core.sync();
  await alice.core.until(() => Promise.resolve(helped.used > 0), "the forged sync");

  // told anew under Alice's code, with his identity and device
  const holder = await codeHolder(server, await server.login(eve.account), ofAlice.link);
  const device = { id: said.dev.deviceId, ed: toBase64(said.dev.ed25519), curve: toBase64(said.dev.curve25519) };
  const his = { dev: device, msk: toBase64(said.msk) };
  await holder.hello({ ...his, from: bob.userId });
  await dropped(alice, "hello: names", from);
  const exchange = await holder.answered(alice.proxy, his);
  await holder.prove(exchange, { masterKey: said.msk, device: said.dev });
  await dropped(alice, "proof: from another device", from);
  await holder.prove(exchange, { masterKey: said.msk });
  await dropped(alice, "proof: keys are not theirs", from);
  holder.close();

  expect((await inviteOf(alice, ofAlice.tokenId))?.uses).toEqual([]);
  expect(await alice.core.ok("invites.requests", {})).toEqual([]);
  for (const { userId } of [bob, eve]) {
    expect(await identityOf(alice.core, userId)).not.toBe("verified");
    expect(signaturesFor(alice, userId)).toEqual([]);
    expect(await chatsWith(alice.core, userId)).toEqual([]);
  }
  expect(alice.proxy.seen({ ...isConfirm, when: (one) => one.requestBody.includes(bob.userId) })).toEqual([]);
  // and to Bob it is what his sheet said: Eve, by her name
  expect((await bob.core.ok("invites.joins", {})).map(({ userId }) => userId)).toEqual([eve.userId]);
  expect(await identityOf(bob.core, alice.userId)).not.toBe("verified");
});

test("scenario 34: a proof for one of Alice's devices that the server gives to the other cannot be read, and does nothing", async () => {
  const [{ laptop, phone }, bob] = await Promise.all([alices(), someone("bob")]);
  const server = people.server();
  const { link, tokenId } = await code(laptop, "show");
  await phone.core.until(() => inviteOf(phone, tokenId), "the code on the phone");
  const keys = await Promise.all([laptop, phone].map(({ account }) => keysOf(server, account)));
  const curveOf = (deviceId: string) => toBase64(keys.find((one) => one.deviceId === deviceId)?.curve25519 ?? raise());
  const otherThan = (deviceId: string) => (deviceId === laptop.account.deviceId ? phone : laptop);
  /** To the other device, and named as if it were encrypted for that one. */
  const astray = ({ userId, deviceId, content }: Letter): Json => {
    const other = otherThan(deviceId).account.deviceId;
    const body = object(content["ciphertext"])?.[curveOf(deviceId)] ?? raise();
    return { messages: { [userId]: { [other]: { ...content, ciphertext: { [curveOf(other)]: body } } } } };
  };
  const turned = bob.proxy.on(isProof, {
    kind: "rewrite-request",
    json: (_body, one) => astray(lettersIn(bob.userId, [one])[0] ?? raise()),
  });
  const joinId = await accept(bob, link);
  const [proof] = lettersIn(bob.userId, [await bob.proxy.waitFor(isProof)]);
  if (proof === undefined) throw new Error("no PROOF");
  expect(turned.used).toBeGreaterThan(0);
  const wrong = otherThan(proof.deviceId);
  const ciphertext = text(object(Object.values(object(proof.content["ciphertext"]) ?? {})[0])?.["body"]) ?? raise();
  await wrong.proxy.waitFor({ ...isSync, when: (one) => String(one.responseBody).includes(ciphertext) });
  await Promise.all([laptop.core.sync(), phone.core.sync()]);
  for (const device of [laptop, phone]) {
    expect((await inviteOf(device, tokenId))?.uses).toEqual([]);
    expect(device.proxy.seen({ ...isConfirm, when: (one) => one.requestBody.includes(bob.userId) })).toEqual([]);
    expect(signaturesFor(device, bob.userId)).toEqual([]);
    expect(await identityOf(device.core, bob.userId)).not.toBe("verified");
  }
  expect((await joinOf(bob.core, joinId))?.state.at).toBe("proving");

  // it was a good one: where it was meant for, the same message lets him in
  await put(server, bob.account, "m.room.encrypted", proof, proof.content);
  expect((await joined(bob.core, joinId, "done")).result).toBe("mutual");
  await Promise.all([verified(laptop.core, bob.userId), verified(bob.core, laptop.userId)]);
  expect((await inviteOf(otherThan(wrong.account.deviceId), tokenId))?.uses).toEqual([bob.userId]);
});

/** A sync's answer with these to-device messages in it too. */
const withEvents = (events: Json[]) => (body: unknown) => {
  const answer = body as { to_device?: { events?: unknown[] } };
  return { ...answer, to_device: { events: [...(answer.to_device?.events ?? []), ...events] } };
};
function raise(): never {
  throw new Error("it is not there");
}

import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { messageTypes, toBase64 } from "../../../main/core/features/invites/messages.ts";
import { forgedHello, opened } from "./wire.ts";
import type { Json } from "../../../main/core/json.ts";
import { createWorld, type Letter, type Person, type World } from "./world.ts";

/** The design's adversarial scenarios at the level of messages, where a test can forge each of them; tests/core/invites has them on a real server. */
let made: World;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"], now: 1_800_000_000_000 });
  made = createWorld();
});
afterEach(async () => {
  await made.close();
  vi.useRealTimers();
});

const person = async (name: string): Promise<Person> => {
  const one = made.addDevice(made.addUser(`@${name}:${name}.test`), `${name.toUpperCase()}DEV`);
  await one.start();
  return one;
};
const statesOf = (one: Person) => one.handshake.joins.list().map((join) => join.state);
const usesOf = (one: Person) => one.handshake.tokens.list().flatMap((invite) => invite.uses);
const kindOf = (letter: Letter) => (letter.type === "m.room.encrypted" ? "sealed" : "open");
/** They scan the code; their HELLO leaves, and comes to nobody by itself. */
const helloOf = async (joiner: Person, link: string): Promise<Letter> => {
  await joiner.join(link);
  await made.settle();
  await made.pass(100);
  const hello = made.letters.splice(0).find((letter) => letter.sender === joiner.user.userId);
  if (hello === undefined) throw new Error("no HELLO");
  return hello;
};
const repliesOf = (one: Person) => made.recorded.filter((letter) => letter.sender === one.user.userId);

test("a shown code: both signed, one chat, one use", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const { link, tokenId } = await alice.create("show");
  await bob.join(link);
  await made.flow(10_000, 250);
  expect(statesOf(bob)).toEqual([{ at: "done", result: "mutual", roomId: "!0:test" }]);
  expect(made.signatures).toEqual([
    { by: bob.user.userId, userId: alice.user.userId, masterKey: alice.user.masterKey },
    { by: alice.user.userId, userId: bob.user.userId, masterKey: bob.user.masterKey },
  ]);
  expect(made.chats.map((chat) => Object.fromEntries(chat.members))).toEqual([
    { [alice.user.userId]: "join", [bob.user.userId]: "join" },
  ]);
  expect(alice.handshake.tokens.get(tokenId)?.uses).toEqual([bob.user.userId]);
  // what is over holds no secret any more
  expect(bob.db.all<{ facts: string }>("select facts from invite_joins")[0]?.facts).not.toContain("secret");
});

test("HELLO and REPLY have one length, whatever they say", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const { link } = await alice.create("show");
  await bob.join(link);
  await made.flow(10_000, 250);
  const sizes = made.recorded.map((letter) => JSON.stringify(letter.content).length);
  expect(sizes.length).toBeGreaterThanOrEqual(2);
  expect(new Set(sizes).size).toBe(1);
});

test("scenario 22: recorded traffic and the code together show names and devices, no room and no proof", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const group = "!secret-group:test";
  made.chats.push({ roomId: group, maker: alice.user.userId, members: new Map([[alice.user.userId, "join"]]) });
  const { link } = await alice.create("show", group);
  await bob.join(link);
  await made.flow(10_000, 250);
  expect(statesOf(bob)).toMatchObject([{ at: "done", roomId: group }]);
  const messages = made.recorded.map((letter) => opened(letter, link));
  expect(messages.map((message) => message?.["s"])).toEqual(["hello", "reply"]);
  for (const message of messages) {
    expect(JSON.stringify(message)).not.toContain(group);
    expect(Object.keys(message ?? {})).not.toContain("mac");
  }
});

test("scenario 23: a HELLO that comes a hundred times gets few answers, all with one nonce, also after a restart", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const { link } = await alice.create("public");
  const hello = await helloOf(bob, link);
  for (let times = 0; times < 50; times++) made.deliver(hello);
  await made.pass(2_000);
  await alice.restart();
  for (let times = 0; times < 50; times++) made.deliver(hello);
  await made.pass(2_000);
  const replies = repliesOf(alice).map((letter) => opened(letter, link));
  expect(replies.length).toBeGreaterThanOrEqual(2);
  // five a run: the buckets are in memory
  expect(replies.length).toBeLessThanOrEqual(10);
  expect(new Set(replies.map((reply) => reply?.["na"])).size).toBe(1);
  expect(usesOf(alice)).toEqual([]);
  made.letters.splice(0);
});

test("scenario 23: an answer of an earlier exchange, and a proof that is sent again, change nothing", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const first = await alice.create("public");
  await bob.join(first.link);
  await made.flow(10_000, 250);
  const old = repliesOf(alice)[0];
  const before = JSON.stringify(statesOf(bob));
  const second = await alice.create("public");
  await bob.join(second.link);
  await made.settle();
  made.letters.splice(0);
  if (old !== undefined) made.deliver(old);
  await made.pass(2_000);
  expect(JSON.stringify(statesOf(bob).slice(1))).toBe(before);
  expect(statesOf(bob)[0]).toMatchObject({ at: "inviter-verified" });
  const works = () => alice.db.all("select work_id from invite_work").length;
  const done = works();
  await alice.restart();
  for (const inside of made.sealed.values()) inside.read = false;
  for (const [ciphertext, inside] of made.sealed)
    if (inside.type === messageTypes.proof)
      made.deliver({
        sender: inside.from,
        userId: alice.user.userId,
        deviceId: alice.device.deviceId,
        type: "m.room.encrypted",
        content: { ciphertext },
      });
  await made.pass(2_000);
  expect(works()).toBe(done);
  expect(usesOf(alice).filter((userId) => userId === bob.user.userId)).toHaveLength(1);
});

test("scenario 24: what is returned, redirected or altered in any part is dropped", async () => {
  const [alice, bob, eve] = [await person("alice"), await person("bob"), await person("eve")];
  const { link } = await alice.create("public");
  const hello = await helloOf(bob, link);
  const altered = (name: string): Letter => {
    const bytes = Buffer.from(String(hello.content[name]), "base64");
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    return { ...hello, content: { ...hello.content, [name]: toBase64(bytes) } };
  };
  const bad: Letter[] = [
    ...["t", "x", "n", "c"].map(altered),
    { ...hello, content: { ...hello.content, v: 2 } },
    { ...hello, content: { ...hello.content, c: `${String(hello.content["c"])}AAAA` } },
    // its way back: the same message as an answer
    { ...hello, sender: alice.user.userId, userId: bob.user.userId, deviceId: bob.device.deviceId },
    // said to be somebody else's, or for somebody else
    { ...hello, sender: eve.user.userId },
    { ...hello, userId: eve.user.userId, deviceId: eve.device.deviceId },
  ];
  for (const letter of bad) made.deliver(letter);
  await made.pass(3_000);
  expect(made.letters).toEqual([]);
  expect(repliesOf(alice)).toEqual([]);
  // unharmed it is good still
  made.deliver(hello);
  await made.pass(3_000);
  expect(repliesOf(alice)).toHaveLength(1);
  const reply = made.letters.splice(0)[0];
  if (reply === undefined) throw new Error("no REPLY");
  made.deliver({ ...reply, sender: eve.user.userId });
  made.deliver({ ...reply, content: { ...reply.content, t: hello.content["n"] } });
  await made.settle();
  expect(statesOf(bob)[0]).toMatchObject({ at: "inviter-verified" });
});

test("scenario 25: Eve, who holds Alice's code, lures Bob with her own and passes his messages on: Alice binds nothing to him", async () => {
  const [alice, bob, eve] = [await person("alice"), await person("bob"), await person("eve")];
  const ofAlice = await alice.create("public");
  const ofEve = await eve.create("public");
  await bob.join(ofEve.link);
  await eve.join(ofAlice.link);
  for (let turns = 0; turns < 40; turns++) {
    for (const letter of made.letters.splice(0)) {
      made.deliver(letter);
      if (letter.userId === eve.user.userId)
        made.deliver({ ...letter, userId: alice.user.userId, deviceId: alice.device.deviceId });
    }
    await made.pass(250);
  }
  expect(usesOf(alice)).toEqual([eve.user.userId]);
  expect(made.signatures.filter(({ by, userId }) => by === alice.user.userId && userId === bob.user.userId)).toEqual(
    [],
  );
});

test("scenario 26: a HELLO with Bob's key and a proof from a device that he has not signed, or from Eve's, are refused", async () => {
  const [alice, bob, eve] = [await person("alice"), await person("bob"), await person("eve")];
  const { link } = await alice.create("public");
  // a device of Bob's that believes to be signed, and is not for anybody else
  const rogue = made.addDevice(bob.user, "ROGUE");
  await rogue.start();
  const peers = bob.user.devices.map((one) => ({ ...one, signed: one.deviceId !== "ROGUE" }));
  made.world.forged.set(`${alice.user.userId} ${bob.user.userId}`, { ...bob.user, devices: peers });
  await rogue.join(link);
  await made.flow(10_000, 250);
  expect(usesOf(alice)).toEqual([]);
  // Eve claims Bob's identity as hers
  eve.user.masterKey = bob.user.masterKey;
  made.world.forged.set(`${alice.user.userId} ${eve.user.userId}`, {
    ...eve.user,
    masterKey: toBase64(randomBytes(32)),
  });
  await eve.join(link);
  await made.flow(10_000, 250);
  expect(usesOf(alice)).toEqual([]);
  expect(made.signatures.filter(({ by }) => by === alice.user.userId)).toEqual([]);
});

test("a proof or a confirmation whose MAC does not speak of exactly what stands in it is dropped", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const bytes = (length: number) => toBase64(randomBytes(length));
  const lies: [string, Json][] = [
    [messageTypes.proof, { mac: bytes(32) }],
    [messageTypes.proof, { room: "!another:test" }],
    [messageTypes.proof, { nb: bytes(16) }],
    [messageTypes.proof, { x: bytes(16) }],
    [messageTypes.proof, { msk: bytes(32) }],
    [messageTypes.proof, { dev: { id: "BOBDEV", ed: bytes(32), curve: bob.device.curve25519 } }],
    [messageTypes.confirm, { mac: bytes(32) }],
    [messageTypes.confirm, { res: "gone" }],
    [messageTypes.confirm, { ver: true }],
    [messageTypes.confirm, { room: "!another:test" }],
    [messageTypes.confirm, { t: bytes(16) }],
  ];
  for (const [type, lie] of lies) {
    const { link } = await alice.create("public");
    const uses = usesOf(alice).length;
    await bob.join(link);
    for (let turns = 0; turns < 24; turns++) {
      for (const letter of made.letters.splice(0)) {
        const inside = made.sealed.get(String(letter.content["ciphertext"]));
        if (inside?.type === type) inside.content = { ...inside.content, ...lie };
        made.deliver(letter);
      }
      await made.pass(250);
    }
    const what = JSON.stringify([type, Object.keys(lie)]);
    expect(statesOf(bob)[0], what).toEqual({ at: "proving" });
    expect(usesOf(alice).length - uses, what).toBe(type === messageTypes.proof ? 0 : 1);
    // the flood limits are another test's
    await made.pass(700_000);
    made.letters.splice(0);
  }
});

test("scenario 28: a proof and a confirmation in clear are dropped", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const { link } = await alice.create("public");
  await bob.join(link);
  for (let turns = 0; turns < 40; turns++) {
    for (const letter of made.letters.splice(0)) {
      const inside = made.sealed.get(String(letter.content["ciphertext"]));
      made.deliver(inside === undefined ? letter : { ...letter, type: inside.type, content: inside.content });
    }
    await made.pass(250);
  }
  expect(usesOf(alice)).toEqual([]);
  expect(statesOf(bob)).toEqual([{ at: "proving" }]);
});

test("scenario 31: ten thousand bad and five hundred good HELLOs: few answers, no key query, and the owner is told", async () => {
  const alice = await person("alice");
  const { link, tokenId } = await alice.create("public");
  const bad = forgedHello(link, "@x:x.test", "ALICEDEV");
  const good = Array.from({ length: 500 }, (_, n) => forgedHello(link, `@g${n}:s${n}.test`, "ALICEDEV"));
  const before = made.world.queries;
  const asEvent = ({ type, sender, content }: Letter) => ({ type, sender, content });
  for (let batch = 0; batch < 100; batch++) {
    const strangers = Array.from({ length: 100 }, (_, n) => ({
      ...asEvent(bad),
      sender: `@b${batch}-${n}:s${n}.test`,
      content: { ...bad.content, t: toBase64(randomBytes(16)) },
    }));
    alice.sync([...strangers, ...good.slice(batch * 5, batch * 5 + 5).map(asEvent)]);
    await made.settle();
  }
  await made.pass(3_000);
  expect(made.world.queries).toBe(before);
  expect(alice.handshake.tokens.alarms()).toMatchObject([{ kind: "flood", tokenId }]);
  // thirty new people an hour
  expect(alice.db.get<{ n: number }>("select count(*) n from invite_inbox")?.n).toBe(0);
  expect(alice.db.get<{ n: number }>("select count(*) n from invite_outbox")?.n).toBeLessThanOrEqual(30);
});

test("while a stranger's server says nothing of their keys, whoever comes after them is let in", async () => {
  const [alice, bob, eve] = [await person("alice"), await person("bob"), await person("eve")];
  const { link } = await alice.create("public");
  const told = Promise.withResolvers<undefined>();
  made.world.silent.set(eve.user.userId, told.promise);
  await eve.join(link);
  await made.flow(5_000, 250);
  expect(usesOf(alice)).toEqual([]);
  await bob.join(link);
  await made.flow(5_000, 250);
  expect(usesOf(alice)).toEqual([bob.user.userId]);
  told.resolve(undefined);
  await made.flow(5_000, 250);
  expect(usesOf(alice)).toEqual([bob.user.userId, eve.user.userId]);
});

test("scenario 34: a proof for Alice's laptop that the server gives to her phone has no effect", async () => {
  const alice = await person("alice");
  const phone = made.addDevice(alice.user, "PHONE");
  await phone.start();
  const bob = await person("bob");
  const { link } = await alice.create("show");
  await made.flow(3_000, 250);
  await bob.join(link);
  let turned = 0;
  for (let turns = 0; turns < 40; turns++) {
    for (const letter of made.letters.splice(0)) {
      const astray =
        kindOf(letter) === "sealed" && letter.userId === alice.user.userId && letter.sender === bob.user.userId;
      if (astray) turned++;
      made.deliver(astray ? { ...letter, deviceId: letter.deviceId === "PHONE" ? "ALICEDEV" : "PHONE" } : letter);
    }
    await made.pass(250);
  }
  expect(turned).toBeGreaterThan(0);
  expect([...usesOf(alice), ...usesOf(phone)]).toEqual([]);
  expect(statesOf(bob)).toEqual([{ at: "proving" }]);
});

test("a single-use code whose device is off: the other one says hold, asks after half a minute, and decides after a yes", async () => {
  const alice = await person("alice");
  const phone = made.addDevice(alice.user, "PHONE");
  await phone.start();
  const bob = await person("bob");
  const { link, tokenId } = await alice.create("personal-link");
  await made.flow(3_000, 250);
  const withoutLaptop = async (forMs: number) => {
    for (let gone = 0; gone < forMs; gone += 500) {
      for (const letter of made.letters.splice(0)) if (letter.deviceId !== "ALICEDEV") made.deliver(letter);
      await made.pass(500);
    }
  };
  await bob.join(link);
  await withoutLaptop(20_000);
  expect(phone.handshake.admissions.requests()).toEqual([]);
  await withoutLaptop(15_000);
  const [request] = phone.handshake.admissions.requests();
  expect(request).toMatchObject({ userId: bob.user.userId, tokenId, takeOver: true });
  expect(usesOf(phone)).toEqual([]);
  phone.handshake.admissions.answer({ requestId: request?.requestId ?? "", gave: true });
  expect(phone.handshake.admissions.requests()).toEqual([]);
  await withoutLaptop(10_000);
  expect(statesOf(bob)).toMatchObject([{ at: "done", result: "mutual" }]);
  expect(phone.handshake.tokens.get(tokenId)).toMatchObject({ state: "used", uses: [bob.user.userId] });
});

test("a sync whose messages could not be written down is not saved, and nothing of it is lost", async () => {
  const [alice, bob] = [await person("alice"), await person("bob")];
  const { link } = await alice.create("public");
  const hello = await helloOf(bob, link);
  alice.db.run("create trigger full before insert on invite_inbox begin select raise(abort, 'full'); end");
  expect(() => {
    made.deliver(hello);
  }).toThrow();
  alice.db.run("drop trigger full");
  alice.sync();
  await made.pass(3_000);
  expect(repliesOf(alice)).toHaveLength(1);
});

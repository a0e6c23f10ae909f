import { expect, test, vi } from "vitest";
import { sameAs, startCore } from "../core.ts";
import type { Person } from "../people.ts";
import { identityOf, setUp } from "../verification/verifying.ts";
import { accept, chatsWith, code, expectContacts, join, joinOf, joined, useInviting, verified } from "./inviting.ts";

// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const { people, someone, another } = useInviting();

test("scenario 1: both online, a code that is shown: mutual verification, one chat, one word on each side", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const shown = await code(alice);
  const done = await join(bob, shown.link);
  expect(done.result).toBe("mutual");
  const roomId = await expectContacts(alice, bob);
  expect(done.roomId).toBe(roomId);
  await alice.core.send(roomId, "Hello, Bob");
  await bob.core.message(roomId, "Hello, Bob");
  await bob.core.send(roomId, "Hello, Alice");
  await alice.core.message(roomId, "Hello, Alice");
  expect((await alice.core.ok("invites.list", {}))[0]?.uses).toEqual([bob.userId]);
  const told = alice.core.events.filter(
    (one) => one.event === "invites.changed" && one.payload.invites?.[0]?.uses.includes(bob.userId),
  );
  expect(told).toHaveLength(1);

  // scanned once more: the same join, and nothing is sent
  const before = bob.proxy.seen({ method: "PUT", path: /\/sendToDevice\/chat/ }).length;
  expect(await accept(bob, shown.link)).toBe((await bob.core.ok("invites.joins", {}))[0]?.joinId);
  await bob.core.sync();
  expect(bob.proxy.seen({ method: "PUT", path: /\/sendToDevice\/chat/ })).toHaveLength(before);
});

test("scenario 2: the inviter is offline: the chat is usable and her key verified at once; it completes by itself later", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link } = await code(alice, "personal-link");
  alice.proxy.setOnline(false);
  const joinId = await accept(bob, link);
  await verified(bob.core, alice.userId);
  const chat = await bob.core.until(async () => (await chatsWith(bob.core, alice.userId))[0], "the chat");
  expect(chat.encrypted).toBe(true);
  await bob.core.say(chat.roomId, "Are you there?");
  await joined(bob.core, joinId, "waiting");
  alice.proxy.setOnline(true);
  expect((await joined(bob.core, joinId, "done")).result).toBe("mutual");
  const roomId = await expectContacts(alice, bob);
  await alice.core.message(roomId, "Are you there?");
});

test("scenario 4: made on the laptop, which is off by now: the phone answers", async () => {
  const laptop = await people.person("alice");
  const [recoveryKey, bob] = await Promise.all([setUp(laptop), someone("bob")]);
  const phone = await another(laptop, recoveryKey);
  const { link, tokenId } = await code(laptop);
  await phone.core.until(
    async () => (await phone.core.ok("invites.list", {})).find((invite) => invite.tokenId === tokenId),
    "the code on the phone",
  );
  await laptop.core.stop();
  expect((await join(bob, link)).result).toBe("mutual");
  await expectContacts(phone, bob);
});

test("scenario 8: the joiner's second device gets nothing of the first two steps, and has chat and tick afterwards", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), people.person("bob")]);
  const recoveryKey = await setUp(bob);
  const second = await another(bob, recoveryKey);
  const { link } = await code(alice);
  await join(bob, link);
  await expectContacts(alice, bob);
  await verified(second.core, alice.userId);
  await second.core.until(async () => (await chatsWith(second.core, alice.userId))[0], "the chat");
  const brought = second.proxy.seen({ path: /\/v3\/sync$/ }).map((one) => String(one.responseBody));
  expect(brought.filter((body) => body.includes("chat.tessera.securejoin"))).toEqual([]);

  // the same code on the second device: let in again, no second use, no second chat
  expect((await join(second, link)).result).toBe("mutual");
  expect((await alice.core.ok("invites.list", {}))[0]?.uses).toEqual([bob.userId]);
  await expectContacts(alice, second);
});

test("scenario 15: two joins with one inviter at the same time both finish, in one chat", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const [one, other] = [await code(alice), await code(alice, "personal-link")];
  const results = await Promise.all([join(bob, one.link), join(bob, other.link)]);
  expect(results.map((done) => done.result)).toEqual(["mutual", "mutual"]);
  await expectContacts(alice, bob);
});

test("both scan each other: both are done, each has the other's tick, and one chat is left", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const [ofAlice, ofBob] = [await code(alice), await code(bob)];
  const results = await Promise.all([join(bob, ofAlice.link), join(alice, ofBob.link)]);
  expect(results.map((done) => done.result)).toEqual(["mutual", "mutual"]);
  await Promise.all([verified(alice.core, bob.userId), verified(bob.core, alice.userId)]);
  const alone = (one: Person, other: Person) =>
    one.core.until(async () => {
      const [chat, ...more] = await chatsWith(one.core, other.userId);
      return more.length === 0 && chat?.membership === "join" && chat.roomId;
    }, "one chat");
  expect(await alone(alice, bob)).toBe(await alone(bob, alice));
});

test("one's own code is a contradiction, what is no code a bad request, and an expired one says so", async () => {
  const alice = await someone("alice");
  const { link } = await code(alice);
  const failure = async (text: string) => {
    const answer = await alice.core.call("invites.accept", { text });
    return answer.ok ? undefined : answer.error.code;
  };
  expect(await failure(link)).toBe("conflict");
  expect(await failure("hello")).toBe("bad-request");
  expect(await failure(link.slice(0, -1))).toBe("bad-request");
  expect(await failure("matrix:u/alice:tessera.test?action=chat")).toBe("bad-request");
  expect(await alice.core.ok("invites.joins", {})).toEqual([]);
});

test("without an identity of one's own a join waits for the set-up, and goes on by itself", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), people.person("bob")]);
  const { link } = await code(alice);
  const joinId = await accept(bob, link);
  expect(await joined(bob.core, joinId, "blocked")).toEqual({ at: "blocked", code: "setup-needed" });
  await setUp(bob);
  expect((await joined(bob.core, joinId, "done")).result).toBe("mutual");
  await expectContacts(alice, bob);
});

test("whom one ignores is not joined until that is taken back", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  await bob.core.ok("people.ignore", { userId: alice.userId, ignored: true });
  const { link } = await code(alice);
  const joinId = await accept(bob, link);
  expect(await joined(bob.core, joinId, "blocked")).toEqual({ at: "blocked", code: "ignored" });
  expect(await identityOf(bob.core, alice.userId)).not.toBe("verified");
  await bob.core.ok("people.ignore", { userId: alice.userId, ignored: false });
  expect((await joined(bob.core, joinId, "done")).result).toBe("mutual");
});

test("scenario 18: somebody else scans a shown code first: two people by their own names, and the later one is asked about", async () => {
  const [alice, bob, cleo] = await Promise.all([someone("alice"), someone("bob"), someone("cleo")]);
  const { link, tokenId } = await code(alice);
  await join(bob, link);
  // a shown code is meant for the first who scans it
  const joinId = await accept(cleo, link);
  expect((await joined(cleo.core, joinId, "done")).result).toBe("one-sided");
  expect(await identityOf(alice.core, cleo.userId)).not.toBe("verified");
  const asked = await alice.core.ok("invites.requests", {});
  expect(asked).toEqual([{ requestId: asked[0]?.requestId, userId: cleo.userId, tokenId }]);
  await alice.core.ok("invites.answer", { requestId: asked[0]?.requestId ?? "", gave: true });
  await verified(alice.core, cleo.userId);
  await cleo.core.until(async () => {
    const state = (await joinOf(cleo.core, joinId))?.state;
    return state?.at === "done" && state.result === "mutual";
  }, "the inviter's answer");
  expect(await alice.core.ok("invites.requests", {})).toEqual([]);
});

test("a restart changes nothing of what is done, and the inviter's nonce is the same after it", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link } = await code(alice, "personal-link");
  alice.proxy.setOnline(false);
  const joinId = await accept(bob, link);
  await bob.core.until(async () => (await joinOf(bob.core, joinId))?.state.at === "inviter-verified", "HELLO");
  await Promise.all([alice.core.stop(), bob.core.stop()]);
  alice.proxy.setOnline(true);
  const [a, b] = await Promise.all([startCore(sameAs(alice.core)), startCore(sameAs(bob.core))]);
  expect((await joined(b, joinId, "done")).result).toBe("mutual");
  await expectContacts({ ...alice, core: a }, { ...bob, core: b });
});

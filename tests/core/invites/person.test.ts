import { expect, test, vi } from "vitest";
import { restarted, sameAs, startCore, type Core } from "../core.ts";
import { setUp, identityOf } from "../verification/verifying.ts";
import { isOpen, isProof } from "./code-holder.ts";
import { accept, chatsWith, code, expectContacts, join, joinOf, joined, useInviting, verified } from "./inviting.ts";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 300_000 });
const { people, someone } = useInviting();

const inviteOf = async (core: Core, tokenId: string) =>
  (await core.ok("invites.list", {})).find((one) => one.tokenId === tokenId);
const failure = async (core: Core, name: "invites.cancel" | "invites.contactOnly", joinId: string) => {
  const answer = await core.call(name, { joinId });
  return answer.ok ? undefined : answer.error.code;
};

test("scenario 20: both sides of a join see the same six digits; another identity has others, and its alarm is put away for good", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice, "personal-link");
  const joinId = await accept(bob, link);
  await joined(bob.core, joinId, "done");
  const digits = (await joinOf(bob.core, joinId))?.digits ?? "";
  expect(digits).toMatch(/^\d{6}$/);
  expect((await inviteOf(alice.core, tokenId))?.digits).toEqual([{ userId: bob.userId, digits }]);

  await bob.core.ok("trust.reset", { password: bob.account.password, keepHistory: true });
  await bob.core.until(async () => (await bob.core.ok("trust.status", {})).identity === "verified", "the identity");
  const again = await accept(bob, link);
  const second = await bob.core.until(async () => {
    const { state, digits: shown } = (await joinOf(bob.core, again)) ?? {};
    return state?.at === "proving" ? shown : undefined;
  }, "the proof's digits");
  const alarm = await alice.core.until(async () => (await alice.core.ok("invites.alarms", {}))[0], "the alarm");
  expect(alarm).toMatchObject({ kind: "second-key", tokenId, userIds: [bob.userId] });
  // what a hostile server let through would stand there as the first: whoever is at the other end has the second
  expect((await inviteOf(alice.core, tokenId))?.digits).toEqual([
    { userId: bob.userId, digits: second, refused: true },
    { userId: bob.userId, digits },
  ]);
  expect(second).not.toBe(digits);

  await alice.core.ok("invites.putAway", { alarmId: alarm.alarmId });
  await alice.core.ok("invites.putAway", { alarmId: alarm.alarmId });
  expect(await alice.core.ok("invites.alarms", {})).toEqual([]);
  const core = await restarted(alice.core);
  expect(await core.ok("invites.alarms", {})).toEqual([]);
  expect((await inviteOf(core, tokenId))?.digits).toHaveLength(2);
  const answer = await core.call("invites.putAway", { alarmId: "none" });
  expect(answer.ok ? undefined : answer.error.code).toBe("not-found");
});

test("a join that waits is cancelled, over a kill too: what the inviter answers later has no effect, what was signed stays, and the code may be scanned again", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice, "personal-link");
  alice.proxy.setOnline(false);
  const joinId = await accept(bob, link);
  await bob.proxy.waitFor(isOpen);
  // the chat is made beside HELLO; nothing is left half done
  await joined(bob.core, joinId, "waiting");
  await bob.core.until(async () => (await chatsWith(bob.core, alice.userId))[0], "the chat");
  await bob.core.ok("invites.cancel", { joinId });
  await bob.core.kill();
  const core = await startCore({ ...sameAs(bob.core), lastStopOrderly: false });
  const state = { at: "failed", code: "cancelled" };
  expect((await joinOf(core, joinId))?.state).toEqual(state);
  alice.proxy.setOnline(true);
  await alice.proxy.waitFor(isOpen);
  await core.sync();
  await core.sync();
  expect((await joinOf(core, joinId))?.state).toEqual(state);
  expect(bob.proxy.seen(isProof)).toEqual([]);
  expect(bob.proxy.seen(isOpen)).toHaveLength(1);
  expect((await inviteOf(alice.core, tokenId))?.uses).toEqual([]);
  await verified(core, alice.userId);
  expect(await identityOf(alice.core, bob.userId)).not.toBe("verified");
  // once more is no news; what is over otherwise has nothing to be cancelled
  await core.ok("invites.cancel", { joinId });
  expect(await failure(core, "invites.cancel", "none")).toBe("not-found");

  const again = await accept({ core }, link);
  expect(again).not.toBe(joinId);
  expect((await joined(core, again, "done")).result).toBe("mutual");
  expect(await failure(core, "invites.cancel", again)).toBe("conflict");
  expect(await core.ok("invites.joins", {})).toHaveLength(1);
  await expectContacts(alice, { ...bob, core });
});

test("a cancelled join sends nothing more of what still waited to be sent", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice);
  const refused = bob.proxy.on(isOpen, { kind: "status", status: 503, body: {} });
  const joinId = await accept(bob, link);
  await bob.core.until(() => Promise.resolve(refused.used > 0), "a HELLO that fails");
  await bob.core.ok("invites.cancel", { joinId });
  refused.remove();
  const from = bob.proxy.seen(isOpen).length;
  const core = await restarted(bob.core);
  await core.sync();
  expect(bob.proxy.seen(isOpen)).toHaveLength(from);
  expect((await inviteOf(alice.core, tokenId))?.uses).toEqual([]);
});

test("without an own identity a code gives the chat alone, by the person's word, and everything once it is set up and scanned again", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), people.person("bob")]);
  const { link, tokenId } = await code(alice, "personal-link");
  const joinId = await accept(bob, link);
  await joined(bob.core, joinId, "blocked");
  await bob.core.ok("invites.contactOnly", { joinId });
  const done = await joined(bob.core, joinId, "done");
  expect(done.result).toBe("contact-only");
  const chat = (await bob.core.ok("rooms.list", {})).find((room) => room.roomId === done.roomId);
  expect(chat).toMatchObject({ kind: "dm", directUserId: alice.userId, encrypted: true, membership: "join" });
  expect(bob.proxy.seen(isOpen)).toEqual([]);
  expect(await failure(bob.core, "invites.contactOnly", joinId)).toBe("conflict");
  expect(await identityOf(bob.core, alice.userId)).not.toBe("verified");
  expect((await inviteOf(alice.core, tokenId))?.uses).toEqual([]);

  await setUp(bob);
  const mutual = await join(bob, link);
  expect(mutual).toMatchObject({ result: "mutual", roomId: done.roomId });
});

test("an own code is shown again while somebody can join by it, and that prolongs nothing", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { core } = alice;
  const refusal = async (tokenId: string) => {
    const answer = await core.call("invites.show", { tokenId });
    return answer.ok ? undefined : [answer.error.code, (answer.error.details as { kind?: string } | undefined)?.kind];
  };
  const shown = await code(alice);
  const { verifyUntilMs } = shown;
  expect(await core.ok("invites.show", { tokenId: shown.tokenId })).toEqual({ link: shown.link });
  expect((await inviteOf(core, shown.tokenId))?.verifyUntilMs).toBe(verifyUntilMs);
  await core.ok("invites.withdraw", { tokenId: shown.tokenId });
  expect(await refusal(shown.tokenId)).toEqual(["conflict", "withdrawn"]);
  await core.ok("invites.revive", { tokenId: shown.tokenId });
  expect(await core.ok("invites.show", { tokenId: shown.tokenId })).toEqual({ link: shown.link });
  const single = await code(alice, "personal-link");
  await join(bob, (await core.ok("invites.show", { tokenId: single.tokenId })).link);
  expect(await refusal(single.tokenId)).toEqual(["conflict", "used"]);
  expect(await refusal("none")).toEqual(["not-found", undefined]);
});

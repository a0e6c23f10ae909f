import { expect, test, vi } from "vitest";
import { sameAs, startCore } from "../core.ts";
import type { Core } from "../core.ts";
import { forgedIdentity, withForged } from "../verification/forged-identity.ts";
import { identityOf } from "../verification/verifying.ts";
import { isOpen, isQuery, isSignatures, signaturesFor } from "./code-holder.ts";
import { accept, code, dropped, expectContacts, join, joinOf, joined, useInviting, verified } from "./inviting.ts";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 300_000 });
const { someone } = useInviting();

type Json = Record<string, unknown>;
const isSealed = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\// };

const usesOf = async (core: Core, tokenId: string) =>
  (await core.ok("invites.list", {})).find((one) => one.tokenId === tokenId)?.uses;

test("scenario 16: the server shows another Alice: nothing is signed, and sending to her is blocked over a restart", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link } = await code(alice);
  bob.proxy.on(isQuery, { kind: "rewrite-response", json: withForged(alice.userId, forgedIdentity(alice.userId)) });
  expect(await joined(bob.core, await accept(bob, link), "failed")).toEqual({ at: "failed", code: "keys-differ" });
  expect(signaturesFor(bob, alice.userId)).toEqual([]);
  expect(bob.proxy.seen(isOpen)).toEqual([]);
  const core = await (await bob.core.stop(), startCore(sameAs(bob.core)));
  const { roomId } = await core.ok("rooms.create", { kind: "dm", invite: [alice.userId] });
  await core.send(roomId, "not for whoever that is");
  const item = await core.item(roomId, (one) => one.state === "failed", "the refusal");
  expect(item.failure?.code).toBe("recipients-blocked");
  expect(JSON.stringify(await core.ok("trust.ledger", { userId: alice.userId }))).toContain("send-blocked");

  // the true Alice, by her code: the block goes with the doubt
  bob.proxy.clear();
  expect((await joined(core, await accept({ core }, link), "done")).result).toBe("mutual");
  await core.ok("timeline.retry", { itemId: item.itemId });
  await core.sent(roomId, item.itemId);
});

test("scenarios 17 and 26: the server shows Alice another Bob, or an unsigned device of his: no use, no confirmation", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice, "public");
  const stripped = (body: unknown): unknown => {
    const answer = body as { device_keys?: Record<string, Record<string, Json>> };
    const devices = Object.entries(answer.device_keys?.[bob.userId] ?? {}).map(([deviceId, keys]): [string, Json] => {
      const own = (keys["signatures"] as Record<string, Json> | undefined)?.[bob.userId] ?? {};
      const mine = Object.fromEntries(Object.entries(own).filter(([name]) => name === `ed25519:${deviceId}`));
      return [deviceId, { ...keys, signatures: { [bob.userId]: mine } }];
    });
    return { ...answer, device_keys: { ...answer.device_keys, [bob.userId]: Object.fromEntries(devices) } };
  };
  const unsigned = alice.proxy.on(isQuery, { kind: "rewrite-response", json: stripped });
  const joinId = await accept(bob, link);
  await dropped(alice, "proof: keys are not theirs");
  expect(await usesOf(alice.core, tokenId)).toEqual([]);
  unsigned.remove();

  const cleo = await someone("cleo");
  alice.proxy.on(isQuery, { kind: "rewrite-response", json: withForged(cleo.userId, forgedIdentity(cleo.userId)) });
  const lines = alice.core.logs.length;
  const other = await accept(cleo, link);
  await alice.core.until(
    () => Promise.resolve(alice.core.logs.slice(lines).some((line) => line.text.includes("dropped (proof:"))),
    "the refusal",
  );
  expect(await usesOf(alice.core, tokenId)).toEqual([]);
  expect(signaturesFor(alice, bob.userId)).toEqual([]);
  expect(signaturesFor(alice, cleo.userId)).toEqual([]);
  for (const [person, id] of [
    [bob, joinId],
    [cleo, other],
  ] as const)
    expect((await joinOf(person.core, id))?.state.at).toBe("proving");
});

test("scenario 20: the same person with a second identity: frozen, with an alarm", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice, "personal-link");
  await join(bob, link);
  await expectContacts(alice, bob);
  await bob.core.ok("trust.reset", { password: bob.account.password, keepHistory: true });
  await bob.core.until(async () => (await bob.core.ok("trust.status", {})).identity === "verified", "the new identity");
  await accept(bob, link);
  const alarm = await alice.core.until(async () => (await alice.core.ok("invites.alarms", {}))[0], "the alarm");
  expect(alarm).toMatchObject({ kind: "second-key", tokenId, userIds: [bob.userId] });
  expect(await identityOf(alice.core, bob.userId)).not.toBe("verified");
});

test("scenario 21: withdrawn while the proof is under way: no effect, and nothing is answered after", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice);
  const held = bob.proxy.on(isSealed, { kind: "hold" });
  await accept(bob, link);
  await bob.core.until(() => Promise.resolve(held.used > 0), "the proof under way");
  await alice.core.ok("invites.withdraw", { tokenId });
  held.release();
  await dropped(alice, "proof: no such code");
  const cleo = await someone("cleo");
  const answers = alice.proxy.seen(isOpen).length;
  await accept(cleo, link);
  await dropped(alice, "hello: no such code");
  expect(alice.proxy.seen(isOpen)).toHaveLength(answers);
  expect(await usesOf(alice.core, tokenId)).toEqual([]);
  expect(signaturesFor(alice, bob.userId)).toEqual([]);
});

test("scenario 30: whom Alice ignores gets no answer, and costs no key query", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice);
  await alice.core.ok("people.ignore", { userId: bob.userId, ignored: true });
  await alice.core.sync();
  const asked = () => alice.proxy.seen(isQuery).filter((one) => String(one.requestBody).includes(bob.userId)).length;
  const before = asked();
  await accept(bob, link);
  await bob.proxy.waitFor(isOpen);
  await dropped(alice, "message: ignored");
  await alice.core.sync();
  expect(alice.proxy.seen(isOpen)).toEqual([]);
  expect(asked()).toBe(before);
  expect(await usesOf(alice.core, tokenId)).toEqual([]);
});

test("scenario 36: keys that change between comparing and signing: only what was compared is signed", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link } = await code(alice);
  const forged = forgedIdentity(alice.userId);
  // true for the question before the signature, another identity from the upload on
  bob.proxy.on(isQuery, {
    kind: "rewrite-response",
    json: (body) => (signaturesFor(bob, alice.userId).length > 0 ? withForged(alice.userId, forged)(body) : body),
  });
  expect(await joined(bob.core, await accept(bob, link), "failed")).toEqual({ at: "failed", code: "keys-differ" });
  const uploads = signaturesFor(bob, alice.userId).map((one) => String(one.requestBody));
  expect(uploads).toHaveLength(1);
  expect(uploads[0]).not.toContain(forged.masterKey);
});

test("scenario 37: a 200 with failures is no signature: not shown as verified, and tried again", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link } = await code(alice);
  const failures = { [alice.userId]: { key: { errcode: "M_INVALID_SIGNATURE", error: "no" } } };
  const refusal = bob.proxy.on(isSignatures, { kind: "status", status: 200, body: { failures } });
  const joinId = await accept(bob, link);
  await bob.core.until(() => Promise.resolve(refusal.used >= 2), "a second try");
  expect(await identityOf(bob.core, alice.userId)).not.toBe("verified");
  expect((await joinOf(bob.core, joinId))?.state).toEqual({ at: "waiting" });
  refusal.remove();
  await joined(bob.core, joinId, "done");
  await verified(bob.core, alice.userId);
});

test("scenario 38: after a new identity of Alice's her old code is dead, for her and for whoever scans it", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link } = await code(alice, "personal-link");
  await alice.core.ok("trust.reset", { password: alice.account.password, keepHistory: true });
  await alice.core.until(async () => (await alice.core.ok("invites.list", {})).length === 0, "the codes gone");
  expect(await joined(bob.core, await accept(bob, link), "failed")).toEqual({ at: "failed", code: "keys-differ" });
});

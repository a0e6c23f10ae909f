import { expect, test } from "vitest";
import { createFlood, createTurnstile } from "../../../main/core/features/invites/flood.ts";
import { firstWorkState, workStep, type WorkState } from "../../../main/core/features/invites/inviter.ts";
import {
  deadlineMs,
  firstJoinState,
  joinStep,
  shownState,
  wakesAtMs,
  type Candidate,
  type JoinInput,
  type JoinState,
} from "../../../main/core/features/invites/joiner.ts";
import { pad, paddedBytes, unpad } from "../../../main/core/features/invites/messages.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
const startMs = 1_800_000_000_000;
const contact = { kind: "contact" as const, expiresAtMs: 0, startedAtMs: startMs };
const group = { ...contact, kind: "group" as const };
const device = (name: string): Candidate => ({
  deviceId: name,
  ed25519: name,
  curve25519: `curve of ${name}`,
  inviterNonce: "n",
});
const reply = (name: string, result: "ok" | "used" | "hold" = "ok"): JoinInput => ({
  kind: "reply",
  result,
  candidate: device(name),
});
const proved = (name: string): JoinInput => ({
  kind: "proved",
  proved: { ...device(name), transcript: "t", confirmKey: "k" },
});
const confirmed = (more: Partial<Extract<JoinInput, { kind: "confirm" }>["confirmed"]> = {}): JoinInput => ({
  kind: "confirm",
  confirmed: { result: "ok", verified: true, room: "", via: [], ...more },
});
const steps = (
  state: JoinState,
  inputs: JoinInput[],
  terms: typeof contact | typeof group = contact,
  nowMs = startMs,
) => inputs.reduce((at, input) => joinStep(at, input, terms, nowMs).state, state);
const greeted = () => steps(firstJoinState(startMs), [{ kind: "signed" }, { kind: "room", roomId: "!dm" }]);

test("HELLO is sent again after a minute, ten, an hour, six, then daily, until a fortnight has passed", () => {
  let state = greeted();
  const sent: number[] = [];
  for (;;) {
    const at = wakesAtMs(state, contact);
    if (at === undefined) break;
    const next = joinStep(state, { kind: "tick" }, contact, at);
    if (next.effects.some(({ kind }) => kind === "hello")) sent.push(at - startMs);
    state = next.state;
  }
  const [first, second, third, fourth] = [minuteMs, 11 * minuteMs, 71 * minuteMs, 431 * minuteMs];
  expect(sent.slice(0, 5)).toEqual([first, second, third, fourth, fourth + dayMs]);
  expect(sent).toHaveLength(4 + 13);
  expect(state).toEqual({ at: "done", result: "one-sided", roomId: "!dm", proved: [] });
});

test("a code that expires is waited for one day longer", () => {
  expect(deadlineMs({ ...contact, expiresAtMs: startMs + hourMs })).toBe(startMs + hourMs + dayMs);
  expect(deadlineMs({ ...contact, expiresAtMs: startMs + 90 * dayMs })).toBe(startMs + 14 * dayMs);
  const ended = joinStep(greeted(), { kind: "tick" }, { ...group, expiresAtMs: startMs + 1 }, startMs + 2 * dayMs);
  expect(ended.state).toEqual({ at: "failed", code: "expired" });
});

test("without a confirmation the next device is tried after a minute, and HELLO again after ten", () => {
  let state = steps(greeted(), [reply("LAPTOP"), proved("LAPTOP"), reply("PHONE"), reply("PHONE"), reply("LAPTOP")]);
  expect(state).toMatchObject({ at: "proof", alternates: [device("PHONE")] });
  expect(joinStep(state, { kind: "tick" }, contact, startMs + minuteMs - 1).effects).toEqual([]);
  const next = joinStep(state, { kind: "tick" }, contact, startMs + minuteMs);
  expect(next.effects).toEqual([{ kind: "proof", candidate: device("PHONE"), roomId: "!dm" }]);
  state = steps(next.state, [proved("PHONE")]);
  const again = joinStep(state, { kind: "tick" }, contact, startMs + 10 * minuteMs);
  expect(again.effects).toEqual([{ kind: "hello" }]);
  // what either of them confirms late still counts
  expect(again.state).toMatchObject({ at: "hello", sent: 2, proved: [{ deviceId: "PHONE" }, { deviceId: "LAPTOP" }] });
  expect(steps(again.state, [confirmed()])).toMatchObject({ at: "done", result: "mutual", roomId: "!dm" });
});

test("HELLO does not wait for the chat, and a proof does", () => {
  const signed = joinStep(firstJoinState(startMs), { kind: "signed" }, contact, startMs);
  expect(signed.effects).toEqual([{ kind: "make-room", intended: false }, { kind: "hello" }]);
  const answered = joinStep(signed.state, reply("A"), contact, startMs);
  expect(answered.effects).toEqual([]);
  const both = steps(answered.state, [reply("A"), reply("B"), reply("C", "hold")]);
  const made = joinStep(both, { kind: "room", roomId: "!dm" }, contact, startMs);
  expect(made.effects).toEqual([{ kind: "proof", candidate: device("A"), roomId: "!dm" }]);
  expect(made.state).toMatchObject({ at: "proof", alternates: [device("B")] });
});

test("no more than four other devices are kept", () => {
  const state = steps(greeted(), [
    reply("A"),
    proved("A"),
    ...["B", "C", "D", "E", "F", "G"].map((name) => reply(name)),
  ]);
  expect(state.at === "proof" && state.alternates.map((one) => one.deviceId)).toEqual(["B", "C", "D", "E"]);
});

test("hold waits, used warns, and a late used does not stop a proof", () => {
  expect(steps(greeted(), [reply("A", "hold")])).toMatchObject({ at: "hello" });
  expect(steps(greeted(), [reply("A", "used")])).toEqual({ at: "failed", code: "used" });
  expect(steps(greeted(), [reply("A"), proved("A"), reply("B", "used")])).toMatchObject({ at: "proof" });
});

test("other keys than the code's end a join for good, with a block and without the secret", () => {
  const step = joinStep(firstJoinState(startMs), { kind: "sign-failed", code: "keys-differ" }, contact, startMs);
  expect(step.state).toEqual({ at: "failed", code: "keys-differ" });
  expect(step.effects).toEqual([{ kind: "block-sending" }, { kind: "forget-secret" }]);
  for (const input of [
    { kind: "signed" },
    { kind: "tick" },
    reply("A"),
    confirmed(),
    { kind: "unblock" },
  ] as JoinInput[])
    expect(joinStep(step.state, input, contact, startMs + dayMs)).toEqual({ state: step.state, effects: [] });
});

test("a group: only the room of the confirmation, and what the inviter may not do is said", () => {
  const waiting = steps(firstJoinState(startMs), [{ kind: "signed" }, reply("A"), proved("A")], group);
  const enter = joinStep(waiting, confirmed({ room: "!group" }), group, startMs);
  expect(enter.effects).toEqual([{ kind: "enter", roomId: "!group", via: [] }]);
  expect(steps(enter.state, [{ kind: "entered" }], group)).toMatchObject({ at: "done", roomId: "!group" });
  expect(steps(waiting, [confirmed({ result: "gone" })], group)).toEqual({ at: "failed", code: "gone" });
  expect(steps(waiting, [confirmed({ result: "no_permission" })], group)).toEqual({
    at: "failed",
    code: "no-permission",
  });
  const knock = joinStep(waiting, confirmed({ result: "no_permission", room: "!group" }), group, startMs);
  expect(knock.effects).toEqual([{ kind: "knock", roomId: "!group", via: [] }]);
  const asked = steps(knock.state, [{ kind: "knocked" }], group);
  expect(shownState(asked, startMs)).toEqual({ at: "blocked", code: "no-permission" });
});

test("an inviter who signs later makes a one-sided join mutual, and nobody makes it less", () => {
  const done = steps(greeted(), [reply("A"), proved("A"), confirmed({ verified: false })]);
  expect(done).toMatchObject({ at: "done", result: "one-sided" });
  const mutual = steps(done, [confirmed()]);
  expect(mutual).toMatchObject({ at: "done", result: "mutual" });
  expect(steps(mutual, [confirmed({ verified: false })])).toEqual(mutual);
});

test("after twenty seconds it is said that she will answer when she is online", () => {
  const state = greeted();
  expect(shownState(state, startMs + 19_999)).toEqual({ at: "inviter-verified" });
  expect(shownState(state, startMs + 20_000)).toEqual({ at: "waiting" });
});

test("the inviter signs, lets in, confirms; a key that is another by then gets nothing", () => {
  const terms = { kind: "contact" as const };
  const first = firstWorkState(true, false, startMs);
  const signed = workStep(first, { kind: "signed" }, terms, startMs);
  expect(signed.effects).toEqual([{ kind: "let-in" }]);
  const done = workStep(signed.state, { kind: "let-in", result: "ok", room: "!dm", via: [] }, terms, startMs);
  expect(done.effects).toEqual([{ kind: "confirm" }]);
  expect(done.state).toMatchObject({ at: "confirmed", verified: true });
  // who missed it is told again, and nothing is signed anew
  expect(workStep(done.state, { kind: "again" }, terms, startMs).effects).toEqual([{ kind: "let-in" }]);
  const differs = workStep(first, { kind: "sign-failed", code: "keys-differ" }, terms, startMs);
  expect(differs).toEqual({ state: { at: "stopped", why: "keys-differ" }, effects: [] });
  expect(workStep(differs.state, { kind: "start" }, terms, startMs).effects).toEqual([]);
  const frozen: WorkState = workStep(signed.state, { kind: "freeze" }, terms, startMs).state;
  expect(workStep(frozen, { kind: "let-in", result: "ok", room: "", via: [] }, terms, startMs).effects).toEqual([]);
});

test("a chat that does not come is waited for half a minute, no longer", () => {
  const terms = { kind: "contact" as const };
  const waiting = firstWorkState(false, false, startMs);
  expect(workStep(waiting, { kind: "not-yet" }, terms, startMs + 29_999).effects).toEqual([]);
  expect(workStep(waiting, { kind: "not-yet" }, terms, startMs + 30_000).effects).toEqual([{ kind: "confirm" }]);
});

test("strangers who flood shut out nobody else", () => {
  let now = startMs;
  const flood = createFlood(() => now);
  const looks = Array.from({ length: 20 }, () => flood.mayLook("@eve:bad.test"));
  expect(looks.filter(Boolean)).toHaveLength(5);
  const ofServer = Array.from({ length: 100 }, (_, n) => flood.mayLook(`@e${n}:bad.test`));
  expect(ofServer.filter(Boolean)).toHaveLength(30 - 5);
  expect(flood.mayLook("@bob:good.test")).toBe(true);
  now += 10 * minuteMs;
  expect(flood.mayLook("@eve:bad.test")).toBe(true);
  const joiners = Array.from({ length: 50 }, (_, n) => flood.mayAnswer("token", `@j${n}:x.test`, false));
  expect(joiners.filter(Boolean)).toHaveLength(30);
  // whoever is in already is answered, and so is who came before the flood
  expect(flood.mayAnswer("token", "@in:x.test", true)).toBe(true);
  expect(flood.mayAnswer("token", "@j3:x.test", false)).toBe(true);
});

test("a turnstile lets so many in at once, and turns away who would wait too long", async () => {
  const pass = createTurnstile(3, 2);
  let inside = 0;
  let most = 0;
  const gate = Promise.withResolvers<undefined>();
  const work = async () => {
    most = Math.max(most, ++inside);
    await gate.promise;
    inside--;
    return true;
  };
  const all = Array.from({ length: 6 }, () => pass(work));
  gate.resolve(undefined);
  expect(await Promise.all(all)).toEqual([true, true, true, true, true, undefined]);
  expect(most).toBe(3);
  expect(await pass(() => Promise.resolve("again"))).toBe("again");
});

test("padding has one length, and anything else in it is refused", () => {
  const padded = pad('{"s":"hello"}');
  expect(padded).toHaveLength(paddedBytes);
  expect(unpad(padded)).toEqual({ s: "hello" });
  expect(unpad(padded.slice(1))).toBeUndefined();
  const dirty = padded.slice();
  dirty[paddedBytes - 1] = 1;
  expect(unpad(dirty)).toBeUndefined();
  const long = padded.slice();
  long[0] = 0xff;
  expect(unpad(long)).toBeUndefined();
  expect(() => pad("x".repeat(paddedBytes))).toThrow(RangeError);
});

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

const turn = () => new Promise((resolve) => setImmediate(resolve));
/** Works that end when they are told to. */
function visits(pass: ReturnType<typeof createTurnstile>) {
  const entered: string[] = [];
  const gates = new Map<string, () => void>();
  return {
    entered,
    visit: (name: string, known = false): Promise<string | undefined> =>
      pass({ name, known }, async () => {
        entered.push(name);
        await new Promise<void>((resolve) => gates.set(name, resolve));
        return name;
      }),
    end: async (name: string): Promise<void> => {
      gates.get(name)?.();
      await turn();
    },
  };
}

test("a turnstile lets so many in at once, one fewer of strangers, and turns away who would wait too long", async () => {
  const { entered, visit, end } = visits(createTurnstile(3, 2));
  const all = ["@a:1", "@b:2", "@c:3", "@d:4", "@e:5"].map((name) => visit(name));
  await turn();
  expect(entered).toEqual(["@a:1", "@b:2"]);
  expect(await all[4]).toBeUndefined();
  for (const name of ["@a:1", "@b:2", "@c:3", "@d:4"]) await end(name);
  expect(await Promise.all(all)).toEqual(["@a:1", "@b:2", "@c:3", "@d:4", undefined]);
  const again = visit("@a:1");
  await turn();
  await end("@a:1");
  expect(await again).toBe("@a:1");
});

test("hanging strangers keep out nobody who is known, and a hanging server only its own people", async () => {
  const { entered, visit, end } = visits(createTurnstile(3, 200));
  const strangers = Array.from({ length: 20 }, (_, n) => visit(`@s${n}:hangs`));
  // nobody takes two places by asking twice
  expect(await visit("@s1:hangs")).toBeUndefined();
  void visit("@friend:hangs", true);
  void visit("@other:hangs", true);
  const guest = visit("@guest:fine");
  await turn();
  expect(entered).toEqual(["@s0:hangs", "@s1:hangs", "@friend:hangs"]);
  await end("@friend:hangs");
  expect(entered.at(-1)).toBe("@other:hangs");
  // the first place that a time-out frees is the guest's, who came last
  await end("@s0:hangs");
  expect(entered.at(-1)).toBe("@guest:fine");
  await end("@guest:fine");
  expect(await guest).toBe("@guest:fine");
  expect(await strangers[0]).toBe("@s0:hangs");
});

test("a join is cancelled wherever it is not confirmed, and nothing that comes later changes that", () => {
  const proving = steps(greeted(), [reply("PHONE"), proved("PHONE")]);
  const running: JoinState[] = [
    firstJoinState(startMs),
    steps(firstJoinState(startMs), [{ kind: "signed" }]),
    greeted(),
    proving,
    { at: "blocked", code: "setup-needed" },
  ];
  for (const state of running) {
    const { state: over, effects } = joinStep(state, { kind: "cancel" }, contact, startMs);
    expect(over).toEqual({ at: "failed", code: "cancelled" });
    expect(effects).toEqual([{ kind: "forget-secret" }]);
    expect(wakesAtMs(over, contact)).toBeUndefined();
    const late: JoinInput[] = [
      ...[
        { kind: "start" },
        { kind: "tick" },
        { kind: "signed" },
        { kind: "room", roomId: "!dm" },
        { kind: "unblock" },
      ],
      ...[reply("PHONE"), confirmed()],
    ] as JoinInput[];
    for (const input of late) expect(joinStep(over, input, contact, startMs)).toEqual({ state: over, effects: [] });
  }
  for (const state of [
    steps(proving, [confirmed()]),
    steps(
      firstJoinState(startMs),
      [{ kind: "signed" }, reply("PHONE"), proved("PHONE"), confirmed({ room: "!g" })],
      group,
    ),
  ])
    expect(joinStep(state, { kind: "cancel" }, contact, startMs)).toEqual({ state, effects: [] });
});

test("keys that differ are a reason not to write to them also where the join was cancelled meanwhile", () => {
  const over: JoinState = { at: "failed", code: "cancelled" };
  const { state, effects } = joinStep(over, { kind: "sign-failed", code: "keys-differ" }, contact, startMs);
  expect(state).toEqual({ at: "failed", code: "keys-differ" });
  expect(effects).toContainEqual({ kind: "block-sending" });
});

test("without an own identity the chat alone can be had: nothing is signed, no HELLO is sent", () => {
  const blocked = { at: "blocked", code: "setup-needed" } as const;
  const inputs: JoinInput[] = [
    { kind: "contact-only" },
    { kind: "room-failed" },
    { kind: "unblock" },
    { kind: "room-intended" },
    { kind: "start" },
    { kind: "room", roomId: "!dm" },
  ];
  let state = steps(blocked, []);
  const effects = inputs.flatMap((input) => {
    const step = joinStep(state, input, contact, startMs);
    state = step.state;
    return step.effects;
  });
  expect(state).toEqual({ at: "done", result: "contact-only", roomId: "!dm", proved: [] });
  expect(effects).toEqual([
    { kind: "make-room", intended: false },
    { kind: "make-room", intended: true },
    { kind: "forget-secret" },
  ]);
  // of a group nothing would be left, and whom one ignores one does not write to
  expect(joinStep(blocked, { kind: "contact-only" }, group, startMs).state).toEqual(blocked);
  const ignored: JoinState = { at: "blocked", code: "ignored" };
  expect(joinStep(ignored, { kind: "contact-only" }, contact, startMs).state).toEqual(ignored);
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

// Longer than most: the whole machine in one file, so that every transition can be read against the others.
import type { InviteKind, Join, JoinCode } from "../../../../preload/contract/invites.ts";

/**
 * The joiner's side as a pure machine: what happened, and when, to what is next. The runtime (joins.ts) saves each state together
 * with the messages that its effects put, and gives `start` after a restart: what was under way is done again.
 * docs/invite-protocol.md, "The joiner".
 */

/** Bytes in unpadded base64. */
export type Candidate = { deviceId: string; ed25519: string; curve25519: string; inviterNonce: string };
/** What a proof spoke of: its confirmation is judged by this. */
export type Proved = Candidate & { transcript: string; confirmKey: string };
type Retry = { tries: number; nextMs: number };

export type JoinState =
  /** Their key is to be compared and signed. */
  | ({ at: "confirmed" } & Retry)
  /**
   * A direct chat is to be found or made, while HELLO is on its way already. `intent`: a request that makes one may have reached the
   * server. `candidates`: who answered meanwhile; a proof names the chat, so it waits for it.
   */
  | ({ at: "keys-ok"; intent: boolean; sentAtMs: number; candidates: Candidate[] } & Retry)
  | { at: "hello"; roomId?: string; sent: number; sentAtMs: number; nextMs: number; proved: Proved[] }
  | {
      at: "proof";
      roomId?: string;
      sent: number;
      proved: Proved[];
      alternates: Candidate[];
      provedAtMs: number;
      sinceMs: number;
    }
  /** A group: the room that CONFIRM named is to be joined, or asked to be let into. */
  | ({
      at: "entering";
      roomId: string;
      via: string[];
      verified: boolean;
      knock: "no" | "wanted" | "sent";
      proved: Proved[];
    } & Retry)
  /** Without an identity of one's own, by the person's word: a chat, and nobody verified. */
  | ({ at: "chat-only"; intent: boolean } & Retry)
  | { at: "done"; result: "mutual" | "one-sided" | "contact-only"; roomId?: string; proved: Proved[] }
  | { at: "blocked"; code: "setup-needed" | "ignored" }
  | { at: "failed"; code: JoinCode };

export type JoinTerms = { kind: InviteKind; expiresAtMs: number; startedAtMs: number };
export type Confirmed = {
  result: "ok" | "already" | "no_permission" | "gone";
  verified: boolean;
  room: string;
  via: string[];
};
export type JoinInput =
  | { kind: "start" }
  | { kind: "tick" }
  | { kind: "signed" }
  | { kind: "sign-failed"; code: "keys-differ" | "setup-needed" | "not-found" | "unreachable" }
  | { kind: "room-intended" }
  | { kind: "room"; roomId: string }
  | { kind: "room-failed" }
  | { kind: "reply"; result: "ok" | "used" | "hold"; candidate: Candidate }
  /** The runtime has sent this proof's message with the state. */
  | { kind: "proved"; proved: Proved }
  | { kind: "confirm"; confirmed: Confirmed }
  | { kind: "entered" }
  | { kind: "not-entered" }
  | { kind: "knocked" }
  | { kind: "knock-refused" }
  | { kind: "block"; code: "setup-needed" | "ignored" }
  | { kind: "unblock" }
  /** The person does not want to set up an identity now. */
  | { kind: "contact-only" }
  /** The person has thought better of it. */
  | { kind: "cancel" };
export type JoinEffect =
  | { kind: "sign" }
  | { kind: "make-room"; intended: boolean }
  | { kind: "hello" }
  /** Its message belongs to the same transaction; `proved` comes back at once. */
  | { kind: "proof"; candidate: Candidate; roomId?: string }
  | { kind: "enter"; roomId: string; via: string[] }
  | { kind: "knock"; roomId: string; via: string[] }
  /** Nothing is sent to them any more until the person decides. */
  | { kind: "block-sending" }
  /** The code's secret goes. */
  | { kind: "forget-secret" };
export type JoinStep = { state: JoinState; effects: JoinEffect[] };

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
/** After the first HELLO, the second, and so on; then daily. */
const resendMs = [minuteMs, 10 * minuteMs, hourMs, 6 * hourMs];
const resendAfterMs = (sent: number): number => resendMs[sent - 1] ?? dayMs;
const alternateAfterMs = minuteMs;
const helloAgainAfterMs = 10 * minuteMs;
const mostAlternates = 4;
const mostProved = 8;
/** Somebody whom the server does not know now may be there in a minute, behind a slow federation; not in an hour. */
const notFoundTries = 6;
const longestRetryMs = 10 * minuteMs;

export const firstJoinState = (nowMs: number): JoinState => ({ at: "confirmed", tries: 0, nextMs: nowMs });
export const deadlineMs = ({ expiresAtMs, startedAtMs }: JoinTerms): number =>
  Math.min(startedAtMs + 14 * dayMs, expiresAtMs === 0 ? Infinity : expiresAtMs + dayMs);
/** A confirmed join only waits for its group: what is left of it belongs to the room. */
export const mayCancel = ({ at }: JoinState): boolean => at !== "entering" && at !== "done" && at !== "failed";
export const isOver = (state: JoinState): boolean => state.at === "done" || state.at === "failed";
const backOff = ({ tries }: Retry, nowMs: number): Retry => ({
  tries: tries + 1,
  nextMs: nowMs + Math.min(1_000 * 2 ** Math.min(tries, 12), longestRetryMs),
});

/** When time alone will change something; undefined where it will not. */
export function wakesAtMs(state: JoinState, terms: JoinTerms): number | undefined {
  switch (state.at) {
    case "confirmed":
    case "keys-ok":
    case "chat-only":
    case "entering":
      return Math.min(state.nextMs, deadlineMs(terms));
    case "hello":
      return Math.min(state.nextMs, deadlineMs(terms));
    case "proof":
      return Math.min(
        state.sinceMs + helloAgainAfterMs,
        state.alternates.length > 0 ? state.provedAtMs + alternateAfterMs : Infinity,
        deadlineMs(terms),
      );
    default:
      return undefined;
  }
}

const stay = (state: JoinState): JoinStep => ({ state, effects: [] });
const fail = (code: JoinCode, ...effects: JoinEffect[]): JoinStep => ({
  state: { at: "failed", code },
  effects: [...effects, { kind: "forget-secret" }],
});
const finish = (
  result: "mutual" | "one-sided" | "contact-only",
  roomId: string | undefined,
  proved: Proved[],
): JoinStep => ({
  state: { at: "done", result, ...(roomId === undefined ? {} : { roomId }), proved },
  effects: [{ kind: "forget-secret" }],
});
const hello = (roomId: string | undefined, sentBefore: number, proved: Proved[], nowMs: number): JoinStep => {
  const sent = sentBefore + 1;
  const nextMs = nowMs + resendAfterMs(sent);
  return {
    state: { at: "hello", ...(roomId === undefined ? {} : { roomId }), sent, sentAtMs: nowMs, nextMs, proved },
    effects: [{ kind: "hello" }],
  };
};

export function joinStep(state: JoinState, input: JoinInput, terms: JoinTerms, nowMs: number): JoinStep {
  if (input.kind === "block" && !isOver(state) && state.at !== "entering")
    return stay({ at: "blocked", code: input.code });
  if (input.kind === "tick" && !isOver(state) && state.at !== "blocked" && nowMs >= deadlineMs(terms))
    return ended(state, terms);
  if (input.kind === "cancel") return mayCancel(state) ? fail("cancelled") : stay(state);
  switch (state.at) {
    case "confirmed":
      return confirmed(state, input, terms, nowMs);
    case "keys-ok":
      return keysOk(state, input, nowMs);
    case "hello":
      return helloSent(state, input, terms, nowMs);
    case "proof":
      return proofSent(state, input, terms, nowMs);
    case "entering":
      return entering(state, input, nowMs);
    case "done":
      return done(state, input);
    case "blocked":
      if (input.kind === "contact-only" && state.code === "setup-needed" && terms.kind === "contact")
        return {
          state: { at: "chat-only", intent: false, tries: 0, nextMs: nowMs },
          effects: [{ kind: "make-room", intended: false }],
        };
      // from the beginning: whatever was done already is found done
      return input.kind === "unblock" ? { state: firstJoinState(nowMs), effects: [{ kind: "sign" }] } : stay(state);
    case "chat-only":
      return chatOnly(state, input, nowMs);
    case "failed":
      // found by a question that was under way when it was cancelled: no reason to write to whoever that is
      return state.code === "cancelled" && input.kind === "sign-failed" && input.code === "keys-differ"
        ? fail("keys-differ", { kind: "block-sending" })
        : stay(state);
  }
}

/** Nobody has answered. What stands by itself stands. */
function ended(state: JoinState, { kind }: JoinTerms): JoinStep {
  if (state.at === "entering") return fail("no-permission");
  if (kind === "group") return fail("expired");
  if (state.at === "hello" || state.at === "proof") return finish("one-sided", state.roomId, state.proved);
  return fail(state.at === "confirmed" || state.at === "chat-only" ? "unreachable" : "expired");
}

function confirmed(
  state: Extract<JoinState, { at: "confirmed" }>,
  input: JoinInput,
  { kind }: JoinTerms,
  nowMs: number,
): JoinStep {
  switch (input.kind) {
    case "start":
      return { state, effects: [{ kind: "sign" }] };
    case "tick":
      return nowMs >= state.nextMs ? { state, effects: [{ kind: "sign" }] } : stay(state);
    case "signed":
      if (kind === "group") return hello(undefined, 0, [], nowMs);
      return {
        state: { at: "keys-ok", intent: false, sentAtMs: nowMs, candidates: [], tries: 0, nextMs: nowMs },
        effects: [{ kind: "make-room", intended: false }, { kind: "hello" }],
      };
    case "sign-failed":
      if (input.code === "keys-differ") return fail("keys-differ", { kind: "block-sending" });
      if (input.code === "setup-needed") return stay({ at: "blocked", code: "setup-needed" });
      if (input.code === "not-found" && state.tries + 1 >= notFoundTries) return fail("not-found");
      return stay({ at: "confirmed", ...backOff(state, nowMs) });
    default:
      return stay(state);
  }
}

type MakesRoom = Extract<JoinState, { at: "keys-ok" } | { at: "chat-only" }>;
/** Makes the chat with them, again where that failed; what else comes leaves it as it is. */
function makingRoom(state: MakesRoom, input: JoinInput, nowMs: number): JoinStep {
  const make: JoinEffect = { kind: "make-room", intended: state.intent };
  switch (input.kind) {
    case "start":
      return { state, effects: [make] };
    case "tick":
      return nowMs >= state.nextMs ? { state, effects: [make] } : stay(state);
    case "room-intended":
      return stay({ ...state, intent: true });
    case "room-failed":
      return stay({ ...state, ...backOff(state, nowMs) });
    default:
      return stay(state);
  }
}

function keysOk(state: Extract<JoinState, { at: "keys-ok" }>, input: JoinInput, nowMs: number): JoinStep {
  switch (input.kind) {
    case "reply":
      if (input.result === "used") return fail("used");
      return stay(input.result === "ok" ? { ...state, candidates: added(state.candidates, input.candidate) } : state);
    case "room": {
      const { roomId } = input;
      const [candidate, ...alternates] = state.candidates;
      if (candidate !== undefined) return proving({ roomId, sent: 1, proved: [] }, candidate, alternates, nowMs);
      const { sentAtMs } = state;
      return stay({ at: "hello", roomId, sent: 1, sentAtMs, nextMs: sentAtMs + resendAfterMs(1), proved: [] });
    }
    default:
      return makingRoom(state, input, nowMs);
  }
}

const chatOnly = (state: Extract<JoinState, { at: "chat-only" }>, input: JoinInput, nowMs: number): JoinStep =>
  input.kind === "room" ? finish("contact-only", input.roomId, []) : makingRoom(state, input, nowMs);

function helloSent(
  state: Extract<JoinState, { at: "hello" }>,
  input: JoinInput,
  terms: JoinTerms,
  nowMs: number,
): JoinStep {
  switch (input.kind) {
    case "tick":
      return nowMs >= state.nextMs ? hello(state.roomId, state.sent, state.proved, nowMs) : stay(state);
    case "reply":
      if (input.result === "hold") return stay(state);
      if (input.result === "used") return fail("used");
      return proving(state, input.candidate, [], nowMs);
    case "confirm":
      return confirm(state, input.confirmed, terms, nowMs);
    default:
      return stay(state);
  }
}

const proving = (
  state: { roomId?: string; sent: number; proved: Proved[] },
  candidate: Candidate,
  alternates: Candidate[],
  nowMs: number,
): JoinStep => {
  const { sent, proved } = state;
  return {
    state: { at: "proof", ...roomIn(state), sent, proved, alternates, provedAtMs: nowMs, sinceMs: nowMs },
    effects: [{ kind: "proof", candidate, ...roomIn(state) }],
  };
};
/** The first that answered comes first; each device once. */
const added = (candidates: Candidate[], candidate: Candidate): Candidate[] =>
  candidates.length > mostAlternates || candidates.some((one) => one.curve25519 === candidate.curve25519)
    ? candidates
    : [...candidates, candidate];

function proofSent(
  state: Extract<JoinState, { at: "proof" }>,
  input: JoinInput,
  terms: JoinTerms,
  nowMs: number,
): JoinStep {
  switch (input.kind) {
    case "proved":
      return stay({
        ...state,
        proved: [input.proved, ...state.proved.filter((one) => one.curve25519 !== input.proved.curve25519)].slice(
          0,
          mostProved,
        ),
      });
    case "reply": {
      const { candidate } = input;
      // a code holder's false "used" could otherwise end what is well under way
      if (input.result !== "ok" || state.alternates.length >= mostAlternates) return stay(state);
      const known = [...state.proved, ...state.alternates].some((one) => one.curve25519 === candidate.curve25519);
      return stay(known ? state : { ...state, alternates: [...state.alternates, candidate] });
    }
    case "tick": {
      if (nowMs >= state.sinceMs + helloAgainAfterMs) return hello(state.roomId, state.sent, state.proved, nowMs);
      const [next, ...alternates] = state.alternates;
      if (next === undefined || nowMs < state.provedAtMs + alternateAfterMs) return stay(state);
      return {
        state: { ...state, alternates, provedAtMs: nowMs },
        effects: [{ kind: "proof", candidate: next, ...roomIn(state) }],
      };
    }
    case "confirm":
      return confirm(state, input.confirmed, terms, nowMs);
    default:
      return stay(state);
  }
}

function confirm(
  state: Extract<JoinState, { at: "hello" | "proof" }>,
  { result, verified, room, via }: Confirmed,
  { kind }: JoinTerms,
  nowMs: number,
): JoinStep {
  const outcome = verified ? "mutual" : "one-sided";
  if (kind === "contact") return finish(outcome, state.roomId, state.proved);
  if (result === "gone") return fail("gone");
  if (room === "") return fail("no-permission");
  const { proved } = state;
  const common = { at: "entering" as const, roomId: room, via, verified, proved, tries: 0, nextMs: nowMs };
  if (result === "no_permission")
    return { state: { ...common, knock: "wanted" }, effects: [{ kind: "knock", roomId: room, via }] };
  return { state: { ...common, knock: "no" }, effects: [{ kind: "enter", roomId: room, via }] };
}

function entering(state: Extract<JoinState, { at: "entering" }>, input: JoinInput, nowMs: number): JoinStep {
  const { roomId, via } = state;
  const next: JoinEffect = state.knock === "wanted" ? { kind: "knock", roomId, via } : { kind: "enter", roomId, via };
  switch (input.kind) {
    case "start":
      return { state, effects: [next] };
    case "tick":
      return nowMs >= state.nextMs ? { state, effects: [next] } : stay(state);
    case "knocked":
      return stay({ ...state, knock: "sent", ...backOff(state, nowMs) });
    case "knock-refused":
      return fail("no-permission");
    case "not-entered":
      return stay({ ...state, ...backOff(state, nowMs) });
    case "entered":
      return finish(state.verified ? "mutual" : "one-sided", roomId, state.proved);
    case "confirm":
      // the inviter answered once more, by now with the right to invite or with a signature
      return stay({
        ...state,
        verified: state.verified || input.confirmed.verified,
        ...(input.confirmed.result === "ok" && input.confirmed.room === roomId ? { knock: "no" as const } : {}),
      });
    default:
      return stay(state);
  }
}

/** An inviter who was asked first signs later, and says so. */
function done(state: Extract<JoinState, { at: "done" }>, input: JoinInput): JoinStep {
  return input.kind === "confirm" && input.confirmed.verified && state.result === "one-sided"
    ? stay({ ...state, result: "mutual" })
    : stay(state);
}

const roomIn = ({ roomId }: { roomId?: string }) => (roomId === undefined ? {} : { roomId });

/** "They will answer when they are online": said once they did not at once. */
export const waitingAfterMs = 20_000;
/** What the window is shown. */
export function shownState(state: JoinState, nowMs: number): Join["state"] {
  switch (state.at) {
    // a first try takes a moment; what fails waits for somebody's server
    case "confirmed":
      return { at: state.tries === 0 ? "proving" : "waiting" };
    case "keys-ok":
      return { at: state.tries === 0 ? "inviter-verified" : "waiting" };
    case "hello":
      return { at: state.sent > 1 || nowMs >= state.sentAtMs + waitingAfterMs ? "waiting" : "inviter-verified" };
    case "proof":
      return { at: "proving" };
    case "chat-only":
      return { at: "waiting" };
    case "entering":
      return state.knock === "sent" ? { at: "blocked", code: "no-permission" } : { at: "proving" };
    case "done":
      return { at: "done", result: state.result, ...roomIn(state) };
    case "blocked":
      return { at: "blocked", code: state.code };
    case "failed":
      return { at: "failed", code: state.code };
  }
}

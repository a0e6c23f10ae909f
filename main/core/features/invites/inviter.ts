import type { InviteKind } from "../../../../preload/contract/invites.ts";

/**
 * The inviter's side after a good proof, as a pure machine: sign, let in, confirm. Until a proof she keeps nothing of a joiner. Its
 * rows are the journal: after a crash `start` does again what was under way, and each effect finds done what was done.
 * docs/invite-protocol.md, "The inviter".
 */
export type ConfirmResult = "ok" | "already" | "no_permission" | "gone";
type Retry = { tries: number; nextMs: number };
export type WorkState =
  | ({ at: "signing" } & Retry)
  /** `entering`: the joiner's chat may have been joined; who else is in there is still to be looked at. */
  | ({ at: "letting-in"; verified: boolean; sinceMs: number; entering: boolean } & Retry)
  | { at: "confirmed"; verified: boolean; result: ConfirmResult; room: string; via: string[] }
  | { at: "stopped"; why: "keys-differ" | "second-key" | "frozen" | "gone" };
export type WorkTerms = { kind: InviteKind };
export type WorkInput =
  | { kind: "start" }
  | { kind: "tick" }
  | { kind: "signed" }
  | { kind: "sign-failed"; code: "keys-differ" | "cannot" | "later" }
  | { kind: "let-in"; result: ConfirmResult; room: string; via: string[] }
  | { kind: "entering" }
  /** The invitation to the joiner's chat has not come yet, or the network failed. */
  | { kind: "not-yet" }
  | { kind: "failed" }
  /** The same proof again: its sender missed the confirmation. */
  | { kind: "again" }
  /** The code is not known here any more. */
  | { kind: "gone" }
  | { kind: "freeze" };
export type WorkEffect = { kind: "sign" } | { kind: "let-in" } | { kind: "confirm" };
export type WorkStep = { state: WorkState; effects: WorkEffect[] };

/** For so long the chat's invitation is waited for before the joiner is told; it may still come after. */
export const chatPatienceMs = 30_000;
const longestRetryMs = 10 * 60_000;
const pollChatMs = 2_000;

const stay = (state: WorkState): WorkStep => ({ state, effects: [] });
const backOff = ({ tries }: Retry, nowMs: number): Retry => ({
  tries: tries + 1,
  nextMs: nowMs + Math.min(1_000 * 2 ** Math.min(tries, 12), longestRetryMs),
});
const letIn = (verified: boolean, nowMs: number): WorkStep => ({
  state: { at: "letting-in", verified, sinceMs: nowMs, entering: false, tries: 0, nextMs: nowMs },
  effects: [{ kind: "let-in" }],
});

export const firstWorkState = (sign: boolean, verified: boolean, nowMs: number): WorkState =>
  sign ? { at: "signing", tries: 0, nextMs: nowMs } : letIn(verified, nowMs).state;
export const isWorkOver = (state: WorkState): boolean => state.at === "confirmed" || state.at === "stopped";
export const workWakesAtMs = (state: WorkState): number | undefined =>
  state.at === "signing" || state.at === "letting-in" ? state.nextMs : undefined;

export function workStep(state: WorkState, input: WorkInput, { kind }: WorkTerms, nowMs: number): WorkStep {
  if (input.kind === "freeze") return stay(isWorkOver(state) ? state : { at: "stopped", why: "frozen" });
  if (input.kind === "gone") return stay(isWorkOver(state) ? state : { at: "stopped", why: "gone" });
  switch (state.at) {
    case "signing":
      switch (input.kind) {
        case "start":
          return { state, effects: [{ kind: "sign" }] };
        case "tick":
          return nowMs >= state.nextMs ? { state, effects: [{ kind: "sign" }] } : stay(state);
        case "signed":
          return letIn(true, nowMs);
        case "sign-failed":
          // the key that the proof vouched for is not theirs any more: nothing is owed to whoever holds the new one
          if (input.code === "keys-differ") return stay({ at: "stopped", why: "keys-differ" });
          if (input.code === "cannot") return letIn(false, nowMs);
          return stay({ ...state, ...backOff(state, nowMs) });
        default:
          return stay(state);
      }
    case "letting-in":
      switch (input.kind) {
        case "start":
          return { state, effects: [{ kind: "let-in" }] };
        case "tick":
          return nowMs >= state.nextMs ? { state, effects: [{ kind: "let-in" }] } : stay(state);
        case "entering":
          return stay({ ...state, entering: true });
        case "let-in":
          return confirm(state.verified, input);
        case "not-yet":
          if (kind === "contact" && nowMs >= state.sinceMs + chatPatienceMs)
            return confirm(state.verified, { result: "ok", room: "", via: [] });
          return stay({ ...state, nextMs: nowMs + pollChatMs });
        case "failed":
          // a chat that cannot be joined does not keep the joiner waiting
          if (kind === "contact" && nowMs >= state.sinceMs + chatPatienceMs)
            return confirm(state.verified, { result: "ok", room: "", via: [] });
          return stay({ ...state, ...backOff(state, nowMs) });
        default:
          return stay(state);
      }
    case "confirmed":
      // what CONFIRM says may have changed: they may have left the group, or been verified since
      if (input.kind === "again") return letIn(state.verified, nowMs);
      return stay(state);
    case "stopped":
      return stay(state);
  }
}

const confirm = (
  verified: boolean,
  { result, room, via }: { result: ConfirmResult; room: string; via: string[] },
): WorkStep => ({
  state: { at: "confirmed", verified, result, room, via },
  effects: [{ kind: "confirm" }],
});

import { randomUUID } from "node:crypto";
import type { InviteRequest } from "../../../../preload/contract/invites.ts";
import { CoreError } from "../../errors.ts";
import type { InviteStore, RequestRow } from "../../storage/invite-store.ts";
import type { Outer } from "./messages.ts";
import type { LiveToken, Tokens } from "./tokens.ts";
import type { Works } from "./works.ts";

type Parts = {
  store: InviteStore;
  tokens: Pick<Tokens, "admits" | "ownership">;
  works: Works;
  /** This device decides about the code now: the HELLO that waited is answered. */
  answer: (sender: string, outer: Outer) => void;
  /** What the person is asked has changed. */
  asked: () => void;
  nowMs: () => number;
};
/** The device that made a single-use code has so long to answer before the person is asked to let this one decide. */
const takeOverAfterMs = 30_000;
const mostHeld = 100;
const longestTimerMs = 24 * 3_600_000;

/** What only the person can say: whether they gave the code to somebody, and whether this device may decide about it. */
export function createQuestions({ store, tokens, works, answer, asked, nowMs }: Parts) {
  /** HELLOs that another own device should answer. */
  const held = new Map<string, { sender: string; outer: Outer }>();
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  /** The person is asked whether the code was given to them: outside its window, and never for one that everybody may have. */
  const ask = (token: LiveToken, userId: string, masterKey: string): void => {
    if (token.preset === "public") return;
    const earlier = store.requestOf(token.tokenId, userId);
    if (earlier?.master_key === "") store.dropRequest(earlier.request_id);
    const row = { token_id: token.tokenId, user_id: userId, master_key: masterKey, at_ms: nowMs(), answer: null };
    if (store.ask({ request_id: randomUUID(), ...row })) queueMicrotask(tell);
  };

  /** Another own device made this single-use code. Where it stays silent the person may let this one decide. */
  const hold = (tokenId: string, sender: string, outer: Outer): void => {
    held.set(`${tokenId} ${sender}`, { sender, outer });
    if (held.size > mostHeld) for (const oldest of held.keys()) if (held.size > mostHeld) held.delete(oldest);
    const row = { token_id: tokenId, user_id: sender, master_key: "", at_ms: nowMs() + takeOverAfterMs, answer: null };
    if (store.ask({ request_id: randomUUID(), ...row })) arm();
  };
  const requests = (): InviteRequest[] =>
    store.openRequests().flatMap((row) => {
      const request = { requestId: row.request_id, userId: row.user_id, tokenId: row.token_id };
      if (row.master_key !== "") return request;
      const waits = row.at_ms <= nowMs() && tokens.admits(row.token_id, row.user_id) === "hold";
      return waits ? { ...request, takeOver: true as const } : [];
    });
  let told = "[]";
  const tell = (): void => {
    arm();
    const now = JSON.stringify(requests());
    if (now === told) return;
    told = now;
    asked();
  };

  const decideHere = (request: RequestRow, gave: boolean): void => {
    const name = `${request.token_id} ${request.user_id}`;
    const waiting = held.get(name);
    held.delete(name);
    store.transaction(() => {
      if (!gave) store.answer(request.request_id, "not");
      else {
        store.dropRequest(request.request_id);
        tokens.ownership.takeOver(request.token_id);
      }
    });
    tell();
    // whoever waits need not say HELLO once more
    if (gave && waiting !== undefined) answer(waiting.sender, waiting.outer);
  };

  /** A question may become one with time alone. */
  const arm = (): void => {
    clearTimeout(timer);
    const next = store.openRequests().flatMap((row) => (row.at_ms > nowMs() ? [row.at_ms] : []));
    if (next.length > 0 && !stopped)
      timer = setTimeout(tell, Math.min(Math.max(Math.min(...next) - nowMs(), 50), longestTimerMs));
  };

  return {
    ask,
    hold,
    requests,
    /** The person's word. Throws `not-found`. */
    answered: ({ requestId, gave }: { requestId: string; gave: boolean }): void => {
      const request = store.request(requestId);
      if (request === undefined) throw new CoreError("not-found", { message: "Nothing of this was asked." });
      if (request.answer !== null) return;
      if (request.master_key === "") {
        decideHere(request, gave);
        return;
      }
      const started = store.transaction(() => {
        store.answer(requestId, gave ? "gave" : "not");
        return gave ? works.signLater(request.token_id, request.user_id, request.master_key) : [];
      });
      tell();
      for (const workId of started) works.start(workId);
    },
    /** What is asked may have changed with what another device said. */
    look: tell,
    stop: (): void => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

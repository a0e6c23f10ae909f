import { randomBytes } from "node:crypto";
import type { InviteDigits } from "../../../../preload/contract/invites.ts";
import { asCoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { InviteStore, WorkRow } from "../../storage/invite-store.ts";
import {
  firstWorkState,
  isWorkOver,
  workStep,
  workWakesAtMs,
  type WorkEffect,
  type WorkInput,
  type WorkState,
} from "./inviter.ts";
import { confirmMac, sixDigits } from "./keys.ts";
import { bytesOf, messageTypes, wire } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { PeerPort, RoomPort } from "./ports.ts";
import type { LiveToken } from "./tokens.ts";

type Parts = { store: InviteStore; outbox: Outbox; peers: PeerPort; rooms: RoomPort; nowMs: () => number };
/** Bytes in unpadded base64. Nothing of the code's secret but the key of one confirmation. */
export type WorkFacts = {
  kind: LiveToken["kind"];
  /** The group, from the code's own row; never what the joiner says. */
  groupId?: string;
  /** The direct chat that PROOF names. */
  chatId?: string;
  joinerKey: string;
  deviceId: string;
  curve25519: string;
  t: string;
  x: string;
  transcript: string;
  confirmKey: string;
};

const mostDigits = 100;
/** What the person may compare with those who came by a code. */
export const digitsOf = (store: Pick<InviteStore, "workFor">, tokenId: string): InviteDigits[] =>
  store.workFor(tokenId, mostDigits).map((row) => {
    const { transcript } = JSON.parse(row.facts) as WorkFacts;
    const state = JSON.parse(row.state) as WorkState;
    const refused = state.at === "stopped" && state.why === "second-key";
    return {
      userId: row.user_id,
      digits: sixDigits(bytesOf(transcript)),
      ...(refused ? { refused: true as const } : {}),
    };
  });

export type Works = ReturnType<typeof createWorks>;

const dayMs = 24 * 3_600_000;
const confirmLastsMs = 14 * dayMs;
const keptForMs = 30 * dayMs;
const longestTimerMs = dayMs;

/** What good proofs bring about: rows as journal, messages and effects around the machine of inviter.ts. */
export function createWorks({ store, outbox, peers, rooms, nowMs }: Parts) {
  const busy = new Set<string>();
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;

  const factsOf = (row: WorkRow) => JSON.parse(row.facts) as WorkFacts;
  const stateOf = (row: WorkRow) => JSON.parse(row.state) as WorkState;

  const put = (row: { workId: string; tokenId: string; userId: string; facts: WorkFacts }, state: WorkState): boolean =>
    store.addWork({
      work_id: row.workId,
      token_id: row.tokenId,
      user_id: row.userId,
      facts: JSON.stringify(row.facts),
      state: JSON.stringify(state),
      created_at_ms: nowMs(),
      over_at_ms: isWorkOver(state) ? nowMs() : null,
    });

  const confirmParcel = (row: WorkRow, facts: WorkFacts, state: Extract<WorkState, { at: "confirmed" }>): void => {
    const { result, verified, room, via } = state;
    outbox.put({
      kind: "olm",
      id: `i${randomBytes(16).toString("base64url")}`,
      type: messageTypes.confirm,
      userId: row.user_id,
      deviceId: facts.deviceId,
      curve25519: facts.curve25519,
      content: wire({
        v: 1,
        t: bytesOf(facts.t),
        x: bytesOf(facts.x),
        res: result,
        ver: verified,
        knd: facts.kind === "group" ? "group" : "dm",
        room,
        via,
        mac: confirmMac(bytesOf(facts.confirmKey), bytesOf(facts.transcript), { result, verified, room }),
      }),
      expiresAtMs: nowMs() + confirmLastsMs,
    });
  };

  const take = (workId: string, input: WorkInput): { row: WorkRow; effects: WorkEffect[] } | undefined => {
    const row = store.work(workId);
    if (row === undefined) return undefined;
    const facts = factsOf(row);
    const { state, effects } = workStep(stateOf(row), input, facts, nowMs());
    if (state.at === "confirmed" && effects.some(({ kind }) => kind === "confirm")) confirmParcel(row, facts, state);
    store.setWork(workId, JSON.stringify(state), isWorkOver(state) ? nowMs() : null);
    return { row, effects: effects.filter(({ kind }) => kind !== "confirm") };
  };
  const apply = (workId: string, input: WorkInput): void => {
    if (stopped) return;
    const taken = store.transaction(() => take(workId, input));
    arm();
    for (const effect of taken?.effects ?? [])
      if (taken !== undefined)
        run(taken.row, effect).catch((error: unknown) => {
          log.error("an invitation's work could not go on", error);
        });
  };

  const run = async (row: WorkRow, effect: WorkEffect): Promise<void> => {
    const { work_id: workId } = row;
    if (busy.has(workId) || stopped) return;
    busy.add(workId);
    let input: WorkInput;
    try {
      input = effect.kind === "sign" ? await sign(row) : await letIn(row);
    } catch (error) {
      const { code } = asCoreError(error);
      if (code !== "cancelled") log.info(`an invitation's step failed (${effect.kind}): ${code}`);
      input = effect.kind === "sign" ? { kind: "sign-failed", code: "later" } : { kind: "failed" };
    } finally {
      busy.delete(workId);
    }
    apply(workId, input);
  };

  const sign = async (row: WorkRow): Promise<WorkInput> => {
    const { joinerKey } = factsOf(row);
    try {
      await peers.sign(row.user_id, joinerKey);
      return { kind: "signed" };
    } catch (error) {
      const { code } = asCoreError(error);
      if (code === "identity-changed" || code === "not-found") return { kind: "sign-failed", code: "keys-differ" };
      // this device does not hold the user-signing key: another may, and the person can do it by hand
      if (code === "conflict") return { kind: "sign-failed", code: "cannot" };
      throw error;
    }
  };

  const letIn = async (row: WorkRow): Promise<WorkInput> => {
    const facts = factsOf(row);
    const state = stateOf(row);
    if (facts.kind === "group") {
      if (facts.groupId === undefined) return { kind: "let-in", result: "gone", room: "", via: [] };
      return { kind: "let-in", ...(await rooms.invite(facts.groupId, row.user_id)) };
    }
    const { chatId } = facts;
    if (chatId === undefined) return { kind: "let-in", result: "ok", room: "", via: [] };
    const entering = state.at === "letting-in" && state.entering;
    const entered = await rooms.enterChat(chatId, row.user_id, entering, () => {
      apply(row.work_id, { kind: "entering" });
    });
    if (entered === "not-yet") return { kind: "not-yet" };
    return { kind: "let-in", result: "ok", room: entered === "in" ? chatId : "", via: [] };
  };

  const tick = (): void => {
    for (const row of store.unfinishedWork()) {
      const due = workWakesAtMs(stateOf(row));
      if (due !== undefined && due <= nowMs() && !busy.has(row.work_id)) apply(row.work_id, { kind: "tick" });
    }
    arm();
  };
  const arm = (): void => {
    clearTimeout(timer);
    if (stopped) return;
    const times = store
      .unfinishedWork()
      .flatMap((row) => (busy.has(row.work_id) ? [] : (workWakesAtMs(stateOf(row)) ?? [])));
    if (times.length > 0)
      timer = setTimeout(tick, Math.min(Math.max(Math.min(...times) - nowMs(), 50), longestTimerMs));
  };

  return {
    /** In the caller's transaction, which has written down the use. False where this work is there already. */
    add: (
      workId: string,
      tokenId: string,
      userId: string,
      facts: WorkFacts,
      sign: boolean,
      verified: boolean,
    ): boolean => put({ workId, tokenId, userId, facts }, firstWorkState(sign, verified, nowMs())),
    /** In the caller's transaction: nothing follows from this proof, but the person may want to compare its digits. */
    refuse: (workId: string, tokenId: string, userId: string, facts: WorkFacts): void => {
      put({ workId, tokenId, userId, facts }, { at: "stopped", why: "second-key" });
    },
    isKnown: (tokenId: string, userId: string): boolean => store.workOf(tokenId, userId).length > 0,
    /** In the caller's transaction: nothing more happens for them. */
    freeze: (tokenId: string, userId: string): void => {
      for (const row of store.workOf(tokenId, userId)) take(row.work_id, { kind: "freeze" });
    },
    /** In the caller's transaction: they are signed after all, those of them that proved to have this key. To be started then. */
    signLater: (tokenId: string, userId: string, masterKey: string): string[] =>
      store.workOf(tokenId, userId).flatMap((row) => {
        if (factsOf(row).joinerKey !== masterKey || stateOf(row).at === "stopped") return [];
        store.setWork(row.work_id, JSON.stringify(firstWorkState(true, false, nowMs())), null);
        return row.work_id;
      }),
    start: (workId: string): void => {
      apply(workId, { kind: "start" });
    },
    again: (workId: string): void => {
      apply(workId, { kind: "again" });
    },
    /** After a start: the journal is replayed. */
    resume: (): void => {
      store.forgetWorkOverBefore(nowMs() - keptForMs);
      for (const row of store.unfinishedWork()) apply(row.work_id, { kind: "start" });
      arm();
    },
    /** After each sync: invitations may have come. */
    look: (): void => {
      for (const row of store.unfinishedWork())
        if (stateOf(row).at === "letting-in" && factsOf(row).kind === "contact" && !busy.has(row.work_id))
          apply(row.work_id, { kind: "start" });
      tick();
    },
    stop: (): void => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

import type { Flow, FlowState } from "../../../../preload/contract/verification.ts";
import { CoreError } from "../../errors.ts";
import type { Json } from "../../json.ts";
import type { DevicePair } from "../../matrix/device-signing.ts";
import type { Handle, Look } from "../../matrix/verification.ts";
import type { FlowRow, VerificationStore } from "../../storage/verification-store.ts";
import { isOver, methodsOf } from "./flow-state.ts";
import { flowLastsMs, type OpenFlow } from "./gate.ts";

/** What both sides vouched for, to be found on the server before anything counts as done. */
export type Proof = { kind: "user"; userId: string; masterKey: string } | ({ kind: "device" } & DevicePair);
/** An event by one of the two roads; with `roomId` it came in that room. */
export type Received = { roomId?: string; event: Json };
export type Entry = {
  flow: Flow;
  /** Gone after a restart, when all that is left to do is to settle. */
  handle: Handle | undefined;
  /** We said yes. */
  agreed: boolean;
  /** A "done" that came before we agreed. */
  held: Received[];
  /** What Rust crypto signed at the end of this flow: keys by user and key id. */
  signed: Json | undefined;
  proof: Proof | undefined;
  request: Received | undefined;
  endsAtMs: number;
};
export type Flows = ReturnType<typeof createFlows>;
type Parts = {
  store: VerificationStore;
  nowMs: () => number;
  changed: (flow: Flow) => void;
};
const mostListed = 200;
const endedKnownMs = 24 * 60 * 60_000;

/** The flows of this run, as they are told and as a later run has to know them. */
export function createFlows({ store, nowMs, changed }: Parts) {
  const entries = new Map<string, Entry>();

  const persist = ({ flow, handle, request, proof }: Entry) => {
    const state = flow.state;
    const at = isOver(state)
      ? "ended"
      : proof !== undefined
        ? "settling"
        : !flow.mine && state.at === "requested" && handle !== undefined
          ? "offered"
          : "open";
    store.put({
      flow_id: flow.flowId,
      user_id: flow.userId,
      room_id: flow.roomId ?? null,
      device_id: flow.deviceId ?? null,
      mine: flow.mine ? 1 : 0,
      requested_at_ms: flow.requestedAtMs,
      at,
      request: at === "offered" && request !== undefined ? JSON.stringify(request) : null,
      proof: at === "settling" ? JSON.stringify(proof) : null,
      settling_since_ms: state.at === "settling" ? (state.settlingSinceMs ?? null) : null,
    });
  };

  const update = (entry: Entry, more: Partial<Flow>) => {
    const next = { ...entry.flow, ...more };
    if (JSON.stringify(next) === JSON.stringify(entry.flow)) return;
    entry.flow = next;
    persist(entry);
    changed(next);
  };

  const prune = () => {
    store.forgetEndedBefore(nowMs() - endedKnownMs);
    for (const [flowId, entry] of entries) {
      if (entries.size <= mostListed) return;
      if (isOver(entry.flow.state)) entries.delete(flowId);
    }
  };

  const add = (
    handle: Handle,
    more: { mine: boolean; requestedAtMs: number; request?: Received | undefined },
  ): Entry => {
    const look = handle.look();
    const entry: Entry = {
      flow: {
        flowId: handle.flowId,
        userId: handle.userId,
        ...(look.deviceId === undefined ? {} : { deviceId: look.deviceId }),
        mine: more.mine,
        methods: methodsOf(look.theirs),
        state: { at: "requested" },
        requestedAtMs: more.requestedAtMs,
        ...(handle.roomId === undefined ? {} : { roomId: handle.roomId }),
      },
      handle,
      agreed: false,
      held: [],
      signed: undefined,
      proof: undefined,
      request: more.request,
      // a clock that is ahead gives nobody more time
      endsAtMs: Math.min(more.requestedAtMs, nowMs()) + flowLastsMs,
    };
    entries.set(handle.flowId, entry);
    prune();
    persist(entry);
    changed(entry.flow);
    return entry;
  };

  const isOpen = (entry: Entry) => !isOver(entry.flow.state) && entry.proof === undefined;

  return {
    add,
    /** A flow of an earlier run of which only the signatures were missing. */
    resume: (row: FlowRow, proof: Proof): Entry => {
      const entry: Entry = {
        flow: {
          flowId: row.flow_id,
          userId: row.user_id,
          ...(row.device_id === null ? {} : { deviceId: row.device_id }),
          mine: row.mine === 1,
          methods: [],
          state: { at: "settling", missing: ["signature"], settlingSinceMs: row.settling_since_ms ?? nowMs() },
          requestedAtMs: row.requested_at_ms,
          ...(row.room_id === null ? {} : { roomId: row.room_id }),
        },
        handle: undefined,
        agreed: true,
        held: [],
        signed: undefined,
        proof,
        request: undefined,
        endsAtMs: Number.MAX_SAFE_INTEGER,
      };
      entries.set(row.flow_id, entry);
      changed(entry.flow);
      return entry;
    },
    find: (flowId: string) => entries.get(flowId),
    present: (flowId: string): Entry => {
      const entry = entries.get(flowId);
      if (entry === undefined) throw new CoreError("not-found", { message: "There is no such verification." });
      return entry;
    },
    list: (): Flow[] => [...entries.values()].map((entry) => entry.flow),
    open: (): Entry[] => [...entries.values()].filter(isOpen),
    isOpen,
    isKnown: (flowId: string) => entries.has(flowId) || store.isKnown(flowId),
    view: (): OpenFlow[] =>
      [...entries.values()].filter(isOpen).map(({ flow, agreed }) => ({
        flowId: flow.flowId,
        userId: flow.userId,
        mine: flow.mine,
        unanswered: flow.state.at === "requested",
        agreed,
      })),
    update,
    setState: (entry: Entry, state: FlowState) => {
      if (!isOver(entry.flow.state)) update(entry, { state });
    },
    /** What the other side turned out to be: it is known from some moments on, and forgotten by the machine at the end. */
    learn: (entry: Entry, look: Look) => {
      update(entry, {
        ...(look.deviceId === undefined ? {} : { deviceId: look.deviceId }),
        ...(look.theirs === undefined ? {} : { methods: methodsOf(look.theirs) }),
      });
    },
    settle: (entry: Entry, proof: Proof) => {
      entry.proof = proof;
      update(entry, { state: { at: "settling", missing: ["signature"], settlingSinceMs: nowMs() } });
    },
  };
}

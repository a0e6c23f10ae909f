import type { Wire } from "./wire.ts";

/** An unfinished flow, as far as the gate has to know it. */
export type OpenFlow = {
  flowId: string;
  userId: string;
  mine: boolean;
  /** Nobody has answered the request yet. */
  unanswered: boolean;
  /** We said yes: the emoji are equal, the other has scanned our code, or we scanned theirs. */
  agreed: boolean;
};
export type Decision =
  | { kind: "pass" }
  | { kind: "drop"; why: "ignored" | "own" | "stale" | "known" | "unknown-flow" | "not-to-us" | "crossed" | "too-many" }
  /** To be passed on once we have agreed. */
  | { kind: "hold" }
  /** Another of our own devices has answered the request. */
  | { kind: "answered-elsewhere" }
  /** A request that takes the place of these flows; `accept` where we had asked the same of them at the same moment. */
  | { kind: "replace"; flowIds: string[]; accept: boolean };
export type View = {
  me: string;
  deviceId: string;
  nowMs: number;
  ignored: (userId: string) => boolean;
  open: OpenFlow[];
  /** Flows of this run and of the last days, ended ones too. */
  known: (flowId: string) => boolean;
};

/** A request is good for ten minutes. Source: client-server API, `m.key.verification.request`. */
export const flowLastsMs = 10 * 60_000;
const clockAheadMs = 5 * 60_000;
/** Beyond this a server or a crowd is playing with us. */
const mostOpen = 30;

/**
 * What of the verification events that arrive Rust crypto may see. It cancels an old and a new request of one user together,
 * counts "done" as done before anybody has agreed, and takes a start that nobody asked for; here each of these is decided first.
 */
export function decide(event: Wire, view: View): Decision {
  const { sender, flowId } = event;
  if (view.ignored(sender)) return { kind: "drop", why: "ignored" };
  if (event.kind === "request") return decideRequest(event, view);
  const flow = view.open.find((one) => one.flowId === flowId);
  if (flow === undefined) return { kind: "drop", why: "unknown-flow" };
  if (sender !== flow.userId) {
    // in a room our other devices speak too: what they take on, or decline, is no longer ours to answer
    const elsewhere = sender === view.me && !flow.mine && flow.unanswered && event.fromDevice !== view.deviceId;
    return elsewhere ? { kind: "answered-elsewhere" } : { kind: "drop", why: "unknown-flow" };
  }
  if (event.kind === "done" && !flow.agreed) return { kind: "hold" };
  return { kind: "pass" };
}

function decideRequest(event: Wire, view: View): Decision {
  const { sender, fromDevice, atMs } = event;
  if (sender === view.me && (fromDevice === view.deviceId || event.to !== undefined))
    return { kind: "drop", why: "own" };
  if (event.to !== undefined && event.to !== view.me) return { kind: "drop", why: "not-to-us" };
  if (view.known(event.flowId)) return { kind: "drop", why: "known" };
  if (atMs === undefined || fromDevice === undefined || !isFresh(atMs, view.nowMs))
    return { kind: "drop", why: "stale" };
  const theirs = view.open.filter((flow) => flow.userId === sender);
  const crossing = theirs.find((flow) => flow.mine && flow.unanswered);
  // both asked at once: both sides come to the same answer, as for two starts (client-server API, "SAS verification")
  if (crossing !== undefined && isBefore([view.me, view.deviceId], [sender, fromDevice]))
    return { kind: "drop", why: "crossed" };
  if (theirs.length === 0) return view.open.length < mostOpen ? { kind: "pass" } : { kind: "drop", why: "too-many" };
  return { kind: "replace", flowIds: theirs.map((flow) => flow.flowId), accept: crossing !== undefined };
}

export const isFresh = (atMs: number, nowMs: number): boolean =>
  nowMs - atMs < flowLastsMs && atMs - nowMs < clockAheadMs;

const isBefore = (one: [user: string, device: string], other: [user: string, device: string]): boolean =>
  one[0] === other[0] ? one[1] < other[1] : one[0] < other[0];

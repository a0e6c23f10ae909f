import type { Flow, FlowState } from "../../../../preload/contract/verification.ts";
import type { Look } from "../../matrix/verification.ts";

/**
 * What a flow's look means to the person, before anything has settled. `agreed`: we said yes. Rust crypto's own "done" alone
 * means nothing: a peer that says it is done before we agreed takes the request there without a signature.
 */
export type Meaning = { kind: "state"; state: FlowState } | { kind: "both-agreed" } | { kind: "broken" };

export function meaningOf(look: Look, agreed: boolean): Meaning {
  const { chosen } = look;
  if (look.phase === "passive") return cancelled("m.accepted", false);
  if (look.cancelled !== undefined) return cancelled(look.cancelled.code, look.cancelled.byMe);
  if (look.phase === "cancelled") return cancelled("m.user", false);
  if (chosen !== undefined && (chosen.kind === "emoji" ? chosen.done : chosen.at === "done"))
    return agreed ? { kind: "both-agreed" } : { kind: "broken" };
  if (look.phase === "done") return { kind: "broken" };
  if (look.phase !== "transitioned" || chosen === undefined)
    return { kind: "state", state: { at: look.phase === "requested" ? "requested" : "ready" } };
  if (chosen.kind === "emoji") {
    if (chosen.confirmed || chosen.shown === undefined) return { kind: "state", state: { at: "waiting-for-other" } };
    const { emoji, numbers, decimals } = chosen.shown;
    return { kind: "state", state: { at: "comparing", emoji, emojiNumbers: numbers, decimals } };
  }
  if (chosen.at === "created") return { kind: "state", state: { at: "ready" } };
  return { kind: "state", state: { at: chosen.at === "scanned" ? "qr-scanned" : "waiting-for-other" } };
}

/** What can be done, given what the other side says it can. */
export function methodsOf(theirs: Look["theirs"]): Flow["methods"] {
  if (theirs === undefined) return [];
  return [
    ...(theirs.includes("emoji") ? ["emoji" as const] : []),
    ...(theirs.includes("scan") ? ["qr-show" as const] : []),
    ...(theirs.includes("show") ? ["qr-scan" as const] : []),
  ];
}

export const isOver = (state: FlowState): boolean => state.at === "done" || state.at === "cancelled";

const cancelled = (code: string, byMe: boolean): Meaning => ({
  kind: "state",
  state: { at: "cancelled", code: code.slice(0, 100), byMe },
});

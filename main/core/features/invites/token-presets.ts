import type { Invite, InvitePreset } from "../../../../preload/contract/invites.ts";
import { isExpired } from "./codec.ts";
import { acceptedUsers, type TokenState, type Use } from "./token-merge.ts";

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
/** How long after its dialog was last seen open a shown code verifies its first joiner. */
const openForMs = 10 * minuteMs;

/** Undefined: does not expire. */
const lastsMs: Record<InvitePreset, number | undefined> = {
  show: dayMs,
  "personal-link": 7 * dayMs,
  card: 90 * dayMs,
  public: undefined,
};
/** 0 where it does not; whole minutes, as the header holds them, and never longer than promised. */
export const expiryOf = (preset: InvitePreset, nowMs: number): number => {
  const lasts = lastsMs[preset];
  return lasts === undefined ? 0 : Math.floor((nowMs + lasts) / minuteMs) * minuteMs;
};
/** A code that expired so long ago is of no use to anybody, and not taken up again. */
const forgottenAfterMs = 30 * dayMs;
export const isForgotten = ({ expiresAtMs }: { expiresAtMs: number }, nowMs: number): boolean =>
  expiresAtMs !== 0 && nowMs > expiresAtMs + forgottenAfterMs;
export const isSingleUse = (preset: InvitePreset): boolean => preset === "personal-link" || preset === "card";

/** Until when a device may let a code verify by itself that it makes, shows or hears of at this time. 0: never. */
export function latestVerifyMs(preset: InvitePreset, expiresAtMs: number, atMs: number): number {
  switch (preset) {
    case "show":
      return Math.min(atMs + openForMs, expiresAtMs === 0 ? Number.MAX_SAFE_INTEGER : expiresAtMs);
    case "personal-link":
    case "card":
      return expiresAtMs;
    case "public":
      return 0;
  }
}

/** Of a joiner whose proof is good: verified at once, or asked about. A shown code is meant for whoever stands in front of it, so for the first. */
export function verifiesUnasked(
  preset: InvitePreset,
  { verifyUntilMs, uses }: Pick<TokenState, "verifyUntilMs" | "uses">,
  userId: string,
  nowMs: number,
): boolean {
  if (nowMs >= verifyUntilMs) return false;
  return preset !== "show" || acceptedUsers(uses).every((other) => other === userId);
}

export function stateOf(
  token: { preset: InvitePreset; expiresAtMs: number; state: { at: "active" | "withdrawn" } },
  uses: Use[],
  nowMs: number,
): Invite["state"] {
  if (token.state.at === "withdrawn") return "withdrawn";
  if (isSingleUse(token.preset) && uses.some((use) => use.accepted)) return "used";
  return isExpired(token.expiresAtMs, nowMs) ? "expired" : "active";
}

import type { AccountDatabase } from "../../storage/database.ts";
import type { TokenAlarms } from "./token-alarms.ts";
import type { Token } from "./token-book.ts";
import { acceptedUsers, isFrozen, keysOf, mergeUses, type Use } from "./token-merge.ts";
import { isSingleUse, verifiesUnasked } from "./token-presets.ts";
import type { Admission, UseResult } from "./tokens.ts";

type Parts = {
  deviceId: string;
  db: AccountDatabase;
  alarms: TokenAlarms;
  /** Undefined where it is not live. */
  live: (tokenId: string) => Token | undefined;
  save: (token: Token) => void;
  nowMs: () => number;
};

/** Whom a code lets in, and whom it has let in. */
export function createTokenUses({ deviceId, db, alarms, live, save, nowMs }: Parts) {
  const isHere = (token: Token): boolean => !isSingleUse(token.code.preset) || token.owner.owner === deviceId;
  const admission = (token: Token, userId: string): Admission => {
    if (isFrozen(token.uses, userId)) return "frozen";
    const users = acceptedUsers(token.uses);
    if (users.includes(userId)) return "known";
    if (!isSingleUse(token.code.preset)) return "open";
    if (users.length > 0) return "used";
    return isHere(token) ? "open" : "hold";
  };
  const add = (token: Token, use: Use): void => {
    save({ ...token, uses: mergeUses(token.uses, [use]) });
  };
  const tellOfSecond = (token: Token, userId: string): void => {
    const users = acceptedUsers(token.uses);
    if (users.length > 0 && !users.includes(userId))
      alarms.raise(token.tokenId, { kind: "two-users", userIds: [...users, userId], atMs: nowMs(), live: true });
  };

  return {
    isHere,
    admission,
    tellOfSecond,
    record: (tokenId: string, userId: string, masterKey: string): UseResult =>
      db.transaction((): UseResult => {
        const token = live(tokenId);
        if (token === undefined) return { at: "refused", reason: "not-live" };
        const before = token.uses.filter((use) => use.userId === userId);
        const same = before.find((use) => use.masterKey === masterKey);
        const now = nowMs();
        if (before.length > 0 && same === undefined) {
          // grow-only as the others are, so that every own device knows and nothing more happens for them anywhere
          add(token, { userId, masterKey, atMs: now, deviceId, verify: false, accepted: false });
          alarms.raise(tokenId, { kind: "second-key", userIds: [userId], atMs: now, events: keysOf(before) + 1 });
          return { at: "refused", reason: "second-key" };
        }
        const admitted = admission(token, userId);
        if (admitted === "frozen" || admitted === "hold") return { at: "refused", reason: admitted };
        if (admitted === "used") {
          tellOfSecond(token, userId);
          return { at: "refused", reason: "used" };
        }
        if (same?.accepted === true) return { at: "accepted", fresh: false, verify: same.verify };
        const verify = verifiesUnasked(token.code.preset, token, userId, now);
        add(token, { userId, masterKey, atMs: now, deviceId, verify, accepted: true });
        return { at: "accepted", fresh: true, verify };
      }),
  };
}

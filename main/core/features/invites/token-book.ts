import { createHash, createSecretKey, timingSafeEqual, type KeyObject } from "node:crypto";
import type { Invite, InviteDigits } from "../../../../preload/contract/invites.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { InviteTokenStore, TokenRow, UseRow } from "../../storage/invite-token-store.ts";
import { isExpired, lp, type InviteCode } from "./codec.ts";
import { idKey, rootKey, tagsFor } from "./keys.ts";
import { acceptedUsers, useKey, type TokenState, type Use } from "./token-merge.ts";
import { codeOf } from "./token-note.ts";
import { isSingleUse, stateOf } from "./token-presets.ts";

export type Token = TokenState & { tokenId: string; idKey: Buffer; code: InviteCode };
type Live = { tokenId: string; idKey: KeyObject; expiresAtMs: number };
export type TokenBook = ReturnType<typeof createTokenBook>;

/** The same on all own devices, and nothing that leads back to the secret. */
const tokenIdOf = (id: Uint8Array): string =>
  createHash("sha256").update(lp("SJM1/row")).update(id).digest().subarray(0, 16).toString("base64url");

/** The account's codes as rows of account.db, and the live ones of them in memory, where joiners' calls are looked up. */
export function createTokenBook(parts: {
  me: string;
  deviceId: string;
  db: AccountDatabase;
  store: InviteTokenStore;
  /** The own master key, 32 bytes: codes of any other are dead. */
  ownKey: () => Buffer | undefined;
  nowMs: () => number;
  digitsOf: (tokenId: string) => InviteDigits[];
  maxLive: number;
}) {
  const { me, deviceId, db, store, ownKey, nowMs, maxLive } = parts;
  /** What a header says never changes. */
  const codes = new Map<string, InviteCode>();
  let live: Live[] | undefined;

  const codeOfRow = (row: TokenRow): InviteCode | undefined => {
    const known = codes.get(row.token_id);
    if (known !== undefined) return known;
    const code = codeOf(me, row.header, row.secret);
    if (code !== undefined) codes.set(row.token_id, code);
    return code;
  };
  const tokenFrom = (row: TokenRow, uses: UseRow[]): Token | undefined => {
    const code = codeOfRow(row);
    if (code === undefined) return undefined;
    return {
      tokenId: row.token_id,
      idKey: row.id_key,
      code,
      header: row.header,
      secret: row.secret,
      roomId: row.room_id ?? undefined,
      createdAtMs: row.created_at_ms,
      verifyUntilMs: row.verify_until_ms,
      state: { at: row.state, rev: row.state_rev, by: row.state_by, atMs: row.state_at_ms },
      owner: { owner: row.owner, rev: row.owner_rev, by: row.owner_by },
      uses: uses.map(useFrom),
    };
  };
  const isOurs = (code: InviteCode): boolean => {
    const key = ownKey();
    return key !== undefined && timingSafeEqual(key, code.masterKey);
  };

  const liveNow = (): Live[] => {
    if (live !== undefined) return live;
    const found: Live[] = [];
    for (const row of store.tokens()) {
      const code = row.state === "active" ? codeOfRow(row) : undefined;
      if (code === undefined || !isOurs(code) || isExpired(code.expiresAtMs, nowMs())) continue;
      found.push({ tokenId: row.token_id, idKey: createSecretKey(row.id_key), expiresAtMs: code.expiresAtMs });
      if (found.length === maxLive) break;
    }
    return (live = found);
  };
  const forget = () => {
    live = undefined;
  };

  const load = (tokenId: string): Token | undefined => {
    const row = store.token(tokenId);
    return row === undefined ? undefined : tokenFrom(row, store.uses(tokenId));
  };
  const isLive = (token: Token): boolean =>
    token.state.at === "active" && isOurs(token.code) && !isExpired(token.code.expiresAtMs, nowMs());

  return {
    load,
    isLive,
    isOurs,
    hasOwnKey: () => ownKey() !== undefined,
    /** Newest first. */
    all: (): Token[] => {
      const uses = Map.groupBy(store.allUses(), (use) => use.token_id);
      return store.tokens().flatMap((row) => tokenFrom(row, uses.get(row.token_id) ?? []) ?? []);
    },
    /** Of a header and a secret that are a code of ours. */
    idsOf: (header: Uint8Array, secret: Uint8Array): { tokenId: string; idKey: Buffer } => {
      const id = idKey(rootKey(me, header, secret));
      return { tokenId: tokenIdOf(id), idKey: id };
    },
    /**
     * Writes what differs. `told` false: the own devices have yet to hear of what was written. A transaction of the caller's may still
     * fail, so nothing that is read from the rows now is kept in memory before it has ended.
     */
    save: (token: TokenState & { tokenId: string; idKey: Buffer }, told: boolean): void => {
      const before = store.token(token.tokenId);
      const row = rowOf(token, before);
      db.transaction(() => {
        if (before === undefined || !sameRow(before, row)) store.put({ ...row, told: told ? (before?.told ?? 1) : 0 });
        const known = new Map(store.uses(token.tokenId).map((use) => [keyOf(use), use]));
        for (const use of token.uses) {
          const wanted = useRow(token.tokenId, use);
          const there = known.get(keyOf(wanted));
          if (there === undefined || !sameRow(there, wanted))
            store.putUse({ ...wanted, told: told ? (there?.told ?? 1) : 0 });
        }
      });
      forget();
      queueMicrotask(forget);
    },
    remove: (tokenId: string): void => {
      store.remove(tokenId);
      codes.delete(tokenId);
      forget();
      queueMicrotask(forget);
    },
    /** The own identity is another, or known at last. */
    forget,
    /** Every live code is tried, whichever fits: how long it takes tells nothing. */
    find: (tag: Uint8Array, joiner: string): Token | undefined => {
      if (tag.length !== 16) return undefined;
      const tagOf = tagsFor(joiner, me);
      let found: string | undefined;
      for (const one of liveNow()) if (timingSafeEqual(tag, tagOf(one.idKey))) found = one.tokenId;
      const token = found === undefined ? undefined : load(found);
      return token !== undefined && isLive(token) ? token : undefined;
    },
    isFull: (): boolean => {
      const now = nowMs();
      return liveNow().filter((one) => one.expiresAtMs === 0 || one.expiresAtMs > now).length >= maxLive;
    },
    /** When the next code expires. */
    nextExpiryMs: (): number | undefined => {
      const now = nowMs();
      const times = liveNow().flatMap((one) => (one.expiresAtMs > now ? [one.expiresAtMs] : []));
      return times.length === 0 ? undefined : Math.min(...times);
    },
    invite: (token: Token): Invite => {
      const { kind, preset, label, expiresAtMs } = token.code;
      const digits = token.uses.length === 0 ? [] : parts.digitsOf(token.tokenId);
      return {
        tokenId: token.tokenId,
        kind,
        ...(token.roomId === undefined ? {} : { roomId: token.roomId }),
        preset,
        ...(label === "" ? {} : { label }),
        state: stateOf({ preset, expiresAtMs, state: token.state }, token.uses, nowMs()),
        createdAtMs: token.createdAtMs,
        ...(expiresAtMs === 0 ? {} : { expiresAtMs }),
        ...(token.verifyUntilMs === 0 ? {} : { verifyUntilMs: token.verifyUntilMs }),
        uses: acceptedUsers(token.uses),
        ...(digits.length === 0 ? {} : { digits }),
        ownedHere: !isSingleUse(preset) || token.owner.owner === deviceId,
      };
    },
  };
}

const keyOf = (use: UseRow): string => useKey(use.user_id, use.master_key);
const useFrom = (row: UseRow): Use => ({
  userId: row.user_id,
  masterKey: row.master_key,
  atMs: row.at_ms,
  deviceId: row.device_id,
  verify: row.verify === 1,
  accepted: row.accepted === 1,
});
const useRow = (tokenId: string, use: Use): UseRow => ({
  token_id: tokenId,
  user_id: use.userId,
  master_key: use.masterKey,
  at_ms: use.atMs,
  device_id: use.deviceId,
  verify: Number(use.verify),
  accepted: Number(use.accepted),
  told: 0,
});
const rowOf = (token: TokenState & { tokenId: string; idKey: Buffer }, before: TokenRow | undefined): TokenRow => ({
  token_id: token.tokenId,
  id_key: before?.id_key ?? token.idKey,
  header: before?.header ?? Buffer.from(token.header),
  secret: before?.secret ?? Buffer.from(token.secret),
  room_id: token.roomId ?? null,
  created_at_ms: token.createdAtMs,
  verify_until_ms: token.verifyUntilMs,
  state: token.state.at,
  state_rev: token.state.rev,
  state_by: token.state.by,
  state_at_ms: token.state.atMs,
  owner: token.owner.owner,
  owner_rev: token.owner.rev,
  owner_by: token.owner.by,
  told: 0,
});
/** But for what was told of it. */
const sameRow = <T extends { told: number }>(one: T, other: T): boolean =>
  (Object.keys(other) as (keyof T)[]).every((name) => {
    const [a, b] = [one[name], other[name]];
    return name === "told" || (Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : a === b);
  });

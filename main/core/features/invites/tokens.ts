// Longer than most: what the handshake is promised of codes stands beside the one place that keeps it.
import { randomBytes } from "node:crypto";
import type { Alarm, Invite, InviteDigits, InviteKind, InvitePreset } from "../../../../preload/contract/invites.ts";
import { CoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Crypto, ToDevice } from "../../matrix/crypto.ts";
import type { OwnDevices } from "../../matrix/own-devices.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { InviteTokenStore } from "../../storage/invite-token-store.ts";
import { encodeHeader, encodePayload, longestLabelBytes, secretBytes } from "./codec.ts";
import { rootKey } from "./keys.ts";
import { inviteLink } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import { createTokenAlarms } from "./token-alarms.ts";
import { createTokenBook, type Token } from "./token-book.ts";
import { troubles, type TokenState, type Use } from "./token-merge.ts";
import { codeOf } from "./token-note.ts";
import { expiryOf, isForgotten, isSingleUse, latestVerifyMs, verifiesUnasked } from "./token-presets.ts";
import { createTokenSync } from "./token-sync.ts";
import { createTokenUses } from "./token-uses.ts";

/** A code of this account's that a joiner may still use. */
export type LiveToken = {
  tokenId: string;
  kind: InviteKind;
  preset: InvitePreset;
  /** Of a group's code; never what a joiner says. */
  roomId?: string;
  /** PRK of the key schedule (keys.ts, `rootKey`). In memory alone, while it is asked for. */
  root: Buffer;
  idKey: Buffer;
  header: Uint8Array;
  /** MA: the own master key, 32 bytes. */
  masterKey: Uint8Array;
  singleUse: boolean;
  /** True for codes of many uses. */
  ownedHere: boolean;
  /** 0: nobody is verified unasked. */
  verifyUntilMs: number;
  /** 0: it does not expire. */
  expiresAtMs: number;
};

/**
 * Whether a live code lets this person in here and now.
 * `known`: it has let them in already, everything about it is done again without effect. `used`: somebody else took a single-use
 * code. `hold`: another own device decides about this single-use code. `frozen`: this person came with two different identities.
 */
export type Admission = "open" | "known" | "used" | "hold" | "frozen";

export type UseResult =
  /** `fresh`: recorded by this call. `verify`: as decided when it was recorded, and the same ever after. */
  | { at: "accepted"; fresh: boolean; verify: boolean }
  /** Nothing may happen for the joiner. An alarm stands where the reason is worth one. */
  | { at: "refused"; reason: "not-live" | "second-key" | "used" | "hold" | "frozen" };

export type Created = Invite & { link: string };

/**
 * This account's codes, the same on all own devices. Everything here but `create` answers from memory and account.db at once;
 * what has to reach the other devices is in the outbox before a call returns. Calls may stand inside the caller's own
 * `db.transaction`, and count only where that commits.
 */
export type Tokens = {
  /**
   * Makes a code. The right to invite into `roomId` is the caller's to check.
   * Throws `conflict` (`details.kind`: `setup-needed` without an own verified identity, `too-many-codes`), `bad-request` (a group
   * without room, a contact with one, a label of other characters than text).
   */
  create: (wanted: { kind: InviteKind; roomId?: string; preset: InvitePreset; label?: string }) => Promise<Created>;
  /** Newest first. */
  list: () => Invite[];
  /** Undefined where there is no such code. */
  get: (tokenId: string) => Invite | undefined;
  /** Whether this text's code is one of ours, by the secret itself: for the sheet of somebody who scans an own code. */
  recognise: (header: Uint8Array, secret: Uint8Array) => Invite | undefined;
  /** At once here, then on the other devices. Throws `not-found`. Idempotent. */
  withdraw: (tokenId: string) => Invite;
  /** Joining only: the verification window stays what it was. Throws `not-found`; `conflict` where it has expired. Idempotent. */
  revive: (tokenId: string) => Invite;
  /**
   * The link of a live code once more. What it verifies stays as it is: a `show` code's window was for whoever stood before it then.
   * Throws `not-found`; `conflict` where nobody could join by it any more (`details.kind`: its state).
   */
  show: (tokenId: string) => string;
  /** A `show` code's window ends ten minutes from now; others stay as they are. Throws `not-found`; `conflict` where it is not active. */
  keepOpen: (tokenId: string) => Invite;

  /**
   * The live code that a joiner calls `tag`: one HMAC for each live code, no decryption. Undefined for what is unknown, withdrawn,
   * expired, or made under another identity. A used-up single-use code is found (its next joiner is told): ask `admits`.
   */
  find: (tag: Uint8Array, joinerUserId: string) => LiveToken | undefined;
  /** The same code again by its id, where it is live still: for PROOF, and after a restart. */
  live: (tokenId: string) => LiveToken | undefined;
  admits: (tokenId: string, userId: string) => Admission;
  /** Whether this joiner would be verified without being asked about: preset and window, and for `show` that nobody else came first. */
  canVerify: (tokenId: string, userId: string, nowMs: number) => boolean;
  /**
   * Writes down that a proof of `userId` with this master key (unpadded base64) was good: UNIQUE, idempotent, grow-only, on its way to
   * the siblings. All gates of the token are taken once more here, in one transaction: nothing may follow unless `accepted`.
   */
  recordUse: (tokenId: string, userId: string, masterKey: string) => UseResult;
  /** Somebody else holds a valid copy of a single-use code that is taken: an alarm that names both. Idempotent. */
  refusedSecond: (tokenId: string, userId: string) => void;

  ownership: {
    /** True for codes of many uses. */
    isHere: (tokenId: string) => boolean;
    /** The device that answers for a single-use code. */
    ownerOf: (tokenId: string) => string | undefined;
    /** From now on this device answers. Throws `not-found`. */
    takeOver: (tokenId: string) => Invite;
  };

  uses: (tokenId: string) => Use[];

  /** Newest first. */
  alarms: () => Alarm[];
  /** The person has seen it: it comes back with a further event alone. Throws `not-found`. Idempotent. */
  putAway: (alarmId: string) => void;
  /** Once for the same kind, token and people. */
  raise: (kind: Alarm["kind"], tokenId: string, userIds: string[]) => void;

  /** After whatever changed, here or from another device; in a microtask after the change is committed. Returns its remover. */
  onChange: (listener: (changed: { invites?: Invite[]; alarms?: Alarm[] }) => void) => () => void;

  /**
   * Takes what may be a note of an own device; false where it is of another type. Writes it down before it returns (the sync's
   * token is not saved yet) and judges its sender afterwards: everything but Olm from an own device that is signed by the own
   * identity is dropped.
   */
  received: (event: ToDevice) => boolean;
  /**
   * Every note that was received so far is applied or dropped, or its sender cannot be judged now, as without a network: strangers'
   * messages wait for this. Never throws.
   */
  settled: () => Promise<void>;
  /** Codes that another own device knew: what to offer for withdrawal when it is removed. */
  knownBy: (deviceIds: string[]) => Invite[];
};

/** The type of the notes between own devices. Only ever inside Olm. */
export const noteType = "chat.tessera.securejoin.note";

type TokensParts = {
  me: string;
  deviceId: string;
  db: AccountDatabase;
  store: InviteTokenStore;
  outbox: Outbox;
  /** matrix/own-devices.ts, which is imported when crypto is there. */
  ownDevices: (crypto: Crypto) => Promise<OwnDevices>;
  nowMs: () => number;
  /** Of the exchanges that this device had over a code. */
  digitsOf?: (tokenId: string) => InviteDigits[];
  /** So many codes are looked through for a joiner. A bench alone has others than 256. */
  maxLive?: number;
};
export type TokensFeature = Tokens & {
  cryptoStarted: (crypto: Crypto) => Promise<void>;
  /** After each sync. */
  synced: () => void;
  stop: () => Promise<void>;
};

const mostLive = 256;
/** A dialog that stays open says so every few minutes; the siblings need not hear it more often than it matters. */
const tellWindowEveryMs = 2 * 60_000;
const sweepEveryMs = 24 * 3_600_000;
const longestTimerMs = 6 * 3_600_000;

export function createTokens(parts: TokensParts): TokensFeature {
  const { me, deviceId, db, store, nowMs } = parts;
  let own: OwnDevices | undefined;
  let ownKey: Buffer | undefined;
  let identityChanges = 0;
  const started = Promise.withResolvers<OwnDevices>();
  // whoever awaits it sees the end; nobody may be waiting
  started.promise.catch(() => undefined);
  let stopped = false;
  let untell: (() => void)[] = [];
  let expiryTimer: NodeJS.Timeout | undefined;
  let sweptFor: string | undefined;
  let sweptMs = 0;
  /** Up to when the siblings know each window to reach. */
  const toldUntil = new Map<string, number>();

  const book = createTokenBook({
    me,
    deviceId,
    db,
    store,
    ownKey: () => ownKey,
    nowMs,
    digitsOf: parts.digitsOf ?? (() => []),
    maxLive: parts.maxLive ?? mostLive,
  });

  const listeners = new Set<Parameters<Tokens["onChange"]>[0]>();
  const news = { invites: false, alarms: false };
  /** After the transaction under way, whose caller may be anybody. */
  const changed = (what: "invites" | "alarms"): void => {
    if (!news.invites && !news.alarms) queueMicrotask(tell);
    news[what] = true;
  };
  const tell = (): void => {
    const { invites, alarms: alarmsToo } = news;
    news.invites = news.alarms = false;
    if (stopped) return;
    if (invites) watchExpiry();
    const told = { ...(invites ? { invites: list() } : {}), ...(alarmsToo ? { alarms: alarms.list() } : {}) };
    for (const listener of listeners)
      try {
        listener(told);
      } catch (error) {
        log.error("a listener to invitations failed", error);
      }
  };
  /** A code that expires changes by nothing but the time. */
  const watchExpiry = (): void => {
    clearTimeout(expiryTimer);
    const next = book.nextExpiryMs();
    if (next === undefined || stopped) return;
    const waitMs = Math.min(Math.max(next - nowMs(), 0) + 20, longestTimerMs);
    expiryTimer = setTimeout(() => {
      book.forget();
      changed("invites");
    }, waitMs);
    expiryTimer.unref();
  };

  const alarms = createTokenAlarms({
    store,
    nowMs,
    changed: () => {
      changed("alarms");
    },
  });

  /** Codes name the identity under which they were made: under another they are dead, on every device, and their secrets go. */
  const learn = async (): Promise<void> => {
    const asked = identityChanges;
    const key = (await own?.standing())?.masterKey;
    // it changed while it was read: whoever told of that has ordered another look
    if (asked !== identityChanges) return;
    const before = ownKey;
    ownKey = key === undefined ? undefined : Buffer.from(key, "base64");
    if (ownKey === undefined || before?.equals(ownKey) !== true) book.forget();
    if (ownKey === undefined || (sweptFor === key && nowMs() - sweptMs < sweepEveryMs)) return;
    [sweptFor, sweptMs] = [key, nowMs()];
    const dead = book.all().filter((token) => !book.isOurs(token.code) || isForgotten(token.code, nowMs()));
    if (dead.length === 0) return;
    db.transaction(() => {
      for (const token of dead) book.remove(token.tokenId);
    });
    log.info(`${dead.length} codes of an earlier identity, or of long ago, are gone`);
    changed("invites");
  };

  const sync = createTokenSync({
    me,
    deviceId,
    db,
    store,
    book,
    outbox: parts.outbox,
    own: () => own,
    learn,
    noteType,
    nowMs,
    applied: (tokens) => {
      for (const token of tokens)
        for (const trouble of troubles(token, isSingleUse(token.code.preset))) alarms.raise(token.tokenId, trouble);
      changed("invites");
    },
  });

  const save = (token: TokenState & { tokenId: string; idKey: Buffer }, told = false): void => {
    book.save(token, told);
    changed("invites");
    if (!told) queueMicrotask(() => void sync.run());
  };
  const needed = (tokenId: string): Token => {
    const token = book.load(tokenId);
    if (token === undefined) throw new CoreError("not-found", { message: "There is no such code." });
    return token;
  };
  const inviteOf = (tokenId: string): Invite => book.invite(needed(tokenId));
  const list = (): Invite[] => book.all().map(book.invite);
  const expired = () => new CoreError("conflict", { message: "This code has expired.", details: { kind: "expired" } });
  const tooMany = () =>
    new CoreError("conflict", { message: "There are too many codes.", details: { kind: "too-many-codes" } });

  const create: Tokens["create"] = async ({ kind, roomId, preset, label = "" }) => {
    if ((kind === "group") !== (roomId !== undefined))
      throw new CoreError("bad-request", { message: "A group's code names its room, a contact's none." });
    const standing = await (await started.promise).standing();
    const { masterKey } = standing;
    if (masterKey === undefined || !standing.deviceSigned || !standing.canSign)
      throw new CoreError("conflict", {
        message: "Your own identity has to be set up on this device first.",
        details: { kind: "setup-needed" },
      });
    if (ownKey?.equals(Buffer.from(masterKey, "base64")) !== true) await sync.run();
    if (book.isFull()) throw tooMany();
    const now = nowMs();
    const expiresAtMs = expiryOf(preset, now);
    if (Buffer.byteLength(label) > longestLabelBytes) throw badLabel();
    const header = encodeHeader({ kind, preset, expiresAtMs, masterKey: Buffer.from(masterKey, "base64"), label });
    const secret = randomBytes(secretBytes);
    if (codeOf(me, header, secret) === undefined) throw badLabel();
    const ids = book.idsOf(header, secret);
    save({
      ...ids,
      header,
      secret,
      roomId,
      createdAtMs: now,
      verifyUntilMs: latestVerifyMs(preset, expiresAtMs, now),
      state: { at: "active", rev: 1, by: deviceId, atMs: now },
      owner: { owner: deviceId, rev: 1, by: deviceId },
      uses: [],
    });
    // a code that is printed must not be forgotten with the power
    await db.barrier();
    return { ...inviteOf(ids.tokenId), link: inviteLink(me, encodePayload(me, header, secret)) };
  };

  const setState = (token: Token, at: "active" | "withdrawn"): void => {
    save({ ...token, state: { at, rev: token.state.rev + 1, by: deviceId, atMs: nowMs() } });
    void db.barrier().catch((error: unknown) => {
      log.warn("a change of a code is not on the disk yet", error);
    });
  };

  const liveFrom = (token: Token): LiveToken => ({
    tokenId: token.tokenId,
    kind: token.code.kind,
    preset: token.code.preset,
    ...(token.roomId === undefined ? {} : { roomId: token.roomId }),
    root: rootKey(me, token.header, token.secret),
    idKey: token.idKey,
    header: token.header,
    masterKey: token.code.masterKey,
    singleUse: isSingleUse(token.code.preset),
    ownedHere: uses.isHere(token),
    expiresAtMs: token.code.expiresAtMs,
    verifyUntilMs: token.verifyUntilMs,
  });
  const live = (tokenId: string): Token | undefined => {
    const token = book.load(tokenId);
    return token !== undefined && book.isLive(token) ? token : undefined;
  };
  const uses = createTokenUses({ deviceId, db, alarms, live, save, nowMs });

  return {
    create,
    list,
    get: (tokenId) => {
      const token = book.load(tokenId);
      return token === undefined ? undefined : book.invite(token);
    },
    recognise: (header, secret) => {
      const token = book.load(book.idsOf(header, secret).tokenId);
      return token === undefined ? undefined : book.invite(token);
    },
    withdraw: (tokenId) => {
      const token = needed(tokenId);
      if (token.state.at === "active") setState(token, "withdrawn");
      return inviteOf(tokenId);
    },
    revive: (tokenId) => {
      const token = needed(tokenId);
      if (token.code.expiresAtMs !== 0 && nowMs() >= token.code.expiresAtMs) throw expired();
      if (token.state.at === "withdrawn") {
        if (book.isFull()) throw tooMany();
        setState(token, "active");
      }
      return inviteOf(tokenId);
    },
    keepOpen: (tokenId) => {
      const token = needed(tokenId);
      if (!book.isLive(token)) throw new CoreError("conflict", { message: "This code is not active." });
      const { preset, expiresAtMs } = token.code;
      if (preset !== "show") return book.invite(token);
      const verifyUntilMs = Math.max(token.verifyUntilMs, latestVerifyMs(preset, expiresAtMs, nowMs()));
      const isNews = verifyUntilMs - (toldUntil.get(tokenId) ?? 0) >= tellWindowEveryMs;
      if (isNews) toldUntil.set(tokenId, verifyUntilMs);
      save({ ...token, verifyUntilMs }, !isNews);
      return inviteOf(tokenId);
    },

    show: (tokenId) => {
      const token = needed(tokenId);
      const { state } = book.invite(token);
      if (!book.isLive(token) || state !== "active")
        throw new CoreError("conflict", { message: "Nobody can join by this code.", details: { kind: state } });
      return inviteLink(me, encodePayload(me, token.header, token.secret));
    },

    find: (tag, joiner) => {
      const token = book.find(tag, joiner);
      return token === undefined ? undefined : liveFrom(token);
    },
    live: (tokenId) => {
      const token = live(tokenId);
      return token === undefined ? undefined : liveFrom(token);
    },
    admits: (tokenId, userId) => {
      const token = live(tokenId);
      // whoever asks without a live code in hand lets nobody in
      return token === undefined ? "frozen" : uses.admission(token, userId);
    },
    canVerify: (tokenId, userId, atMs) => {
      const token = live(tokenId);
      return token !== undefined && verifiesUnasked(token.code.preset, token, userId, atMs);
    },
    recordUse: uses.record,
    refusedSecond: (tokenId, userId) => {
      const token = book.load(tokenId);
      if (token !== undefined) uses.tellOfSecond(token, userId);
    },
    uses: (tokenId) => book.load(tokenId)?.uses ?? [],

    ownership: {
      isHere: (tokenId) => {
        const token = book.load(tokenId);
        return token !== undefined && uses.isHere(token);
      },
      ownerOf: (tokenId) => book.load(tokenId)?.owner.owner,
      takeOver: (tokenId) => {
        const token = needed(tokenId);
        if (token.owner.owner !== deviceId)
          save({ ...token, owner: { owner: deviceId, rev: token.owner.rev + 1, by: deviceId } });
        return inviteOf(tokenId);
      },
    },

    alarms: alarms.list,
    putAway: alarms.putAway,
    raise: (kind, tokenId, userIds) => {
      alarms.raise(tokenId, { kind, userIds, atMs: nowMs(), live: true });
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    received: sync.received,
    settled: sync.run,
    knownBy: (deviceIds) => {
      const ids = new Set(deviceIds.flatMap((one) => store.knownTo(one)));
      return book.all().flatMap((token) => (ids.has(token.tokenId) && book.isLive(token) ? [book.invite(token)] : []));
    },

    cryptoStarted: async (crypto) => {
      for (const remove of untell) remove();
      const devices = await parts.ownDevices(crypto);
      if (stopped) return;
      own = devices;
      const about = (userIds: string[], identity: boolean) => {
        if (!userIds.includes(me)) return;
        // until it is known which it is, no code is good
        if (identity) {
          ownKey = undefined;
          identityChanges++;
        }
        book.forget();
        void sync.run();
      };
      untell = [
        crypto.onIdentities((userIds) => {
          about(userIds, true);
        }),
        crypto.onDevices((userIds) => {
          about(userIds, false);
        }),
      ];
      await learn();
      sync.started();
      started.resolve(devices);
      watchExpiry();
      void sync.run();
    },
    synced: sync.synced,
    stop: async () => {
      stopped = true;
      clearTimeout(expiryTimer);
      for (const remove of untell) remove();
      started.reject(new CoreError("cancelled"));
      await sync.stop();
    },
  };
}

const badLabel = () =>
  new CoreError("bad-request", { message: "This label does not fit into a code.", details: { path: ["label"] } });

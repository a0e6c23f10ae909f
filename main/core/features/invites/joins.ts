// Longer than most: a join's rows, its four messages and its effects belong to one transaction, and stand in one place.
import { createHash, randomBytes, randomUUID } from "node:crypto";
import type { InviteKind, Join, UnknownReason } from "../../../../preload/contract/invites.ts";
import { asCoreError, CoreError } from "../../errors.ts";
import { object } from "../../json.ts";
import { log } from "../../log.ts";
import type { OwnStanding } from "../../matrix/peer-devices.ts";
import type { InviteStore, JoinRow } from "../../storage/invite-store.ts";
import { isExpired } from "./codec.ts";
import {
  firstJoinState,
  isOver,
  joinStep,
  mayCancel,
  shownState,
  waitingAfterMs,
  wakesAtMs,
  type Candidate,
  type JoinEffect,
  type JoinInput,
  type JoinState,
  type Proved,
} from "./joiner.ts";
import {
  associatedData,
  confirmMac,
  idKey,
  open,
  proofMac,
  rootKey,
  sameBytes,
  seal,
  sixDigits,
  stepKey,
  tokenTag,
  transcriptHash,
} from "./keys.ts";
import { parseText } from "./link.ts";
import {
  bytesOf,
  messageTypes,
  pad,
  read,
  replySchema,
  toBase64,
  unpad,
  wire,
  type Confirm,
  type Outer,
} from "./messages.ts";
import type { Outbox, Parcel } from "./outbox.ts";
import type { Judged, PeerPort, RoomPort, TrustPort } from "./ports.ts";
import { signedDeviceOf } from "./signed-device.ts";

type Parts = {
  me: string;
  store: InviteStore;
  outbox: Outbox;
  peers: PeerPort;
  rooms: RoomPort;
  trust: TrustPort;
  nowMs: () => number;
  /** What the window is shown of joins may have changed. */
  changed: () => void;
  /** A gate failed: silence, and one line. */
  dropped: (gate: string) => void;
};
/** Bytes in unpadded base64. */
type Facts = {
  kind: InviteKind;
  header: string;
  /** Gone once the join is over. */
  secret?: string;
  masterKey: string;
  expiresAtMs: number;
  x: string;
  nb: string;
  /** Ours, when the last proof was sent. */
  ownKey?: string;
  /** Of the proof that was confirmed, or else of the last one that was sent; in clear, since people read them to each other. */
  digits?: string;
};
const dayMs = 24 * 3_600_000;
/** Duplicates of what was sent may come for so long. */
const keptForMs = 30 * dayMs;
const helloLastsMs = 14 * dayMs;

const messageId = (): string => `j${randomBytes(16).toString("base64url")}`;

/** The joiner's runtime: rows, messages and effects around the machine of joiner.ts. */
export function createJoins(parts: Parts) {
  const { me, store, outbox, peers, rooms, trust, nowMs } = parts;
  let stopped = false;
  const isStopped = () => stopped;
  let timer: NodeJS.Timeout | undefined;
  const busy = new Set<string>();
  // two joins with one inviter share one chat
  const chats = new Map<string, Promise<unknown>>();

  const factsOf = (row: JoinRow) => JSON.parse(row.facts) as Facts;
  const stateOf = (row: JoinRow) => JSON.parse(row.state) as JoinState;
  const termsOf = (row: JoinRow, facts: Facts) => ({
    kind: facts.kind,
    expiresAtMs: facts.expiresAtMs,
    startedAtMs: row.created_at_ms,
  });
  const keysOf = (row: JoinRow, facts: Facts) => {
    if (facts.secret === undefined) return undefined;
    const root = rootKey(row.user_id, bytesOf(facts.header), bytesOf(facts.secret));
    return { root, tag: tokenTag(idKey(root), me, row.user_id), x: bytesOf(facts.x) };
  };

  const helloParcel = (row: JoinRow, facts: Facts, own: Ready) => {
    const keys = keysOf(row, facts);
    if (keys === undefined) return;
    const { root, tag, x } = keys;
    const nonce = randomBytes(12);
    const clear = wire({
      s: "hello",
      from: me,
      to: row.user_id,
      dev: own.device,
      msk: own.masterKey,
      nb: bytesOf(facts.nb),
      knd: facts.kind === "group" ? "group" : "dm",
    });
    const aad = associatedData("hello", { sender: me, recipient: row.user_id, tag, transaction: x });
    const sealed = seal(stepKey(root, "hello", me, x), nonce, aad, pad(JSON.stringify(clear)));
    outbox.put({
      kind: "plain",
      id: messageId(),
      type: messageTypes.open,
      userId: row.user_id,
      deviceId: "*",
      content: wire({ v: 1, t: tag, x, n: nonce, c: sealed }),
      expiresAtMs: nowMs() + helloLastsMs,
    });
  };

  const proofParcel = (
    row: JoinRow,
    facts: Facts,
    own: Ready,
    { candidate, roomId }: { candidate: Candidate; roomId?: string },
  ): Proved | undefined => {
    const keys = keysOf(row, facts);
    if (keys === undefined) return undefined;
    const { root, tag, x } = keys;
    const transcript = transcriptHash({
      header: bytesOf(facts.header),
      inviter: row.user_id,
      inviterKey: bytesOf(facts.masterKey),
      inviterDevice: {
        deviceId: candidate.deviceId,
        ed25519: bytesOf(candidate.ed25519),
        curve25519: bytesOf(candidate.curve25519),
      },
      joiner: me,
      joinerKey: own.masterKey,
      joinerDevice: own.device,
      transaction: x,
      inviterNonce: bytesOf(candidate.inviterNonce),
      joinerNonce: bytesOf(facts.nb),
      room: roomId ?? "",
    });
    outbox.put({
      kind: "olm",
      id: messageId(),
      type: messageTypes.proof,
      userId: row.user_id,
      deviceId: candidate.deviceId,
      curve25519: candidate.curve25519,
      content: wire({
        v: 1,
        t: tag,
        x,
        na: bytesOf(candidate.inviterNonce),
        nb: bytesOf(facts.nb),
        knd: facts.kind === "group" ? "group" : "dm",
        dev: own.device,
        msk: own.masterKey,
        room: roomId,
        mac: proofMac(stepKey(root, "proof", me, x), transcript),
      }),
      expiresAtMs: nowMs() + dayMs,
    });
    return {
      ...candidate,
      transcript: toBase64(transcript),
      confirmKey: toBase64(stepKey(root, "confirm", me, x)),
    };
  };

  /** One input: the state and the messages that belong to it in one transaction, then whatever takes time. */
  const apply = async (joinId: string, input: JoinInput, learned: Partial<Facts> = {}): Promise<void> => {
    const own = readyFrom(await peers.standing());
    if (stopped) return;
    const taken = store.transaction(() => take(joinId, input, own, learned));
    if (taken === undefined) return;
    parts.changed();
    arm();
    for (const effect of taken.effects) void run(taken.row, effect);
    // they may have entered the chat that was made here, and we theirs
    if (taken.done)
      void rooms.tidy(taken.row.user_id).catch((error: unknown) => {
        log.warn(`a second chat was not left: ${asCoreError(error).code}`);
      });
  };

  const take = (joinId: string, input: JoinInput, own: Ready | undefined, learned: Partial<Facts>) => {
    const row = store.join(joinId);
    if (row === undefined) return undefined;
    let facts = { ...factsOf(row), ...learned };
    const before = stateOf(row);
    const now = nowMs();
    let step = joinStep(before, input, termsOf(row, facts), now);
    const speaks = step.effects.some(({ kind }) => kind === "hello" || kind === "proof");
    // an identity that went meanwhile: it waits for a new one
    if (speaks && own === undefined)
      step = joinStep(before, { kind: "block", code: "setup-needed" }, termsOf(row, facts), now);
    let { state } = step;
    const later: JoinEffect[] = [];
    for (const effect of step.effects)
      switch (effect.kind) {
        case "hello":
          if (own !== undefined) helloParcel(row, facts, own);
          break;
        case "proof": {
          const proved = own === undefined ? undefined : proofParcel(row, facts, own, effect);
          if (own === undefined || proved === undefined) break;
          facts = { ...facts, ownKey: toBase64(own.masterKey), digits: digitsOf(proved) };
          state = joinStep(state, { kind: "proved", proved }, termsOf(row, facts), now).state;
          break;
        }
        case "block-sending":
          trust.blockSending(row.user_id);
          break;
        case "forget-secret":
          delete facts.secret;
          break;
        default:
          later.push(effect);
      }
    store.setJoin(joinId, JSON.stringify(facts), JSON.stringify(state), isOver(state) ? now : null);
    return { row, effects: later, done: state.at === "done" && before.at !== "done" };
  };

  const run = async (row: JoinRow, effect: JoinEffect): Promise<void> => {
    const { join_id: joinId } = row;
    if (busy.has(joinId) || stopped) return;
    busy.add(joinId);
    let input: JoinInput | undefined;
    try {
      input = await perform(row, effect);
    } catch (error) {
      input = failureOf(effect, error);
    } finally {
      busy.delete(joinId);
    }
    if (isStopped() || input === undefined) return;
    await apply(joinId, input).catch((error: unknown) => {
      log.error("a join could not go on", error);
    });
    if (input.kind === "sign-failed" && input.code === "keys-differ")
      parts.dropped("join: the server shows other keys than the code names");
  };

  const perform = async (row: JoinRow, effect: JoinEffect): Promise<JoinInput | undefined> => {
    const { user_id: userId, join_id: joinId } = row;
    const facts = factsOf(row);
    switch (effect.kind) {
      case "sign": {
        if (trust.ignored(userId)) return { kind: "block", code: "ignored" };
        const own = await peers.standing();
        if (hasEnded(joinId)) return undefined;
        if (!own.canSign || readyFrom(own) === undefined) return { kind: "sign-failed", code: "setup-needed" };
        await peers.sign(userId, facts.masterKey);
        return { kind: "signed" };
      }
      case "make-room":
        return { kind: "room", roomId: await chatWith(joinId, userId, effect.intended) };
      case "enter":
        return {
          kind: (await rooms.enterGroup(effect.roomId, userId, effect.via)) === "in" ? "entered" : "not-entered",
        };
      case "knock": {
        const answer = await rooms.knock(effect.roomId, effect.via);
        return { kind: answer === "in" ? "entered" : answer === "asked" ? "knocked" : "knock-refused" };
      }
      default:
        return undefined;
    }
  };

  const chatWith = (joinId: string, userId: string, intended: boolean): Promise<string> => {
    const make = async (): Promise<string> => {
      if (hasEnded(joinId)) throw new CoreError("cancelled");
      const present = rooms.findChat(userId) ?? (intended ? await rooms.adoptChat(userId) : undefined);
      if (present !== undefined) return present;
      await apply(joinId, { kind: "room-intended" });
      if (hasEnded(joinId)) throw new CoreError("cancelled");
      return await rooms.createChat(userId);
    };
    const before = chats.get(userId) ?? Promise.resolve();
    const mine = before.then(make, make);
    const settled = mine.catch(() => undefined);
    chats.set(userId, settled);
    return mine;
  };

  /** By the person's word, while something of it was under way. */
  const hasEnded = (joinId: string): boolean => {
    const row = store.join(joinId);
    return row === undefined || isOver(stateOf(row));
  };

  const failureOf = (effect: JoinEffect, error: unknown): JoinInput | undefined => {
    const known = asCoreError(error);
    if (known.code === "cancelled") return undefined;
    log.info(`a join's step failed (${effect.kind}): ${known.code}`);
    switch (effect.kind) {
      case "sign":
        if (known.code === "identity-changed") return { kind: "sign-failed", code: "keys-differ" };
        if (known.code === "conflict" && object(known.details)?.["kind"] === "setup-needed")
          return { kind: "sign-failed", code: "setup-needed" };
        return { kind: "sign-failed", code: known.code === "not-found" ? "not-found" : "unreachable" };
      case "make-room":
        return { kind: "room-failed" };
      case "enter":
      case "knock":
        return { kind: "not-entered" };
      default:
        return undefined;
    }
  };

  const tick = (): void => {
    for (const row of store.joins()) {
      const due = wakesAtMs(stateOf(row), termsOf(row, factsOf(row)));
      if (due !== undefined && due <= nowMs() && !busy.has(row.join_id))
        void apply(row.join_id, { kind: "tick" }).catch((error: unknown) => {
          log.error("a join could not go on", error);
        });
      const state = stateOf(row);
      if (state.at === "hello" && state.sent === 1 && nowMs() >= state.sentAtMs + waitingAfterMs) parts.changed();
    }
    arm();
  };
  const arm = (): void => {
    clearTimeout(timer);
    if (stopped) return;
    const times = store.joins().flatMap((row) => {
      const state = stateOf(row);
      const shows = state.at === "hello" && state.sent === 1 ? [state.sentAtMs + waitingAfterMs] : [];
      const due = busy.has(row.join_id) ? undefined : wakesAtMs(state, termsOf(row, factsOf(row)));
      return [...shows.filter((ms) => ms > nowMs()), ...(due === undefined ? [] : [due])];
    });
    if (times.length > 0) timer = setTimeout(tick, Math.min(Math.max(Math.min(...times) - nowMs(), 50), dayMs));
  };

  const shown = (row: JoinRow): Join => {
    const state = shownState(stateOf(row), nowMs());
    const { digits, kind } = factsOf(row);
    const common = {
      joinId: row.join_id,
      userId: row.user_id,
      ...(kind === "group" ? { group: true as const } : {}),
      ...(digits === undefined ? {} : { digits }),
    };
    // of two chats with somebody who scanned this person's code too, one was left
    if (state.at !== "done" || state.roomId === undefined) return { ...common, state };
    return { ...common, state: { ...state, roomId: stillIn(state.roomId, row.user_id) } };
  };
  const stillIn = (roomId: string, userId: string): string =>
    rooms.isIn(roomId) ? roomId : (rooms.findChat(userId) ?? roomId);

  /** An earlier join of the same people, where nothing is left to be done. */
  const alreadyDone = (userId: string, masterKey: string, codeHash: string, kind: InviteKind, own: Ready | undefined) =>
    store.joinsWith(userId).find((row) => {
      const [state, facts] = [stateOf(row), factsOf(row)];
      if (state.at !== "done" || state.result !== "mutual" || state.roomId === undefined) return false;
      if (facts.masterKey !== masterKey || facts.kind !== kind) return false;
      if (own === undefined || facts.ownKey !== toBase64(own.masterKey)) return false;
      if (kind === "group" && row.code_hash !== codeHash) return false;
      return trust.verifiedKey(userId) === masterKey && rooms.isIn(state.roomId);
    });

  return {
    accept: async ({
      text,
      acceptIdentityChange = false,
    }: {
      text: string;
      acceptIdentityChange?: boolean;
    }): Promise<{ joinId: string }> => {
      const parsed = parseText(text);
      if (parsed.kind !== "invite") throw notACode(parsed.kind === "unknown" ? parsed.reason : "not-a-code");
      const { userId, code } = parsed;
      if (userId === me) throw new CoreError("conflict", { message: "This is a code of one's own." });
      const masterKey = toBase64(code.masterKey);
      const codeHash = createHash("sha256")
        .update(`${userId} `)
        .update(code.header)
        .update(code.secret)
        .digest("base64");
      const running = store.joinsWith(userId).find((row) => row.code_hash === codeHash && !isOver(stateOf(row)));
      if (running !== undefined) {
        if (stateOf(running).at === "blocked") await apply(running.join_id, { kind: "unblock" });
        return { joinId: running.join_id };
      }
      const once = trust.onceVerifiedKey(userId);
      if (once !== undefined && once !== masterKey && !acceptIdentityChange)
        throw new CoreError("identity-changed", {
          message: "Another identity of this person was verified here before.",
          details: { kind: "confirm-change" },
        });
      const own = readyFrom(await peers.standing());
      const earlier = alreadyDone(userId, masterKey, codeHash, code.kind, own);
      if (earlier !== undefined) return { joinId: earlier.join_id };
      const now = nowMs();
      const state: JoinState = isExpired(code.expiresAtMs, now)
        ? { at: "failed", code: "expired" }
        : trust.ignored(userId)
          ? { at: "blocked", code: "ignored" }
          : firstJoinState(now);
      const facts: Facts = {
        kind: code.kind,
        header: toBase64(code.header),
        ...(isOver(state) ? {} : { secret: toBase64(code.secret) }),
        masterKey,
        expiresAtMs: code.expiresAtMs,
        x: toBase64(randomBytes(16)),
        nb: toBase64(randomBytes(16)),
      };
      const joinId = randomUUID();
      store.transaction(() => {
        for (const row of store.joinsWith(userId))
          if (row.code_hash === codeHash && stateOf(row).at === "failed") store.removeJoin(row.join_id);
        store.addJoin({
          join_id: joinId,
          user_id: userId,
          code_hash: codeHash,
          facts: JSON.stringify(facts),
          state: JSON.stringify(state),
          created_at_ms: now,
          over_at_ms: isOver(state) ? now : null,
        });
      });
      parts.changed();
      if (state.at === "confirmed") await apply(joinId, { kind: "start" });
      return { joinId };
    },

    list: (): Join[] => store.joins().map(shown),

    /** Ends it; what was signed and sent stays. Throws `not-found`, `conflict` where it is confirmed or over. Idempotent. */
    cancel: (joinId: string): void => {
      const row = needed(joinId);
      const state = stateOf(row);
      if (state.at === "failed" && state.code === "cancelled") return;
      if (!mayCancel(state)) throw new CoreError("conflict", { message: "This join has come to its end." });
      const { x } = factsOf(row);
      store.transaction(() => {
        take(joinId, { kind: "cancel" }, undefined, {});
        outbox.drop(store.parcels().flatMap((one) => (isOf(one.parcel, row.user_id, x) ? [one.id] : [])));
      });
      parts.changed();
      arm();
    },

    /** A chat without verification, where there is no identity of one's own to verify with. Throws `not-found`, `conflict`. */
    contactOnly: async (joinId: string): Promise<void> => {
      const row = needed(joinId);
      const state = stateOf(row);
      if (state.at !== "blocked" || state.code !== "setup-needed" || factsOf(row).kind !== "contact")
        throw new CoreError("conflict", { message: "This join does not wait for an own identity." });
      await apply(joinId, { kind: "contact-only" });
    },

    isUnderWay: (userId: string): boolean => store.joinsWith(userId).some((row) => !isOver(stateOf(row))),

    /** Whether a message of this transaction is an answer to something of ours. */
    awaits: (sender: string, x: Uint8Array): boolean =>
      store
        .joinsWith(sender)
        .some((row) => factsOf(row).x === toBase64(x) && ["keys-ok", "hello", "proof"].includes(stateOf(row).at)),

    /** REPLY. Section "The joiner" of docs/invite-protocol.md. */
    reply: async (sender: string, outer: Outer): Promise<Judged> => {
      const row = store.joinsWith(sender).find((one) => factsOf(one).x === toBase64(outer.x));
      const facts = row === undefined ? undefined : factsOf(row);
      const keys = row === undefined || facts === undefined ? undefined : keysOf(row, facts);
      if (row === undefined || facts === undefined || keys === undefined) return "done";
      if (!sameBytes(keys.tag, outer.t)) return drop("reply: not of this code");
      const aad = associatedData("reply", { sender, recipient: me, tag: keys.tag, transaction: keys.x });
      const clear = open(stepKey(keys.root, "reply", me, keys.x), outer.n, aad, outer.c);
      if (clear === undefined) return drop("reply: sealed otherwise");
      const reply = read(replySchema, unpad(clear));
      if (reply === undefined) return drop("reply: shape");
      if (reply.from !== sender || reply.to !== me) return drop("reply: names");
      if (!sameBytes(reply.nb, bytesOf(facts.nb)) || !sameBytes(reply.msk, bytesOf(facts.masterKey)))
        return drop("reply: of another exchange");
      let peer;
      try {
        peer = await peers.fresh(sender);
      } catch (error) {
        return asCoreError(error).retryable ? "later" : drop("reply: no identity");
      }
      if (!sameBytes(bytesOf(peer.masterKey), bytesOf(facts.masterKey))) return drop("reply: another identity");
      const device = signedDeviceOf(peer, reply.dev);
      if (device === undefined) return drop("reply: not a signed device of theirs");
      const { deviceId, ed25519, curve25519 } = device;
      const candidate = { deviceId, ed25519, curve25519, inviterNonce: toBase64(reply.na) };
      await apply(row.join_id, { kind: "reply", result: reply.res, candidate });
      return "done";
    },

    /** CONFIRM, which came by Olm from the device with this key. */
    confirm: async (sender: string, curve25519: string, confirm: Confirm): Promise<Judged> => {
      const row = store.joinsWith(sender).find((one) => factsOf(one).x === toBase64(confirm.x));
      if (row === undefined) return "done";
      const [facts, state] = [factsOf(row), stateOf(row)];
      const proved = "proved" in state ? state.proved.find((one) => sameText(one.curve25519, curve25519)) : undefined;
      if (proved === undefined) return drop("confirm: nothing was proved to this device");
      const keys = keysOf(row, facts);
      if (keys !== undefined && !sameBytes(keys.tag, confirm.t)) return drop("confirm: not of this code");
      if (confirm.knd !== (facts.kind === "group" ? "group" : "dm")) return drop("confirm: another kind");
      const { res: result, ver: verified, room, via } = confirm;
      const mac = confirmMac(bytesOf(proved.confirmKey), bytesOf(proved.transcript), { result, verified, room });
      if (!sameBytes(mac, confirm.mac)) return drop("confirm: mac");
      const peer = await peers.known(sender);
      const isSigned = peer.devices.some((one) => one.signed && sameText(one.curve25519, curve25519));
      if (!isSigned || peer.masterKey === undefined || !sameText(peer.masterKey, facts.masterKey))
        return drop("confirm: not a signed device of theirs");
      const confirmed = { result, verified, room, via };
      await apply(row.join_id, { kind: "confirm", confirmed }, { digits: digitsOf(proved) });
      return "done";
    },

    /** After a start: whatever was under way goes on. */
    resume: (): void => {
      store.forgetJoinsOverBefore(nowMs() - keptForMs);
      for (const row of store.joins()) if (!isOver(stateOf(row))) void apply(row.join_id, { kind: "start" });
      arm();
    },
    /** After each sync: invitations may have come, and what stood in the way may be gone. */
    look: async (): Promise<void> => {
      for (const row of store.joins()) {
        const state = stateOf(row);
        if (state.at === "entering") {
          if (rooms.isIn(state.roomId)) await apply(row.join_id, { kind: "entered" });
          else if (state.knock !== "wanted") await run(row, { kind: "enter", roomId: state.roomId, via: state.via });
        }
        if (state.at !== "blocked") continue;
        const own = await peers.standing();
        const free =
          state.code === "ignored" ? !trust.ignored(row.user_id) : own.canSign && readyFrom(own) !== undefined;
        if (free) await apply(row.join_id, { kind: "unblock" });
      }
      tick();
    },
    stop: (): void => {
      stopped = true;
      clearTimeout(timer);
    },
  };

  function needed(joinId: string): JoinRow {
    const row = store.join(joinId);
    if (row === undefined) throw new CoreError("not-found", { message: "There is no such join." });
    return row;
  }
  function drop(gate: string): Judged {
    parts.dropped(gate);
    return "done";
  }
}

export type Ready = {
  masterKey: Uint8Array;
  device: { deviceId: string; ed25519: Uint8Array; curve25519: Uint8Array };
};
/** This device can speak for its account: it has an identity, and is signed by it. */
export function readyFrom({ masterKey, deviceSigned, device }: OwnStanding): Ready | undefined {
  if (masterKey === undefined || !deviceSigned) return undefined;
  const { deviceId, ed25519, curve25519 } = device;
  return {
    masterKey: bytesOf(masterKey),
    device: { deviceId, ed25519: bytesOf(ed25519), curve25519: bytesOf(curve25519) },
  };
}
const digitsOf = ({ transcript }: Proved): string => sixDigits(bytesOf(transcript));
/** A message of the exchange with this number. */
function isOf(parcel: string, userId: string, x: string): boolean {
  const { userId: to, content } = JSON.parse(parcel) as Parcel;
  return to === userId && object(content)?.["x"] === x;
}
const sameText = (one: string, other: string): boolean => sameBytes(bytesOf(one), bytesOf(other));

const notACode = (reason: UnknownReason) =>
  new CoreError(reason === "newer-version" ? "unsupported" : "bad-request", {
    message: "This is no code that could be accepted.",
    details: { path: "text", reason },
  });

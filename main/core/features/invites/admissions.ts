import { createHash, createHmac, randomBytes, randomInt } from "node:crypto";
import { asCoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { InviteStore } from "../../storage/invite-store.ts";
import { lp } from "./codec.ts";
import type { Flood } from "./flood.ts";
import { readyFrom } from "./joins.ts";
import { associatedData, open, proofMac, sameBytes, seal, stepKey, transcriptHash, type DeviceKeys } from "./keys.ts";
import {
  bytesOf,
  helloSchema,
  messageTypes,
  pad,
  read,
  toBase64,
  unpad,
  wire,
  type Outer,
  type Proof,
} from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { Judged, PeerPort, RoomPort, TrustPort } from "./ports.ts";
import { createQuestions } from "./questions.ts";
import { signedDeviceOf } from "./signed-device.ts";
import type { LiveToken, Tokens } from "./tokens.ts";
import { createWorks, type WorkFacts } from "./works.ts";

type Parts = {
  me: string;
  store: InviteStore;
  outbox: Outbox;
  tokens: Tokens;
  flood: Flood;
  peers: PeerPort;
  rooms: RoomPort;
  trust: TrustPort;
  nowMs: () => number;
  /** Whom the person is asked about may have changed. */
  asked: () => void;
  /** Somebody who was let in before went through another exchange: there are more digits to compare. */
  exchanged: () => void;
  dropped: (gate: string) => void;
};
const replyLastsMs = 24 * 3_600_000;
/** Several own devices do not all answer at once; one alone has nothing to wait for. */
const jitterMs = { several: 1_500, alone: 200 };

/** The inviter's gates, in their order: what passes all of them becomes work (works.ts). */
export function createAdmissions(parts: Parts) {
  const { me, store, outbox, tokens, flood, peers, trust, nowMs } = parts;
  // REPLY's nonce is made of this: a repeated HELLO gets the same one, and nothing of it has to be remembered
  const nonceKey = store.secret("inviter-nonce", () => randomBytes(32));
  const works = createWorks(parts);
  const questions = createQuestions({
    store,
    tokens,
    works,
    nowMs,
    asked: parts.asked,
    answer: (sender, outer) => {
      hello(sender, outer).catch((error: unknown) => {
        log.error("a HELLO could not be answered", error);
      });
    },
  });

  const inviterNonce = (t: Uint8Array, joiner: string, x: Uint8Array, nb: Uint8Array): Buffer => {
    const mac = createHmac("sha256", nonceKey);
    for (const part of [lp("na"), lp(t), lp(joiner), lp(x), lp(nb)]) mac.update(part);
    return mac.digest().subarray(0, 16);
  };
  const isOurKey = (token: LiveToken, masterKey: Uint8Array): boolean =>
    sameBytes(token.header.slice(6, 38), masterKey);

  const drop = (gate: string): Judged => {
    parts.dropped(gate);
    return "done";
  };

  return {
    hello,

    /**
     * PROOF, which came by Olm. The gates that ask nobody come first, so that only who holds a live code costs a key query; the code
     * is judged once more behind it.
     */
    proof: async (sender: string, curve25519: string, proof: Proof): Promise<Judged> => {
      const { t, x } = proof;
      if (!sameBytes(inviterNonce(t, sender, x, proof.nb), proof.na)) return drop("proof: nonce");
      if (!sameBytes(bytesOf(curve25519), proof.dev.curve25519)) return drop("proof: from another device");
      const token = tokens.find(t, sender);
      if (token === undefined) return drop("proof: no such code");
      if ((proof.knd === "group") !== (token.kind === "group")) return drop("proof: another kind");
      const own = readyFrom(await peers.standing());
      if (own === undefined || !isOurKey(token, own.masterKey)) return drop("proof: not this identity's");
      const chatId = token.kind === "contact" ? proof.room : undefined;
      const transcript = transcriptHash({
        header: token.header,
        inviter: me,
        inviterKey: own.masterKey,
        inviterDevice: own.device,
        joiner: sender,
        joinerKey: proof.msk,
        joinerDevice: proof.dev,
        transaction: x,
        inviterNonce: proof.na,
        joinerNonce: proof.nb,
        room: chatId ?? "",
      });
      if (!sameBytes(proofMac(stepKey(token.root, "proof", sender, x), transcript), proof.mac))
        return drop("proof: mac");
      let judged: "good" | "bad";
      try {
        judged = await isTheirs(sender, proof.msk, proof.dev);
      } catch (error) {
        const known = asCoreError(error);
        if (known.code === "cancelled" || known.retryable) return "later";
        return drop("proof: no identity");
      }
      if (judged === "bad") return drop("proof: keys are not theirs");
      if (trust.ignored(sender)) return drop("proof: ignored");
      const joinerKey = toBase64(proof.msk);
      const confirmKey = toBase64(stepKey(token.root, "confirm", sender, x));
      const facts: WorkFacts = {
        kind: token.kind,
        ...(token.roomId === undefined ? {} : { groupId: token.roomId }),
        ...(chatId === undefined ? {} : { chatId }),
        joinerKey,
        deviceId: proof.dev.deviceId,
        curve25519: toBase64(proof.dev.curve25519),
        t: toBase64(t),
        x: toBase64(x),
        transcript: toBase64(transcript),
        confirmKey,
      };
      return accept(token, sender, facts);
    },

    requests: questions.requests,
    answer: questions.answered,
    resume: works.resume,
    look: (): void => {
      works.look();
      questions.look();
    },
    stop: (): void => {
      works.stop();
      questions.stop();
    },
  };

  /** HELLO; size, shape, sender and the buckets before the code were judged when it arrived (intake.ts). */
  async function hello(sender: string, outer: Outer): Promise<Judged> {
    const { t, x } = outer;
    const token = tokens.find(t, sender);
    if (token === undefined) return drop("hello: no such code");
    const isKnown = tokens.admits(token.tokenId, sender) === "known";
    if (!flood.mayAnswer(token.tokenId, sender, isKnown)) {
      tokens.raise("flood", token.tokenId, []);
      return drop("hello: too many");
    }
    const aad = associatedData("hello", { sender, recipient: me, tag: t, transaction: x });
    const clear = open(stepKey(token.root, "hello", sender, x), outer.n, aad, outer.c);
    if (clear === undefined) return drop("hello: sealed otherwise");
    const message = read(helloSchema, unpad(clear));
    if (message === undefined) return drop("hello: shape");
    if (message.from !== sender || message.to !== me) return drop("hello: names");
    if ((message.knd === "group") !== (token.kind === "group")) return drop("hello: another kind");
    const own = readyFrom(await peers.standing());
    if (own === undefined || !isOurKey(token, own.masterKey)) return drop("hello: not this identity's");
    const siblings = (await peers.known(me)).devices.filter((device) => device.signed).length > 1;
    // it may have been withdrawn while this device was asked about itself
    if (tokens.live(token.tokenId) === undefined) return drop("hello: no such code");
    const admission = tokens.admits(token.tokenId, sender);
    if (admission === "frozen") return drop("hello: frozen");
    if (admission === "used") tokens.refusedSecond(token.tokenId, sender);
    if (admission === "hold") questions.hold(token.tokenId, sender, outer);
    const reply = wire({
      s: "reply",
      from: me,
      to: sender,
      dev: own.device,
      msk: own.masterKey,
      na: inviterNonce(t, sender, x, message.nb),
      nb: message.nb,
      res: admission === "used" || admission === "hold" ? admission : "ok",
    });
    const nonce = randomBytes(12);
    const replyAad = associatedData("reply", { sender: me, recipient: sender, tag: t, transaction: x });
    const sealed = seal(stepKey(token.root, "reply", sender, x), nonce, replyAad, pad(JSON.stringify(reply)));
    outbox.put({
      kind: "plain",
      id: `i${randomBytes(16).toString("base64url")}`,
      type: messageTypes.open,
      userId: sender,
      deviceId: message.dev.deviceId,
      content: wire({ v: 1, t, x, n: nonce, c: sealed }),
      notBeforeMs: nowMs() + randomInt((siblings ? jitterMs.several : jitterMs.alone) + 1),
      expiresAtMs: nowMs() + replyLastsMs,
    });
    return "done";
  }

  async function isTheirs(userId: string, masterKey: Uint8Array, device: DeviceKeys): Promise<"good" | "bad"> {
    const peer = await peers.fresh(userId);
    if (!sameBytes(bytesOf(peer.masterKey), masterKey)) return "bad";
    return signedDeviceOf(peer, device) === undefined ? "bad" : "good";
  }

  /** The proof is good. Whether the code lets them in is decided where that is written down, in one transaction with the work. */
  function accept(token: LiveToken, userId: string, facts: WorkFacts): Judged {
    const { tokenId } = token;
    // one for each exchange and device of theirs: what comes twice is one work
    const workId = createHash("sha256")
      .update(`${tokenId} ${userId} ${facts.x} ${facts.curve25519}`)
      .digest("base64url");
    const before = works.isKnown(tokenId, userId);
    const outcome = store.transaction(() => {
      const use = tokens.recordUse(tokenId, userId, facts.joinerKey);
      if (use.at === "refused") {
        if (use.reason === "second-key" || use.reason === "frozen") works.freeze(tokenId, userId);
        if (use.reason === "second-key") works.refuse(workId, tokenId, userId, facts);
        if (use.reason === "used") tokens.refusedSecond(tokenId, userId);
        return use.reason;
      }
      const verified = trust.verifiedKey(userId) === facts.joinerKey;
      // who was let in before is only answered: a verification that was taken back since is not given again
      const sign = use.verify && !verified && !before;
      const isNew = works.add(workId, tokenId, userId, facts, sign, verified);
      if (!use.verify && !verified && !before) questions.ask(token, userId, facts.joinerKey);
      // a first one is told of with its use
      if (isNew && !use.fresh) queueMicrotask(parts.exchanged);
      return isNew ? "new" : "again";
    });
    if (outcome === "new") works.start(workId);
    else if (outcome === "again") works.again(workId);
    else return drop(`proof: ${outcome}`);
    return "done";
  }
}

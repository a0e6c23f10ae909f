// Longer than most: it is the one place where the parts of a verification are wired to each other and to the account.
import type { Emit } from "../../../../preload/contract/index.ts";
import { asCoreError, CoreError } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import { isObject, object, text, type Json } from "../../json.ts";
import { log } from "../../log.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import { missingOfPair, pairWith, requestSecrets, signPair } from "../../matrix/device-signing.ts";
import type { Http } from "../../matrix/http.ts";
import { isSigned, publicKeyOf, uploadSignatures, userSign } from "../../matrix/user-signing.ts";
import { createVerificationMachine, type Outgoing, type VerificationMachine } from "../../matrix/verification.ts";
import type { EventRow } from "../../storage/timeline-store.ts";
import type { VerificationStore } from "../../storage/verification-store.ts";
import { isOver, meaningOf } from "./flow-state.ts";
import { createFlows, type Entry, type Proof, type Received } from "./flows.ts";
import { flowLastsMs } from "./gate.ts";
import { createIntake } from "./intake.ts";
import { createOutbox } from "./outbox.ts";
import type { SendToRoom } from "./room-sender.ts";
import { settle, type Missing } from "./settle.ts";

export type Verification = ReturnType<typeof createVerification>;
type Parts = {
  me: string;
  deviceId: string;
  http: Http;
  store: VerificationStore;
  emit: Emit;
  ignored: (userId: string) => boolean;
  sendToRoom: SendToRoom;
  rows: (eventIds: Iterable<string>) => EventRow[];
  nowMs: () => number;
};
/** A flow that has not settled in a day will not. */
const settlesWithinMs = 24 * 60 * 60_000;
const shortestWaitMs = 250;
/** While a flow is open the machine is looked at even when no sync says anything: its requests may have failed. */
const lookAgainMs = 5_000;

/**
 * Verification by emoji and by code. Rust crypto runs the protocol; what it may see (intake.ts), what leaves (outbox.ts) and
 * when it counts as done (settle.ts) is decided here.
 */
export function createVerification(parts: Parts) {
  const { me, http, store, emit, nowMs } = parts;
  let crypto: Crypto | undefined;
  let started = Promise.withResolvers<VerificationMachine>();
  let stopping = false;
  const alarms = new AbortController();
  const nudges = new Set<() => void>();

  const flows = createFlows({
    store,
    nowMs,
    changed: (flow) => {
      emit("verification.changed", { flow });
    },
  });
  const machine = () => started.promise;

  const outbox = createOutbox({
    nowMs,
    lastsMs: flowLastsMs,
    sleep: (ms) => pause(ms),
    send: async (message) => {
      if (message.kind === "room") {
        const { userId = me, deviceId } = flows.find(flowOf(message))?.flow ?? {};
        await parts.sendToRoom({ roomId: message.roomId, userId, deviceId }, message);
        return;
      }
      const path = `/_matrix/client/v3/sendToDevice/${encodeURIComponent(message.type)}/${encodeURIComponent(message.transactionId)}`;
      await http.request("PUT", path, { body: { messages: message.messages } });
    },
    refused: (message) => {
      const entry = flows.find(flowOf(message));
      if (entry !== undefined && flows.isOpen(entry)) end(entry, "undeliverable");
    },
  });

  /** Ends it here; what the machine would tell the other side is the caller's to send. */
  const end = (entry: Entry, code: string): Outgoing[] => {
    const messages = entry.handle?.cancel(code) ?? [];
    flows.setState(entry, { at: "cancelled", code, byMe: true });
    return messages;
  };
  const cancel = (entry: Entry, code: string): Promise<void> => outbox.put(end(entry, code));

  const accept = async (entry: Entry): Promise<void> => {
    if (entry.flow.userId !== me) await (await machine()).assertCanSign();
    const messages = entry.handle?.accept() ?? [];
    if (messages.length === 0) throw wrongTime();
    look(entry);
    await outbox.put(messages);
  };

  const intake = createIntake({
    me,
    deviceId: parts.deviceId,
    flows,
    machine,
    nowMs,
    ignored: parts.ignored,
    cancel: (entry, code) => void cancel(entry, code),
    accept,
    advance: () => advance(),
    rows: parts.rows,
  });

  /** Takes over what the machine says of a flow. True where both sides have agreed and nothing is settled yet. */
  const look = (entry: Entry, atRest = false): boolean => {
    if (entry.handle === undefined || !flows.isOpen(entry)) return false;
    const seen = entry.handle.look();
    flows.learn(entry, seen);
    const meaning = meaningOf(seen, entry.agreed);
    if (meaning.kind === "state") flows.setState(entry, meaning.state);
    if (meaning.kind === "broken" && atRest) void cancel(entry, "m.unexpected_message");
    return meaning.kind === "both-agreed";
  };

  let advancing: Promise<void> | undefined;
  let again = false;
  /** Looks at every open flow, sends what is due, and looks again at what that changed. */
  const advance = (): Promise<void> => {
    again = true;
    advancing ??= (async () => {
      while (again && !stopping) {
        again = false;
        await advanceOnce();
      }
    })().finally(() => {
      advancing = undefined;
    });
    return advancing;
  };
  const advanceOnce = async () => {
    const core = await machine();
    for (const entry of flows.open()) {
      if (nowMs() >= entry.endsAtMs) void cancel(entry, "m.timeout");
      // our part of an exchange that the person has agreed to with the request already
      else void outbox.put(entry.handle?.acceptStart() ?? []);
    }
    if (flows.open().length === 0) return;
    await core.processOutgoing();
    // the machine calls a flow done a moment before it has verified and signed: nothing is concluded while it takes an event
    const agreed = await intake.inTurn(() => core.atRest(() => flows.open().filter((entry) => look(entry, true))));
    // signatures are made known by being sent
    if (agreed.length > 0) await core.processOutgoing();
    for (const entry of agreed) await beginSettling(entry);
    setAlarm();
  };

  let alarm: NodeJS.Timeout | undefined;
  const setAlarm = () => {
    clearTimeout(alarm);
    const ends = flows.open().map((entry) => entry.endsAtMs - nowMs());
    if (ends.length === 0 || stopping) return;
    alarm = setTimeout(
      () => {
        advance().catch(unexpected);
      },
      Math.max(shortestWaitMs, Math.min(lookAgainMs, ...ends)),
    );
  };

  const beginSettling = async (entry: Entry) => {
    const proof = await proofOf(entry);
    // keys that changed under the flow: the machine marks nothing as verified, and calls it done all the same
    if (proof === undefined) {
      log.warn("a verification ended without anything verified");
      await cancel(entry, "m.key_mismatch");
      return;
    }
    flows.settle(entry, proof);
    settleOn(entry, proof);
  };
  const proofOf = async ({ flow, signed }: Entry): Promise<Proof | undefined> => {
    if (flow.userId !== me) {
      const keys = Object.values(object(signed?.[flow.userId]) ?? {});
      const masterKey = keys.length === 1 ? publicKeyOf(keys[0]) : undefined;
      return masterKey === undefined ? undefined : { kind: "user", userId: flow.userId, masterKey };
    }
    if (crypto === undefined || flow.deviceId === undefined) return undefined;
    const pair = await pairWith(crypto, flow.deviceId);
    return pair === undefined ? undefined : { kind: "device", ...pair };
  };

  /** What is signed is on record before it is sent: what the server refuses or loses is signed again from there. */
  const signed = (entry: Entry, body: Json): void => {
    entry.signed = body;
    if (crypto === undefined) return;
    uploadSignatures(crypto, body).then(nudge, (error: unknown) => {
      log.info(`a signature is not on the server yet: ${asCoreError(error).code}`);
    });
  };

  const settleOn = (entry: Entry, proof: Proof) => {
    const sinceMs = entry.flow.state.at === "settling" ? (entry.flow.state.settlingSinceMs ?? nowMs()) : nowMs();
    const tell = (missing: Missing) => {
      flows.setState(
        entry,
        missing.length === 0 ? { at: "done" } : { at: "settling", missing, settlingSinceMs: sinceMs },
      );
    };
    const overdue = () => nowMs() - sinceMs > settlesWithinMs;
    settle(
      proof,
      {
        missing: async (of) => {
          const core = await cryptoNow();
          // done when they know too: after a kill our last message would be made by nobody
          await outbox.settled(entry.flow.roomId);
          if (of.kind === "device") return missingOfPair(core, of);
          return (await isSigned(core, of.userId, of.masterKey)) ? [] : ["signature"];
        },
        sign: async (of) => {
          const core = await cryptoNow();
          if (of.kind === "device") await signPair(core, of);
          else await userSign(core, of.userId, of.masterKey);
        },
        requestSecrets: async () => requestSecrets(await cryptoNow()),
        wait: async (ms) => {
          await pause(shortestWaitMs);
          await pause(ms - shortestWaitMs, nudges);
        },
        stopped: () => stopping || isOver(entry.flow.state) || overdue(),
      },
      tell,
    )
      .then((result) => {
        if (stopping || result === "done") return;
        flows.setState(entry, {
          at: "cancelled",
          code: result === "keys-differ" ? "m.key_mismatch" : "m.timeout",
          byMe: true,
        });
      })
      .catch(unexpected);
  };
  const cryptoNow = async () => {
    await machine();
    if (crypto === undefined) throw new CoreError("cancelled");
    return crypto;
  };
  const nudge = () => {
    for (const wake of [...nudges]) wake();
  };

  /** Ends early when the account stops, or when one of `early` is called. */
  const pause = (ms: number, early?: Set<() => void>) =>
    new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        early?.delete(done);
        alarms.signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, ms));
      early?.add(done);
      alarms.signal.addEventListener("abort", done);
      if (alarms.signal.aborted) done();
    });

  /** What the run before left: signatures to be settled, requests to be answered, and flows whose keys went with its memory. */
  const resume = () => {
    const requests: Received[] = [];
    for (const row of store.unfinished()) {
      if (flows.find(row.flow_id) !== undefined) continue;
      const proof = row.proof === null ? undefined : proofFrom(row.proof);
      const request = row.request === null ? undefined : receivedFrom(row.request);
      store.remove(row.flow_id);
      if (row.at === "settling" && proof !== undefined) {
        // it may have been on its way still; who has it already takes no notice
        outbox.put([lastWord(row, "m.key.verification.done", {})]).catch(unexpected);
        settleOn(flows.resume(row, proof), proof);
        continue;
      }
      if (row.at === "offered" && request !== undefined) {
        requests.push(request);
        continue;
      }
      store.put({ ...row, at: "ended", request: null, proof: null });
      if (nowMs() - row.requested_at_ms < flowLastsMs)
        void outbox.put([lastWord(row, "m.key.verification.cancel", forgotten)]);
    }
    if (requests.length > 0) void intake.again(requests).then(advance).catch(unexpected);
  };

  const cryptoStarted = (core: Crypto) => {
    for (const entry of flows.open())
      flows.setState(entry, { at: "cancelled", code: "m.unknown_transaction", byMe: true });
    crypto = core;
    const made = createVerificationMachine(core, {
      toDevice: intake.toDevice,
      outgoing: (message) => void outbox.put([message]).then(advance).catch(unexpected),
      signed: (body) => {
        const entry = flows.open().find(({ flow, agreed }) => agreed && body[flow.userId] !== undefined);
        if (entry !== undefined) signed(entry, body);
        return entry !== undefined;
      },
      upload: (body) => uploadSignatures(core, body),
    });
    core.onIdentities(nudge);
    core.onDevices(nudge);
    core.onToDevice((events) => {
      if (events.some((event) => event.type === "m.secret.send")) nudge();
    });
    const before = started;
    started = Promise.withResolvers();
    started.resolve(made);
    before.resolve(made);
    resume();
  };

  const feature: Feature = {
    cryptoStarted,
    synced: () => {
      if (flows.open().length > 0) advance().catch(unexpected);
    },
    roomEvents: intake.roomEvents,
    stop: async () => {
      stopping = true;
      clearTimeout(alarm);
      alarms.abort();
      started.promise.catch(() => undefined);
      started.reject(new CoreError("cancelled"));
      await outbox.stop();
    },
  };
  return { feature, flows, machine, intake, outbox, accept, cancel, look, signed, advance };
}

export const wrongTime = () =>
  new CoreError("conflict", { message: "The verification is at another step.", details: { kind: "wrong-time" } });

/** The flow that a message belongs to. */
function flowOf(message: Outgoing): string {
  if (message.kind === "room") return text(object(message.content["m.relates_to"])?.["event_id"]) ?? "";
  const contents = Object.values(message.messages).flatMap((devices) => Object.values(object(devices) ?? {}));
  return text(object(contents[0])?.["transaction_id"]) ?? "";
}

/** Tells the other side that nobody here knows of the flow any more, so that it does not wait for ten minutes. */
const forgotten: Json = { code: "m.unknown_transaction", reason: "m.unknown_transaction" };

/** What ends a flow, without Rust crypto, which forgets its flows with the process. */
function lastWord(
  row: { flow_id: string; user_id: string; room_id: string | null; device_id: string | null },
  type: "m.key.verification.done" | "m.key.verification.cancel",
  content: Json,
): Outgoing {
  const common = { type, transactionId: `f${row.flow_id}`.slice(0, 200) };
  if (row.room_id !== null) {
    const relates = { rel_type: "m.reference", event_id: row.flow_id };
    return { kind: "room", ...common, roomId: row.room_id, content: { ...content, "m.relates_to": relates } };
  }
  const devices = { [row.device_id ?? "*"]: { ...content, transaction_id: row.flow_id } };
  return { kind: "to-device", ...common, messages: { [row.user_id]: devices } };
}

function proofFrom(stored: string): Proof | undefined {
  const value = JSON.parse(stored) as unknown;
  return isObject(value) && (value["kind"] === "user" || value["kind"] === "device") ? (value as Proof) : undefined;
}
function receivedFrom(stored: string): Received | undefined {
  const value = JSON.parse(stored) as unknown;
  return isObject(value) && isObject(value["event"]) ? (value as Received) : undefined;
}

const unexpected = (error: unknown) => {
  const known = asCoreError(error);
  if (known.code !== "cancelled") log.warn("a verification could not go on", error);
};

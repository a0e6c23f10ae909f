import type { Emit } from "../../../../preload/contract/index.ts";
import { toFailure } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import { log } from "../../log.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { OwnDevices } from "../../matrix/own-devices.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import { createInviteStore } from "../../storage/invite-store.ts";
import { createInviteTokenStore } from "../../storage/invite-token-store.ts";
import { createAdmissions } from "./admissions.ts";
import { createFlood } from "./flood.ts";
import { createIntake } from "./intake.ts";
import { createJoins } from "./joins.ts";
import { createOutbox, type Transport } from "./outbox-sender.ts";
import type { PeerPort, RoomPort, TrustPort } from "./ports.ts";
import { createTokens } from "./tokens.ts";
import { digitsOf } from "./works.ts";

export type HandshakeParts = {
  me: string;
  deviceId: string;
  db: AccountDatabase;
  peers: PeerPort;
  rooms: RoomPort;
  trust: TrustPort;
  transport: Transport;
  ownDevices: (crypto: Crypto) => Promise<OwnDevices>;
  /** Asks for what else the server holds for this device. */
  syncNow: () => Promise<unknown>;
  emit: Emit;
  nowMs: () => number;
};
/** So long after a sync the server may have collected messages of days. */
const reconnectedAfterMs = 45_000;
const sameGateMs = 1_000;

/** The parts of the handshake and the wires between them: tokens, the joiner, the inviter, what comes and what goes. */
export function createHandshake(parts: HandshakeParts) {
  const { me, deviceId, db, peers, rooms, trust, emit, nowMs } = parts;
  const store = createInviteStore(db);
  const flood = createFlood(nowMs);
  const dropped = createGateLog(nowMs);
  let untell: (() => void)[] = [];
  let stopped = false;
  let lastSyncMs: number | undefined;
  let lastCount = 0;
  let drained = false;

  const outbox = createOutbox({ store, nowMs, ...parts.transport });
  const tokens = createTokens({
    me,
    deviceId,
    db,
    store: createInviteTokenStore(db),
    outbox,
    nowMs,
    ownDevices: parts.ownDevices,
    digitsOf: (tokenId) => digitsOf(store, tokenId),
  });
  const common = { me, store, outbox, peers, rooms, trust, nowMs, dropped };
  let told = "";
  const joins = createJoins({
    ...common,
    changed: () => {
      const now = joins.list();
      const json = JSON.stringify(now);
      if (json === told || stopped) return;
      told = json;
      emit("invites.changed", { joins: now });
    },
  });
  const admissions = createAdmissions({
    ...common,
    tokens,
    flood,
    asked: () => {
      emit("invites.changed", { requests: admissions.requests() });
    },
    exchanged: () => {
      if (!stopped) emit("invites.changed", { invites: tokens.list() });
    },
  });
  /** Somebody who was verified here once, or whose code was accepted here: not who merely holds one of ours. */
  const knows = (userId: string): boolean => trust.onceVerifiedKey(userId) !== undefined || joins.isUnderWay(userId);
  const intake = createIntake({
    me,
    store,
    flood,
    nowMs,
    dropped,
    note: tokens.received,
    notesSettled: tokens.settled,
    ignored: trust.ignored,
    knows,
    awaits: joins.awaits,
    judge: { hello: admissions.hello, reply: joins.reply, proof: admissions.proof, confirm: joins.confirm },
  });
  const removeListener = tokens.onChange((changed) => {
    if (!stopped) emit("invites.changed", changed);
  });

  const feature: Feature = {
    cryptoStarted: async (core) => {
      for (const remove of untell) remove();
      untell = [core.onToDevice(intake.heard)];
      await tokens.cryptoStarted(core);
      // whoever waits for crypto gets it after this
      setImmediate(() => {
        if (stopped) return;
        joins.resume();
        admissions.resume();
        outbox.again();
      });
    },
    synced: () => {
      const now = nowMs();
      const reconnected = lastSyncMs === undefined || Math.abs(now - lastSyncMs) > reconnectedAfterMs;
      lastSyncMs = now;
      if (reconnected) {
        drained = false;
        outbox.again();
      }
      if (lastCount === 0) drained = true;
      else if (!drained)
        parts.syncNow().catch((error: unknown) => {
          if (!stopped) log.info(`the rest of the messages was not asked for: ${toFailure(error).code}`);
        });
      tokens.synced();
      intake.setOpen(drained);
      admissions.look();
      joins.look().catch((error: unknown) => {
        if (!stopped) log.error("joins could not go on", error);
      });
    },
    stop: async () => {
      stopped = true;
      for (const remove of untell) remove();
      removeListener();
      joins.stop();
      admissions.stop();
      await Promise.allSettled([intake.stop(), outbox.stop(), tokens.stop()]);
    },
  };

  return {
    feature,
    tokens,
    joins,
    admissions,
    knows,
    /** After crypto took a sync of so many to-device messages, before anything of it is saved. Throws where it must not be. */
    received: (toDevice: number): void => {
      lastCount = toDevice;
      intake.persist();
    },
    /** A sync was completed since the start. */
    hasSynced: (): boolean => lastSyncMs !== undefined,
  };
}

/** One line a failed gate, and no more than one a second of each: whoever floods us does not fill the disk. */
function createGateLog(nowMs: () => number) {
  const last = new Map<string, { at: number; more: number }>();
  return (gate: string): void => {
    const before = last.get(gate);
    const now = nowMs();
    if (before !== undefined && Math.abs(now - before.at) < sameGateMs) {
      before.more++;
      return;
    }
    const more = before === undefined || before.more === 0 ? "" : ` and ${before.more} more before`;
    log.warn(`invites: dropped (${gate})${more}`);
    last.set(gate, { at: now, more: 0 });
  };
}

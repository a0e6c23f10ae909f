import type { FailureCode } from "../../../../preload/contract/define.ts";
import { asCoreError } from "../../errors.ts";
import { object, type Json } from "../../json.ts";
import { log } from "../../log.ts";
import type { InviteStore, ParcelRow } from "../../storage/invite-store.ts";
import type { Fate, Outbox, Parcel } from "./outbox.ts";

export type Transport = {
  /** One PUT. Throws `CoreError`. */
  send: (type: string, transactionId: string, messages: Record<string, Record<string, Json>>) => Promise<void>;
  /** Throws `CoreError`: `not-found` with `details.kind` where this device is none to write to. */
  encrypt: (
    to: { userId: string; deviceId: string; curve25519?: string },
    type: string,
    content: Json,
  ) => Promise<Json>;
};
type Parts = Transport & { store: InviteStore; nowMs: () => number };

const weekMs = 7 * 24 * 3_600_000;
const dayMs = 24 * 3_600_000;
const firstWaitMs = 1_000;
const longestWaitMs = 5 * 60_000;
/** A one-time key may be uploaded yet; a device that lacks one for so long is gone. */
const sessionTries = 5;

/**
 * To-device messages that outlive the process. One lane a recipient, in order; what the network fails is tried again under the same
 * transaction id, and an Olm message is encrypted once: a second ciphertext would be a second message.
 */
export function createOutbox({ store, send, encrypt, nowMs }: Parts) {
  const listeners = new Set<(id: string, fate: Fate) => void>();
  const lanes = new Map<string, Promise<void>>();
  const notBefore = new Map<string, number>();
  const failures = new Map<string, number>();
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let looking = false;

  const settle = (id: string, fate: Fate): void => {
    notBefore.delete(id);
    failures.delete(id);
    if (!store.settleParcel(id, fate)) return;
    if (fate !== "sent") log.info(`a handshake message was not sent: ${fate}`);
    for (const listener of listeners)
      try {
        listener(id, fate);
      } catch (error) {
        log.error("a listener to the outbox failed", error);
      }
  };

  const wireOf = async (row: ParcelRow, parcel: Parcel): Promise<{ type: string; content: Json }> => {
    if (parcel.kind === "plain") return { type: parcel.type, content: parcel.content };
    const type = "m.room.encrypted";
    const kept = object(row.ciphertext === null ? undefined : (JSON.parse(row.ciphertext) as unknown));
    if (kept !== undefined) return { type, content: kept };
    const { userId, deviceId, curve25519 } = parcel;
    const to = { userId, deviceId, ...(curve25519 === undefined ? {} : { curve25519 }) };
    const content = await encrypt(to, parcel.type, parcel.content);
    store.setCiphertext(row.id, JSON.stringify(content));
    return { type, content };
  };

  /** True where it came to its end. */
  const deliver = async (id: string): Promise<boolean> => {
    const row = store.parcel(id);
    if (row === undefined) return true;
    if (nowMs() >= row.expires_at_ms) {
      settle(id, "expired");
      return true;
    }
    const parcel = JSON.parse(row.parcel) as Parcel;
    try {
      const { type, content } = await wireOf(row, parcel);
      await send(type, id, { [parcel.userId]: { [parcel.deviceId]: content } });
      settle(id, "sent");
      return true;
    } catch (error) {
      if (stopped) return false;
      const known = asCoreError(error);
      const tries = (failures.get(id) ?? 0) + 1;
      failures.set(id, tries);
      const kind = object(known.details)?.["kind"];
      if (kind === "not-signed") settle(id, "not-signed");
      else if (kind === "no-session" && tries >= sessionTries) settle(id, "unreachable-device");
      else if (isFinal(known.code) && kind !== "no-session") settle(id, known.code);
      else {
        const waitMs = Math.min(firstWaitMs * 2 ** Math.min(tries - 1, 12), longestWaitMs);
        notBefore.set(id, nowMs() + (known.retryAfterMs ?? waitMs));
        return false;
      }
      return true;
    }
  };

  /** Begins a lane for each recipient that something may go to now, and sleeps until the next may. */
  const look = (): void => {
    looking = false;
    clearTimeout(timer);
    if (stopped) return;
    const now = nowMs();
    let next = Infinity;
    const seen = new Set<string>();
    for (const row of store.parcels()) {
      const parcel = JSON.parse(row.parcel) as Parcel;
      const lane = `${parcel.userId}|${parcel.deviceId}|${parcel.kind}`;
      // the first of a lane holds up those behind it, but not for its own jitter's sake
      if (seen.has(lane) || lanes.has(lane)) continue;
      const dueMs = Math.min(Math.max(row.not_before_ms, notBefore.get(row.id) ?? 0), row.expires_at_ms);
      if (dueMs > now) {
        next = Math.min(next, dueMs);
        if (notBefore.has(row.id)) seen.add(lane);
        continue;
      }
      seen.add(lane);
      lanes.set(
        lane,
        deliver(row.id)
          .then(() => undefined)
          .catch((error: unknown) => {
            log.error("the outbox failed", error);
            notBefore.set(row.id, nowMs() + longestWaitMs);
          })
          .finally(() => {
            lanes.delete(lane);
            wake();
          }),
      );
    }
    if (Number.isFinite(next)) timer = setTimeout(wake, Math.min(Math.max(next - now, 5), dayMs));
  };
  /** In a later turn: whoever put something may be in the middle of a transaction. */
  const wake = (): void => {
    if (looking || stopped) return;
    looking = true;
    setImmediate(look);
  };

  const outbox: Outbox = {
    put: (parcel) => {
      if (!/^[A-Za-z0-9._-]{1,64}$/.test(parcel.id)) throw new RangeError("an id of the outbox is a transaction id");
      const isNew = store.addParcel({
        id: parcel.id,
        parcel: JSON.stringify(parcel),
        notBeforeMs: Math.ceil(parcel.notBeforeMs ?? 0),
        expiresAtMs: Math.ceil(parcel.expiresAtMs ?? nowMs() + weekMs),
        putAtMs: nowMs(),
      });
      wake();
      return isNew;
    },
    drop: (ids) => {
      for (const id of ids) settle(id, "cancelled");
    },
    isWaiting: (id) => store.parcel(id) !== undefined,
    onFate: (listener) => {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
  };
  return {
    ...outbox,
    /** The server may be there again: what failed is tried now. */
    again: (): void => {
      notBefore.clear();
      store.forgetParcelsPutBefore(nowMs() - dayMs);
      wake();
    },
    stop: async (): Promise<void> => {
      stopped = true;
      clearTimeout(timer);
      await Promise.allSettled(lanes.values());
    },
  };
}

/** The server has said no, and will say it again. */
const isFinal = (code: FailureCode): boolean =>
  ["forbidden", "bad-request", "not-found", "unsupported", "too-large", "conflict"].includes(code);

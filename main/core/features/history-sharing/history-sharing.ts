import { asCoreError } from "../../errors.ts";
import { text } from "../../json.ts";
import { log } from "../../log.ts";
import type { Feature } from "../../feature.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Allows, HistorySharing } from "../../matrix/history-sharing.ts";
import type { AwaitedRow, HistorySharingStore, ShareRow } from "../../storage/history-sharing-store.ts";
import type { RoomStore } from "../../storage/room-store.ts";

type Parts = {
  store: HistorySharingStore;
  rooms: Pick<RoomStore, "room" | "member">;
  createSharing: (crypto: Crypto) => Promise<HistorySharing>;
  /** Whose devices may read the room's next message, as `user device`: earlier ones are not for more than those. */
  readers: (roomId: string) => Promise<string[]>;
  nowMs: () => number;
};

/** Keys for an invitation come soon, or are asked for in vain: after a day whoever sent them may have meant another invitation. */
const lastsMs = 24 * 3_600_000;
const firstWaitMs = 5_000;
const longestWaitMs = 600_000;
const bundleTypes = new Set(["m.room_key_bundle", "io.element.msc4268.room_key_bundle"]);
/** The server has said no: nobody was invited. Anything else may have reached it. */
const refusals = new Set(["forbidden", "bad-request", "not-found", "unsupported", "too-large", "conflict"]);

/**
 * Earlier messages for whoever is invited (MSC4268): owed by the inviter from before the invitation is sent, awaited by the invited
 * from the sync that says they joined; both survive restarts and failures, and neither can undo the invitation.
 */
export function createHistorySharingFeature({ store, rooms, createSharing, readers, nowMs }: Parts) {
  let sharing: HistorySharing | undefined;
  let stopped = false;
  let running = false;
  let again = false;
  let timer: NodeJS.Timeout | undefined;
  let untell: (() => void)[] = [];
  // rows that something happened to: they are tried now, whatever their next try is
  const told = new Set<string>();

  const nextTryMs = (tries: number) => nowMs() + Math.min(firstWaitMs * 2 ** Math.min(tries, 10), longestWaitMs);
  const isDue = (key: string, row: { tries: number; next_try_ms: number | null }) =>
    told.delete(key) || (row.next_try_ms === null ? row.tries === 0 : row.next_try_ms <= nowMs());

  const shareOne = async (row: ShareRow, by: HistorySharing): Promise<void> => {
    const { room_id: roomId, user_id: userId } = row;
    const room = rooms.room(roomId);
    const membership = rooms.member(roomId, userId)?.membership;
    const visible = ["shared", "world_readable"].includes(room?.history_visibility ?? "shared");
    if (nowMs() - row.since_ms > lastsMs || room?.membership !== "join" || room.encryption === null || !visible) {
      store.settle(roomId, userId);
      return;
    }
    // the invitation is under way, or its answer was lost: a sync will tell
    if (membership !== "invite" && membership !== "join") return;
    if (!isDue(`share ${roomId} ${userId}`, row)) return;
    try {
      let allowed: Promise<Set<string>> | undefined;
      const allows: Allows = async (who, deviceId) => {
        allowed ??= readers(roomId).then((names) => new Set(names));
        return (await allowed).has(`${who} ${deviceId}`);
      };
      const done = await by.share(roomId, userId, allows);
      log.debug(`sharing history: ${done}`);
      // one of the two may still set up their identity: a change of it is told
      if (done === "not-signed" || done === "nobody") store.triedToShare(row, null);
      else store.settle(roomId, userId);
    } catch (error) {
      log.info(`history was not shared yet: ${asCoreError(error).code}`);
      if (!stopped) store.triedToShare(row, nextTryMs(row.tries));
    }
  };

  const takeOne = async (row: AwaitedRow, by: HistorySharing): Promise<void> => {
    const { room_id: roomId } = row;
    if (nowMs() - row.since_ms > lastsMs || rooms.room(roomId)?.membership !== "join") {
      store.stopAwaiting(roomId);
      return;
    }
    if (!isDue(`take ${roomId}`, row)) return;
    try {
      const taken = await by.take(roomId, row.inviter, row.taken);
      log.debug(`taking shared history: ${taken.at}`);
      if (taken.at === "none") store.triedToTake(row, null);
      else store.took(roomId, taken.bundle);
    } catch (error) {
      log.info(`shared history was not taken yet: ${asCoreError(error).code}`);
      if (!stopped) store.triedToTake(row, nextTryMs(row.tries));
    }
  };

  const run = async (): Promise<void> => {
    if (sharing === undefined || stopped) return;
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        for (const row of store.owed()) if (!isStopped()) await shareOne(row, sharing);
        for (const row of store.awaited()) if (!isStopped()) await takeOne(row, sharing);
      } while (isAgain() && !isStopped());
    } catch (error) {
      log.error("history could not be shared or taken", error);
    } finally {
      running = false;
      arm();
    }
  };
  const isStopped = () => stopped;
  const isAgain = () => again;
  const start = () => void run();

  /** Wakes at the next try of a row that failed. */
  const arm = () => {
    clearTimeout(timer);
    if (stopped) return;
    const next = [...store.owed(), ...store.awaited()].flatMap((row) => row.next_try_ms ?? []);
    if (next.length > 0) timer = setTimeout(start, Math.max(Math.min(...next) - nowMs(), 1_000));
  };

  const tellAll = (about: (row: ShareRow) => boolean) => {
    for (const row of store.owed()) if (about(row)) told.add(`share ${row.room_id} ${row.user_id}`);
  };

  const feature: Feature = {
    cryptoStarted: async (crypto) => {
      for (const remove of untell) remove();
      sharing = await createSharing(crypto);
      const changed = (userIds: string[]) => {
        const users = new Set(userIds);
        tellAll((row) => users.has(crypto.userId) || users.has(row.user_id));
        if (told.size > 0) start();
      };
      untell = [
        crypto.onIdentities(changed),
        crypto.onDevices(changed),
        crypto.onToDevice((events) => {
          for (const event of events) {
            const roomId = text(event.content["room_id"]);
            if (bundleTypes.has(event.type) && event.olm !== undefined && roomId !== undefined)
              told.add(`take ${roomId}`);
          }
        }),
      ];
      // what an earlier run left behind, and what may have come without our listening
      tellAll(() => true);
      for (const row of store.awaited()) told.add(`take ${row.room_id}`);
      start();
    },
    synced: start,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      for (const remove of untell) remove();
    },
  };

  return {
    ...feature,
    /** Around the request that invites: what is owed is written down before it, so that a kill in the middle does not forget it. */
    inviting: async (roomId: string, userId: string, invite: () => Promise<unknown>): Promise<void> => {
      store.owe(roomId, userId, nowMs());
      try {
        await invite();
      } catch (error) {
        if (refusals.has(asCoreError(error).code)) store.settle(roomId, userId);
        throw error;
      }
    },
    /** The invited person is known here as such. */
    invited: start,
    /** In the transaction of the sync that says that an invitation was accepted. */
    joined: (roomId: string, inviter: string): void => {
      store.await(roomId, inviter, nowMs());
    },
  };
}

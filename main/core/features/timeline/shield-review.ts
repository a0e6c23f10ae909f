import { toFailure } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import { createTurns } from "../../in-turn.ts";
import { log } from "../../log.ts";
import type { Crypto, Trust } from "../../matrix/crypto.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { EventRow, TimelineStore } from "../../storage/timeline-store.ts";
import { parse } from "./items.ts";

type Parts = {
  db: AccountDatabase;
  timeline: Pick<TimelineStore, "eventByNumber" | "markedFor" | "setTrust">;
  shieldThen: (sender: string, trust: Trust) => Trust;
  tell: (rows: EventRow[]) => void;
};
const rowsOfAChange = 500;
const rowsOfAStart = 200;
const rowsAtOnce = 50;

/**
 * A message is marked by what was known when it was decrypted. A new device's first message often comes before its keys do, or before
 * its owner has vouched for it: such marks are judged again when the sender's devices or identity change, and after a start.
 */
export function createShieldReview({ db, timeline, shieldThen, tell }: Parts): Feature {
  let stopped = false;
  const isStopped = () => stopped;
  let untell: (() => void)[] = [];
  // one after the other: what changes in the middle of one is looked at by the next
  const inTurn = createTurns();
  const changedUsers = new Set<string>();

  const review = async (crypto: Crypto, rows: EventRow[]) => {
    for (let from = 0; from < rows.length; from += rowsAtOnce) {
      if (isStopped()) return;
      const judged: { row: EventRow; trust: string }[] = [];
      for (const row of rows.slice(from, from + rowsAtOnce)) {
        const trust = await crypto.judge(row.room_id, parse(row.event));
        if (trust !== undefined) judged.push({ row, trust: JSON.stringify(shieldThen(row.sender, trust)) });
      }
      const changed = db.transaction(() =>
        judged.flatMap(({ row, trust }) => {
          if (timeline.eventByNumber(row.number)?.trust !== row.trust || trust === row.trust) return [];
          timeline.setTrust(row.number, trust);
          return timeline.eventByNumber(row.number) ?? [];
        }),
      );
      if (changed.length > 0) tell(changed);
    }
  };
  const inOrder = (crypto: Crypto, rows: () => EventRow[]) => {
    inTurn(async () => {
      if (!isStopped()) await review(crypto, rows());
    }).catch((error: unknown) => {
      if (!stopped) log.warn(`marks of messages could not be judged again: ${toFailure(error).code}`);
    });
  };
  // one answer of the server often tells of a person's devices and of their identity
  const rowsOfChanged = (): EventRow[] => {
    const users = [...changedUsers];
    changedUsers.clear();
    return users.flatMap((userId) => timeline.markedFor(userId, rowsOfAChange));
  };

  return {
    cryptoStarted: (crypto) => {
      for (const remove of untell) remove();
      const changed = (userIds: string[]) => {
        for (const userId of userIds) changedUsers.add(userId);
        inOrder(crypto, rowsOfChanged);
      };
      untell = [crypto.onIdentities(changed), crypto.onDevices(changed)];
      inOrder(crypto, () => timeline.markedFor(undefined, rowsOfAStart));
    },
    stop: async () => {
      stopped = true;
      for (const remove of untell) remove();
      await inTurn(() => Promise.resolve());
    },
  };
}

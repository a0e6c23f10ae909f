import { toFailure } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import { createTurns } from "../../in-turn.ts";
import { log } from "../../log.ts";
import type { Crypto, RoomKey } from "../../matrix/crypto.ts";
import type { KeyRequests } from "../../matrix/key-requests.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { EventRow, TimelineStore } from "../../storage/timeline-store.ts";
import type { UndecryptableStore } from "../../storage/undecryptable-store.ts";
import { asked, keyWouldHelp, readRecord } from "./undecryptable.ts";

type Parts = {
  db: AccountDatabase;
  store: UndecryptableStore;
  timeline: Pick<TimelineStore, "eventByNumber" | "waitingFor">;
  /** Looks for these sessions in the backup, where there is one; `lookedFor` is told of each. */
  askBackup: (keys: RoomKey[]) => void;
  createKeyRequests: (crypto: Crypto) => Promise<KeyRequests>;
  /** Tries the rows again and tells the window. */
  retry: (crypto: Crypto, rows: EventRow[]) => Promise<void>;
  /** Rows whose record changed, without a try. */
  tell: (rows: EventRow[]) => void;
  nowMs: () => number;
};
const rowsAtOnce = 200;
const rowsOfAChange = 2000;
const shortestTimerMs = 1_000;
const longestTimerMs = 24 * 3_600_000;

/**
 * Messages that could not be read: tried again by their schedule, and when identities or devices changed, since then another own
 * device may answer. What a failed try makes Rust crypto ask of own devices is sent from here.
 */
export function createUndecryptableRetry({
  db,
  store,
  timeline,
  createKeyRequests,
  askBackup,
  retry,
  tell,
  nowMs,
}: Parts) {
  let core: { crypto: Crypto; requests: KeyRequests } | undefined;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let untell: (() => void)[] = [];
  let couldAsk = false;
  // one after the other, so that a change in the middle of a retry is followed by another
  const inTurn = createTurns();
  const changedUsers = new Set<string>();

  const inOrder = (what: () => Promise<void>) => {
    inTurn(what).catch((error: unknown) => {
      if (!stopped) log.warn(`undecryptable messages could not be tried again: ${toFailure(error).code}`);
    });
  };

  /** Wakes at the next try that is planned. */
  const arm = () => {
    clearTimeout(timer);
    if (stopped || core === undefined) return;
    const next = store.nextTryMs();
    if (next === undefined) return;
    const wake = () => {
      inOrder(tryDue);
    };
    timer = setTimeout(wake, Math.min(Math.max(next - nowMs(), shortestTimerMs), longestTimerMs));
  };
  const tryDue = async () => {
    if (stopped || core === undefined) return;
    try {
      const rows = store.due(nowMs(), rowsAtOnce);
      if (rows.length > 0) await retry(core.crypto, rows);
    } finally {
      arm();
    }
  };

  const tryChanged = async () => {
    if (stopped || core === undefined || changedUsers.size === 0) return;
    const users = [...changedUsers];
    changedUsers.clear();
    const { crypto, requests } = core;
    const rows = new Map<number, EventRow>();
    for (const userId of users)
      if (userId !== crypto.userId)
        for (const row of store.ofSender(userId, rowsAtOnce))
          if (row.undecryptable !== null && readRecord(row.undecryptable).reason.startsWith("sender-"))
            rows.set(row.number, row);
    if (users.includes(crypto.userId)) {
      const before = couldAsk;
      couldAsk = await requests.canAsk();
      // Rust crypto asks when a try fails, and asked nobody while no own device would have answered
      if (couldAsk && !before) for (const row of store.newest(rowsOfAChange)) rows.set(row.number, row);
    }
    if (rows.size > 0) await retry(crypto, [...rows.values()]);
    arm();
  };

  const sendRequests = async (numbers: number[]) => {
    if (stopped || core === undefined) return;
    if (!couldAsk || !(await core.requests.send())) return;
    const rows = db.transaction(() =>
      numbers.flatMap((number) => {
        const row = timeline.eventByNumber(number);
        if (row?.undecryptable == null) return [];
        const record = readRecord(row.undecryptable);
        if (record.awaits?.includes("own-devices") !== true || record.tried?.includes("own-devices") === true)
          return [];
        store.setRecord(number, JSON.stringify(asked(record, "own-devices")));
        return timeline.eventByNumber(number) ?? [];
      }),
    );
    if (rows.length > 0) tell(rows);
  };

  const wanted = (rows: EventRow[]): RoomKey[] =>
    rows.flatMap((row) =>
      row.session_id !== null && row.undecryptable !== null && keyWouldHelp(readRecord(row.undecryptable))
        ? [{ roomId: row.room_id, sessionId: row.session_id }]
        : [],
    );

  const feature: Feature = {
    cryptoStarted: async (crypto) => {
      for (const remove of untell) remove();
      core?.requests.stop();
      const requests = await createKeyRequests(crypto);
      core = { crypto, requests };
      couldAsk = await requests.canAsk();
      const changed = (userIds: string[]) => {
        for (const userId of userIds) changedUsers.add(userId);
        inOrder(tryChanged);
      };
      untell = [crypto.onIdentities(changed), crypto.onDevices(changed)];
      arm();
    },
    // the person's own recovery makes devices verified here without a word of it from the network
    synced: () => {
      if (couldAsk || core === undefined) return;
      changedUsers.add(core.crypto.userId);
      inOrder(tryChanged);
    },
    stop: async () => {
      stopped = true;
      clearTimeout(timer);
      for (const remove of untell) remove();
      core?.requests.stop();
      await inTurn(() => Promise.resolve());
    },
  };

  return {
    ...feature,
    /** Whether a try that fails now asks own devices. */
    asksOwnDevices: () => couldAsk,
    /** These rows could not be read just now. */
    failed: (numbers: number[]): void => {
      inOrder(() => sendRequests(numbers));
      askBackup(wanted(numbers.flatMap((number) => timeline.eventByNumber(number) ?? [])));
      arm();
    },
    /** A backup can be read from now on: the newest messages are looked for at once. */
    backupOpened: (): void => {
      askBackup(wanted(store.newest(rowsAtOnce)).reverse());
    },
    /** What was found is on its way into its rows; the others say that it was tried. */
    lookedFor: (keys: RoomKey[]): void => {
      const rows = db.transaction(() =>
        keys
          .flatMap((key) => timeline.waitingFor(key.roomId, key.sessionId))
          .flatMap((row) => {
            if (row.undecryptable === null) return [];
            store.setRecord(row.number, JSON.stringify(asked(readRecord(row.undecryptable), "backup")));
            return timeline.eventByNumber(row.number) ?? [];
          }),
      );
      if (rows.length > 0) tell(rows);
    },
  };
}

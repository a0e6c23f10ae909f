import type { AccountDatabase } from "./database.ts";
import type { EventRow } from "./timeline-store.ts";

export type UndecryptableStore = ReturnType<typeof createUndecryptableStore>;

/** Messages that cannot be read yet, by when they are tried again; the index events_by_next_try answers both. */
export function createUndecryptableStore(db: AccountDatabase) {
  return {
    due: (nowMs: number, limit: number) =>
      db.all<EventRow>(
        `select * from events where undecryptable is not null and undecryptable ->> '$.nextTryMs' <= ?
         order by undecryptable ->> '$.nextTryMs' limit ?`,
        nowMs,
        limit,
      ),
    nextTryMs: () =>
      db.get<{ at: number | null }>(
        `select min(undecryptable ->> '$.nextTryMs') at from events
         where undecryptable is not null and undecryptable ->> '$.nextTryMs' is not null`,
      )?.at ?? undefined,
    ofSender: (sender: string, limit: number) =>
      db.all<EventRow>(
        "select * from events where undecryptable is not null and sender = ? order by sent_at_ms desc limit ?",
        sender,
        limit,
      ),
    newest: (limit: number) =>
      db.all<EventRow>("select * from events where undecryptable is not null order by sent_at_ms desc limit ?", limit),
    setRecord: (number: number, record: string) =>
      db.run("update events set undecryptable = ? where number = ? and undecryptable is not null", record, number),
  };
}

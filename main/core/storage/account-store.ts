import { isObject, type Json } from "../json.ts";
import type { AccountDatabase } from "./database.ts";

export type AccountStore = ReturnType<typeof createAccountStore>;

/** What belongs to the account as a whole: the sync token, account data, small values. */
export function createAccountStore(db: AccountDatabase) {
  const meta = (key: string) => db.get<{ value: string }>("select value from meta where key = ?", key)?.value;
  const setMeta = (key: string, value: string | undefined) => {
    if (value === undefined) db.run("delete from meta where key = ?", key);
    else
      db.run("insert into meta(key, value) values(?, ?) on conflict do update set value = excluded.value", key, value);
  };
  return {
    syncToken: () => meta("sync_token"),
    setSyncToken: (token: string) => {
      setMeta("sync_token", token);
    },
    /** Counts the syncs that were committed: what a later one wrote, an answer to an earlier question may not overwrite. */
    syncNumber: () => Number(meta("sync_number") ?? 0),
    /**
     * The number of the sync that is being asked for. What is learned from the server beside the sync bears it too: the answer that
     * is under way may be older than it, and a member list as of that answer may not overwrite it.
     */
    nextSyncNumber: () => Number(meta("sync_number") ?? 0) + 1,
    setSyncNumber: (number: number) => {
      setMeta("sync_number", String(number));
    },
    meta,
    setMeta,
    accountData: (type: string): Json | undefined => {
      const row = db.get<{ content: string }>("select content from account_data where type = ?", type);
      if (row === undefined) return undefined;
      const content = JSON.parse(row.content) as unknown;
      return isObject(content) ? content : undefined;
    },
    setAccountData: (type: string, content: Json) => {
      db.run(
        "insert into account_data(type, content) values(?, ?) on conflict do update set content = excluded.content",
        type,
        JSON.stringify(content),
      );
    },
  };
}

import { isDeepStrictEqual } from "node:util";
import { isObject, texts, type Json } from "../json.ts";
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
  const accountData = (type: string): Json | undefined => {
    const row = db.get<{ content: string }>("select content from account_data where type = ?", type);
    if (row === undefined) return undefined;
    const content = JSON.parse(row.content) as unknown;
    return isObject(content) ? content : undefined;
  };
  const setAccountData = (type: string, content: Json) => {
    db.run(
      "insert into account_data(type, content) values(?, ?) on conflict do update set content = excluded.content",
      type,
      JSON.stringify(content),
    );
  };
  /**
   * The number of the sync that is being asked for. What is learned from the server beside the sync bears it too: the answer that
   * is under way may be older than it, and a member list as of that answer may not overwrite it.
   */
  const nextSyncNumber = () => Number(meta("sync_number") ?? 0) + 1;
  const doubtful = () => texts(JSON.parse(meta("doubtful_account_data") ?? "[]"));
  const setDoubtful = (type: string, on: boolean) => {
    const others = doubtful().filter((other) => other !== type);
    const types = on ? [...others, type] : others;
    setMeta("doubtful_account_data", types.length === 0 ? undefined : JSON.stringify(types));
  };
  // by type: the sync under way when it was learned beside the sync, and the sync that brought it last. In memory alone: after a
  // restart no answer is under way, and the next one holds the server's present value of all that changed since the token
  const learnedAt = new Map<string, number>();
  const syncedAt = new Map<string, number>();

  return {
    syncToken: () => meta("sync_token"),
    setSyncToken: (token: string) => {
      setMeta("sync_token", token);
    },
    /** Counts the syncs that were committed: what a later one wrote, an answer to an earlier question may not overwrite. */
    syncNumber: () => Number(meta("sync_number") ?? 0),
    nextSyncNumber,
    /**
     * The number of the sync that is being asked for. What is learned from the server beside the sync bears it too: the answer that
     * is under way may be older than it, and a member list as of that answer may not overwrite it.
     */
    setSyncNumber: (number: number) => {
      setMeta("sync_number", String(number));
    },
    meta,
    setMeta,
    accountData,
    /** Written by this device, or asked for: holds against a sync's answer that was under way meanwhile. */
    learnAccountData: (type: string, content: Json) => {
      setAccountData(type, content);
      learnedAt.set(type, nextSyncNumber());
    },
    /** What sync `number` brought. Where this device learned another value while that was under way, the type is doubtful: only the server knows which is newer. */
    syncAccountData: (type: string, content: Json, number: number) => {
      if (number <= (learnedAt.get(type) ?? 0)) {
        if (!isDeepStrictEqual(content, accountData(type))) setDoubtful(type, true);
        return;
      }
      learnedAt.delete(type);
      syncedAt.set(type, number);
      setDoubtful(type, false);
      setAccountData(type, content);
    },
    /** The sync of this run that brought the type last; 0 where none did. */
    accountDataSyncedAt: (type: string) => syncedAt.get(type) ?? 0,
    /** Types of which the server has to be asked. */
    doubtful,
    setDoubtful,
  };
}

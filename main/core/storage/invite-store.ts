import type { AccountDatabase } from "./database.ts";

/** `facts` never change; `state` is the machine's own. Both JSON, whose shape is the feature's. */
export type JoinRow = {
  join_id: string;
  user_id: string;
  code_hash: string;
  facts: string;
  state: string;
  created_at_ms: number;
  over_at_ms: number | null;
};
export type WorkRow = {
  work_id: string;
  token_id: string;
  user_id: string;
  facts: string;
  state: string;
  created_at_ms: number;
  over_at_ms: number | null;
};
export type InboxRow = {
  number: number;
  digest: string;
  event: string;
  arrived_at_ms: number;
  tries: number;
  next_try_ms: number;
};
export type ParcelRow = {
  number: number;
  id: string;
  parcel: string;
  ciphertext: string | null;
  not_before_ms: number;
  expires_at_ms: number;
};
export type RequestRow = {
  request_id: string;
  token_id: string;
  user_id: string;
  /** Empty: nothing is proved yet, and another own device decides about the code. */
  master_key: string;
  /** Not asked before. */
  at_ms: number;
  answer: "gave" | "not" | null;
};
export type InviteStore = ReturnType<typeof createInviteStore>;

/** Joins, handshake messages in and out, and the journal of what a good proof brings about. */
export function createInviteStore(db: AccountDatabase) {
  return {
    transaction: db.transaction,
    /** This device's own secret of that name; `make` once. */
    secret: (name: string, make: () => Uint8Array): Uint8Array => {
      const kept = () => db.get<{ value: Buffer }>("select value from invite_secrets where name = ?", name)?.value;
      const present = kept();
      if (present !== undefined) return present;
      db.run("insert or ignore into invite_secrets(name, value) values(?, ?)", name, Buffer.from(make()));
      return kept() ?? new Uint8Array();
    },

    addJoin: (row: JoinRow) =>
      db.run(
        "insert into invite_joins(join_id, user_id, code_hash, facts, state, created_at_ms, over_at_ms) values(?, ?, ?, ?, ?, ?, ?)",
        row.join_id,
        row.user_id,
        row.code_hash,
        row.facts,
        row.state,
        row.created_at_ms,
        row.over_at_ms,
      ),
    setJoin: (joinId: string, facts: string, state: string, overAtMs: number | null) =>
      db.run(
        "update invite_joins set facts = ?, state = ?, over_at_ms = coalesce(over_at_ms, ?) where join_id = ?",
        facts,
        state,
        overAtMs,
        joinId,
      ),
    join: (joinId: string) => db.get<JoinRow>("select * from invite_joins where join_id = ?", joinId),
    /** Newest first. */
    joins: () => db.all<JoinRow>("select * from invite_joins order by created_at_ms desc, join_id"),
    joinsWith: (userId: string) =>
      db.all<JoinRow>("select * from invite_joins where user_id = ? order by created_at_ms desc", userId),
    removeJoin: (joinId: string) => db.run("delete from invite_joins where join_id = ?", joinId),
    forgetJoinsOverBefore: (ms: number) => db.run("delete from invite_joins where over_at_ms < ?", ms),

    /** The same message is kept once as long as it waits. */
    receive: (digest: string, event: string, nowMs: number): boolean =>
      db.run("insert or ignore into invite_inbox(digest, event, arrived_at_ms) values(?, ?, ?)", digest, event, nowMs) >
      0,
    /** Without those of these numbers. */
    inbox: (nowMs: number, limit: number, without: number[] = []) =>
      db.all<InboxRow>(
        `select * from invite_inbox where next_try_ms <= ? and number not in (select value from json_each(?))
         order by number limit ?`,
        nowMs,
        JSON.stringify(without),
        limit,
      ),
    inboxNextMs: () => db.get<{ at: number | null }>("select min(next_try_ms) at from invite_inbox")?.at ?? undefined,
    inboxSize: () => db.get<{ n: number }>("select count(*) n from invite_inbox")?.n ?? 0,
    triedLater: (number: number, nextTryMs: number) =>
      db.run("update invite_inbox set tries = tries + 1, next_try_ms = ? where number = ?", nextTryMs, number),
    dealtWith: (number: number) => db.run("delete from invite_inbox where number = ?", number),

    /** False where this id was put before. */
    addParcel: (row: {
      id: string;
      parcel: string;
      notBeforeMs: number;
      expiresAtMs: number;
      putAtMs: number;
    }): boolean =>
      db.run(
        "insert or ignore into invite_outbox(id, parcel, not_before_ms, expires_at_ms, put_at_ms) values(?, ?, ?, ?, ?)",
        row.id,
        row.parcel,
        row.notBeforeMs,
        row.expiresAtMs,
        row.putAtMs,
      ) > 0,
    parcels: () =>
      db.all<ParcelRow>(
        "select number, id, parcel, ciphertext, not_before_ms, expires_at_ms from invite_outbox where fate is null order by number",
      ),
    parcel: (id: string) =>
      db.get<ParcelRow>(
        "select number, id, parcel, ciphertext, not_before_ms, expires_at_ms from invite_outbox where id = ? and fate is null",
        id,
      ),
    setCiphertext: (id: string, ciphertext: string) =>
      db.run("update invite_outbox set ciphertext = ? where id = ? and fate is null", ciphertext, id),
    /** What it held goes; its id stays for a day. */
    settleParcel: (id: string, fate: string): boolean =>
      db.run(
        "update invite_outbox set fate = ?, parcel = null, ciphertext = null where id = ? and fate is null",
        fate,
        id,
      ) > 0,
    forgetParcelsPutBefore: (ms: number) =>
      db.run("delete from invite_outbox where fate is not null and put_at_ms < ?", ms),

    addWork: (row: WorkRow): boolean =>
      db.run(
        "insert or ignore into invite_work(work_id, token_id, user_id, facts, state, created_at_ms, over_at_ms) values(?, ?, ?, ?, ?, ?, ?)",
        row.work_id,
        row.token_id,
        row.user_id,
        row.facts,
        row.state,
        row.created_at_ms,
        row.over_at_ms,
      ) > 0,
    setWork: (workId: string, state: string, overAtMs: number | null) =>
      db.run("update invite_work set state = ?, over_at_ms = ? where work_id = ?", state, overAtMs, workId),
    work: (workId: string) => db.get<WorkRow>("select * from invite_work where work_id = ?", workId),
    unfinishedWork: () => db.all<WorkRow>("select * from invite_work where over_at_ms is null order by created_at_ms"),
    workOf: (tokenId: string, userId: string) =>
      db.all<WorkRow>(
        "select * from invite_work where token_id = ? and user_id = ? order by created_at_ms desc",
        tokenId,
        userId,
      ),
    /** Newest first. */
    workFor: (tokenId: string, limit: number) =>
      db.all<WorkRow>(
        "select * from invite_work where token_id = ? order by created_at_ms desc, work_id limit ?",
        tokenId,
        limit,
      ),
    forgetWorkOverBefore: (ms: number) => db.run("delete from invite_work where over_at_ms < ?", ms),

    ask: (row: RequestRow): boolean =>
      db.run(
        "insert or ignore into invite_requests(request_id, token_id, user_id, master_key, at_ms, answer) values(?, ?, ?, ?, ?, ?)",
        row.request_id,
        row.token_id,
        row.user_id,
        row.master_key,
        row.at_ms,
        row.answer,
      ) > 0,
    request: (requestId: string) => db.get<RequestRow>("select * from invite_requests where request_id = ?", requestId),
    requestOf: (tokenId: string, userId: string) =>
      db.get<RequestRow>("select * from invite_requests where token_id = ? and user_id = ?", tokenId, userId),
    dropRequest: (requestId: string) => db.run("delete from invite_requests where request_id = ?", requestId),
    openRequests: () => db.all<RequestRow>("select * from invite_requests where answer is null order by at_ms"),
    answer: (requestId: string, answer: "gave" | "not") =>
      db.run("update invite_requests set answer = ? where request_id = ?", answer, requestId),
  };
}

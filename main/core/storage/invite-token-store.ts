import type { AccountDatabase } from "./database.ts";

export type TokenRow = {
  token_id: string;
  id_key: Buffer;
  header: Buffer;
  secret: Buffer;
  room_id: string | null;
  created_at_ms: number;
  verify_until_ms: number;
  state: "active" | "withdrawn";
  state_rev: number;
  state_by: string;
  state_at_ms: number;
  owner: string;
  owner_rev: number;
  owner_by: string;
  told: number;
};
export type UseRow = {
  token_id: string;
  user_id: string;
  master_key: string;
  at_ms: number;
  device_id: string;
  verify: number;
  accepted: number;
  told: number;
};
export type NoteRow = { number: number; curve25519: string; content: string; received_at_ms: number };
type AlarmRow = {
  alarm_id: string;
  kind: string;
  token_id: string;
  user_ids: string;
  at_ms: number;
  withdrawn_at_ms: number | null;
  /** How many of its kind it speaks of. */
  events: number;
  put_away_at_ms: number | null;
};
export type InviteTokenStore = ReturnType<typeof createInviteTokenStore>;

/** The account's codes with their secrets, which stand nowhere else; who used them; what own devices say of them. */
export function createInviteTokenStore(db: AccountDatabase) {
  return {
    token: (tokenId: string) => db.get<TokenRow>("select * from invite_tokens where token_id = ?", tokenId),
    /** Newest first. */
    tokens: () => db.all<TokenRow>("select * from invite_tokens order by created_at_ms desc, token_id"),
    put: (row: TokenRow) =>
      db.run(
        `insert into invite_tokens(token_id, id_key, header, secret, room_id, created_at_ms, verify_until_ms,
           state, state_rev, state_by, state_at_ms, owner, owner_rev, owner_by, told)
         values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         on conflict(token_id) do update set room_id = excluded.room_id, created_at_ms = excluded.created_at_ms,
           verify_until_ms = excluded.verify_until_ms, state = excluded.state, state_rev = excluded.state_rev,
           state_by = excluded.state_by, state_at_ms = excluded.state_at_ms, owner = excluded.owner,
           owner_rev = excluded.owner_rev, owner_by = excluded.owner_by, told = excluded.told`,
        row.token_id,
        row.id_key,
        row.header,
        row.secret,
        row.room_id,
        row.created_at_ms,
        row.verify_until_ms,
        row.state,
        row.state_rev,
        row.state_by,
        row.state_at_ms,
        row.owner,
        row.owner_rev,
        row.owner_by,
        row.told,
      ),
    countTokens: (): number => db.get<{ many: number }>("select count(*) many from invite_tokens")?.many ?? 0,
    remove: (tokenId: string) => db.run("delete from invite_tokens where token_id = ?", tokenId),

    /** In the order of time. */
    uses: (tokenId: string) =>
      db.all<UseRow>("select * from invite_uses where token_id = ? order by at_ms, user_id, master_key", tokenId),
    allUses: () => db.all<UseRow>("select * from invite_uses order by at_ms, user_id, master_key"),
    putUse: (row: UseRow) =>
      db.run(
        `insert into invite_uses(token_id, user_id, master_key, at_ms, device_id, verify, accepted, told)
         values(?, ?, ?, ?, ?, ?, ?, ?)
         on conflict do update set at_ms = excluded.at_ms, device_id = excluded.device_id, verify = excluded.verify,
           accepted = excluded.accepted, told = excluded.told`,
        row.token_id,
        row.user_id,
        row.master_key,
        row.at_ms,
        row.device_id,
        row.verify,
        row.accepted,
        row.told,
      ),

    /** Codes of which something is still to be told to the own devices. */
    untold: () =>
      db
        .all<{ token_id: string }>(
          "select token_id from invite_tokens where told = 0 union select token_id from invite_uses where told = 0",
        )
        .map((row) => row.token_id),
    told: (tokenId: string) => {
      db.run("update invite_tokens set told = 1 where token_id = ? and told = 0", tokenId);
      db.run("update invite_uses set told = 1 where token_id = ? and told = 0", tokenId);
    },

    knows: (tokenId: string, deviceId: string) =>
      db.run("insert or ignore into invite_token_devices(token_id, device_id) values(?, ?)", tokenId, deviceId),
    knownTo: (deviceId: string) =>
      db
        .all<{ token_id: string }>("select token_id from invite_token_devices where device_id = ?", deviceId)
        .map((row) => row.token_id),

    addNote: (curve25519: string, content: string, nowMs: number) =>
      db.run(
        "insert into invite_notes(curve25519, content, received_at_ms) values(?, ?, ?)",
        curve25519,
        content,
        nowMs,
      ),
    /** In the order of arrival. */
    notes: () => db.all<NoteRow>("select * from invite_notes order by number"),
    removeNote: (number: number) => db.run("delete from invite_notes where number = ?", number),
    countNotesFrom: (curve25519: string): number =>
      db.get<{ many: number }>("select count(*) many from invite_notes where curve25519 = ?", curve25519)?.many ?? 0,
    countNotes: (): number => db.get<{ many: number }>("select count(*) many from invite_notes")?.many ?? 0,

    alarm: (alarmId: string) => db.get<AlarmRow>("select * from invite_alarms where alarm_id = ?", alarmId),
    putAlarm: (row: AlarmRow) =>
      db.run(
        `insert or replace into invite_alarms(alarm_id, kind, token_id, user_ids, at_ms, withdrawn_at_ms, events, put_away_at_ms)
         values(?, ?, ?, ?, ?, ?, ?, ?)`,
        row.alarm_id,
        row.kind,
        row.token_id,
        row.user_ids,
        row.at_ms,
        row.withdrawn_at_ms,
        row.events,
        row.put_away_at_ms,
      ),
    /** Those that were not put away, newest first. */
    alarms: () =>
      db.all<AlarmRow>("select * from invite_alarms where put_away_at_ms is null order by at_ms desc, alarm_id"),

    mark: (name: string) => db.get<{ value: string }>("select value from invite_marks where name = ?", name)?.value,
    removeMark: (name: string) => db.run("delete from invite_marks where name = ?", name),
    setMark: (name: string, value: string) =>
      db.run(
        "insert into invite_marks(name, value) values(?, ?) on conflict do update set value = excluded.value",
        name,
        value,
      ),
  };
}

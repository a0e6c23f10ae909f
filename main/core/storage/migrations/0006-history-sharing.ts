/**
 * `history_to_share`: whom this device invited and owes the keys of earlier messages. `history_awaited`: rooms joined on an
 * invitation, whose inviter may send such keys; `taken` names the last bundle that was taken.
 * The index finds undecryptable messages whose next try is due.
 */
export const historySharing = `
create table history_to_share(
  room_id text not null, user_id text not null,
  since_ms integer not null, tries integer not null default 0, next_try_ms integer,
  primary key(room_id, user_id)
) strict, without rowid;

create table history_awaited(
  room_id text primary key, inviter text not null,
  since_ms integer not null, taken text, tries integer not null default 0, next_try_ms integer
) strict, without rowid;

create index events_by_next_try on events(undecryptable ->> '$.nextTryMs') where undecryptable is not null;
`;

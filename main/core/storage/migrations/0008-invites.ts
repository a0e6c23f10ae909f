/**
 * Invites. `invite_joins`: codes of others that were accepted here; `state` and `facts` are the joiner's own JSON, and hold the code's
 * secret until the join is over. `invite_inbox`: handshake messages, from before the sync's token is saved until they are dealt with.
 * `invite_outbox`: to-device messages until the server took them, and their ids for a day after. `invite_work`: effects of good proofs,
 * replayed after a crash. `invite_requests`: whom the person is asked about. `invite_secrets`: this device's own.
 *
 * `invite_tokens`: the codes of this account; what a code says stands in its header alone. Two registers, each with its revision and the
 * device that wrote it: state and owner. `invite_uses` only grows; `accepted` 0 is an identity that was refused. `told` 0: still to be told
 * to the own devices. `invite_token_devices`: which of them know a code. `invite_notes`: what came from them and is not applied yet.
 */
export const invites = `
create table invite_secrets(name text primary key, value blob not null) strict;
create table invite_joins(
  join_id text primary key,
  user_id text not null,
  code_hash text not null,
  facts text not null,
  state text not null,
  created_at_ms integer not null,
  over_at_ms integer
) strict;
create index invite_joins_by_user on invite_joins(user_id);
create table invite_inbox(
  number integer primary key,
  digest text not null unique,
  event text not null,
  arrived_at_ms integer not null,
  tries integer not null default 0,
  next_try_ms integer not null default 0
) strict;
create table invite_outbox(
  number integer primary key,
  id text not null unique,
  parcel text,
  ciphertext text,
  not_before_ms integer not null,
  expires_at_ms integer not null,
  put_at_ms integer not null,
  fate text
) strict;
create index invite_outbox_waiting on invite_outbox(number) where fate is null;
create table invite_work(
  work_id text primary key,
  token_id text not null,
  user_id text not null,
  facts text not null,
  state text not null,
  created_at_ms integer not null,
  over_at_ms integer
) strict;
create index invite_work_by_token on invite_work(token_id, user_id);
create table invite_requests(
  request_id text primary key,
  token_id text not null,
  user_id text not null,
  master_key text not null,
  at_ms integer not null,
  answer text,
  unique(token_id, user_id)
) strict;

create table invite_tokens(
  token_id text primary key,
  id_key blob not null unique,
  header blob not null,
  secret blob not null,
  room_id text,
  created_at_ms integer not null,
  verify_until_ms integer not null,
  state text not null, state_rev integer not null, state_by text not null, state_at_ms integer not null,
  owner text not null, owner_rev integer not null, owner_by text not null,
  told integer not null
) strict, without rowid;
create index invite_tokens_untold on invite_tokens(token_id) where told = 0;
create table invite_uses(
  token_id text not null references invite_tokens on delete cascade,
  user_id text not null,
  master_key text not null,
  at_ms integer not null,
  device_id text not null,
  verify integer not null,
  accepted integer not null,
  told integer not null,
  primary key(token_id, user_id, master_key)
) strict, without rowid;
create index invite_uses_untold on invite_uses(token_id) where told = 0;
create table invite_token_devices(
  token_id text not null references invite_tokens on delete cascade,
  device_id text not null,
  primary key(token_id, device_id)
) strict, without rowid;
create table invite_notes(
  number integer primary key,
  curve25519 text not null,
  content text not null,
  received_at_ms integer not null
) strict;
create table invite_alarms(
  alarm_id text primary key,
  kind text not null,
  token_id text not null,
  user_ids text not null,
  at_ms integer not null,
  withdrawn_at_ms integer
) strict, without rowid;
create table invite_marks(name text primary key, value text not null) strict, without rowid;
`;

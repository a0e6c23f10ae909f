/**
 * Whom keys go to. `pins`: one row a person whose identity was seen here; `verified` and `withdrawn` hold the master key that was
 * verified, or whose verification was taken back. `send_to`: the choice for all rooms has the empty room id.
 */
export const trust = `
create table pins(
  user_id text primary key,
  fingerprint text not null,
  state text not null,
  since_ms integer not null,
  verified text,
  withdrawn text
) strict;
create table send_to(room_id text primary key, choice text not null) strict;
create table blocked_devices(
  user_id text not null, device_id text not null, at_ms integer not null,
  primary key(user_id, device_id)
) strict, without rowid;
create table send_blocks(user_id text primary key, reason text not null, at_ms integer not null) strict;
create table known_devices(user_id text primary key, devices text not null) strict;
create table last_readers(room_id text primary key, devices text not null) strict;
create table ledger(
  number integer primary key autoincrement,
  at_ms integer not null,
  kind text not null,
  user_id text not null,
  device_id text,
  detail text not null
) strict;
create index ledger_by_user on ledger(user_id, number);
create index members_by_user on members(user_id, membership);
-- one identity that is being made or replaced: secrets that the server does not have yet live here alone
create table identity_plan(
  one integer primary key check (one = 1),
  kind text not null,
  plan text not null,
  begun_ms integer not null,
  done integer not null default 0
);
-- what a reset replaced: private keys and sealed secrets, for the day when something is still under them
create table identity_salvage(
  number integer primary key,
  kept_ms integer not null,
  kind text not null,
  content text not null
);
-- what the server was last seen to have
create table identity_check(
  one integer primary key check (one = 1),
  at_ms integer not null,
  content text not null
);
`;

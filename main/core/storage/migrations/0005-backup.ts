/**
 * Restores, imports and exports as they stand, so that a kill loses one chunk at most. `restore_sessions` holds what the whole
 * download brought of rooms that nothing here names (still encrypted to the backup's key), and `restore_kept` which sessions of
 * a room under way are done; both are empty once the operation has ended.
 */
export const backup = `
create table operations(
  operation_id text primary key,
  kind text not null,
  at text not null,
  version text,
  total integer not null default 0,
  imported integer not null default 0,
  already_had integer not null default 0,
  failed integer not null default 0,
  took_ms integer not null default 0,
  whole integer not null default 0,
  begun_ms integer not null
) strict;
create table restore_rooms(
  operation_id text not null references operations on delete cascade,
  room_id text not null,
  primary key (operation_id, room_id)
) strict, without rowid;
create table restore_kept(
  operation_id text not null references operations on delete cascade,
  room_id text not null,
  session_id text not null,
  primary key (operation_id, room_id, session_id)
) strict, without rowid;
create table restore_failed(
  number integer primary key,
  operation_id text not null references operations on delete cascade,
  room_id text not null,
  session_id text not null,
  reason text not null
) strict;
create index restore_failed_of on restore_failed(operation_id);
create table restore_sessions(
  number integer primary key,
  operation_id text not null references operations on delete cascade,
  room_id text not null,
  session_id text not null,
  data text not null
) strict;
create index restore_sessions_of on restore_sessions(operation_id, room_id);
`;

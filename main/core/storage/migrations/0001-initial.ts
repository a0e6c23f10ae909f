/**
 * Timeline order is (segment, position). A `limited` sync begins a new segment; what comes later by sync goes to the
 * end of the newest segment, what /messages brings goes before a segment's first position. `gap_token` says from where the
 * hole before a segment is to be filled; null: nothing is missing between it and the segment before.
 */
export const initial = `
create table meta(key text primary key, value text not null) strict;

create table account_data(type text primary key, content text not null) strict;

create table rooms(
  room_id text primary key,
  membership text not null,
  name text,
  alias text,
  room_type text,
  heroes text,
  joined_count integer,
  invited_count integer,
  encryption text,
  history_visibility text,
  inviter text,
  direct_user text,
  favourite integer not null default 0,
  server_unread integer not null default 0,
  server_mentions integer not null default 0,
  unread integer not null default 0,
  mentions integer not null default 0,
  read_segment integer not null default -1,
  read_position integer not null default 0,
  last_activity_ms integer not null default 0,
  latest_event integer,
  members_known integer not null default 0,
  members_at text,
  rotate_before_send integer not null default 0,
  draft text,
  pending_receipt text,
  preview integer not null default 0
) strict;
create index rooms_by_activity on rooms(membership, last_activity_ms desc);

create table state(
  room_id text not null, type text not null, state_key text not null,
  event text not null, sync_number integer not null,
  primary key(room_id, type, state_key)
) strict;

create table members(
  room_id text not null, user_id text not null,
  membership text not null, name text, sync_number integer not null,
  primary key(room_id, user_id)
) strict, without rowid;

create table segments(
  room_id text not null, segment integer not null,
  gap_token text, at_start integer not null default 0,
  primary key(room_id, segment)
) strict, without rowid;

create table events(
  number integer primary key,
  event_id text not null unique,
  room_id text not null,
  segment integer not null,
  position integer not null,
  item_id text not null,
  sender text not null,
  sent_at_ms integer not null,
  type text not null,
  event text not null,
  clear text,
  session_id text,
  trust text,
  undecryptable text,
  replayed integer not null default 0,
  redacted integer not null default 0,
  shown integer not null default 0,
  notify integer not null default 0
) strict;
create index events_in_order on events(room_id, segment, position);
create index events_by_item on events(item_id);
create index events_waiting on events(room_id, session_id) where undecryptable is not null;
create index events_notifying on events(room_id, segment, position, notify) where notify > 0;

create table relations(
  event_id text primary key,
  target_id text not null,
  room_id text not null,
  kind text not null,
  sender text not null,
  key text,
  sent_at_ms integer not null
) strict;
create index relations_by_target on relations(target_id, kind);

create table receipts(
  room_id text not null, user_id text not null,
  event_id text not null, at_ms integer not null,
  primary key(room_id, user_id)
) strict, without rowid;
create index receipts_by_event on receipts(event_id);

create table megolm_indexes(
  session_id text not null, message_index integer not null, event_id text not null,
  primary key(session_id, message_index)
) strict, without rowid;

create table queue(
  number integer primary key autoincrement,
  item_id text not null unique,
  transaction_id text not null unique,
  room_id text not null,
  type text not null,
  content text not null,
  encrypted integer not null,
  state text not null,
  failure text,
  queued_at_ms integer not null,
  event_id text
) strict;
create index queue_by_room on queue(room_id, number);

create table transactions(
  transaction_id text primary key, item_id text not null, room_id text not null, at_ms integer not null
) strict;
`;

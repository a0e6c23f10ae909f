/** What was uploaded, reported and refused, so that restarts and kills keep the intervals; ids of keys alone, never a key. */
export const deviceKeys = `
create table device_keys(
  only integer primary key check(only = 1),
  history text not null
) strict;

create table device_keys_log(
  number integer primary key autoincrement,
  at_ms integer not null,
  kind text not null,
  key_id text,
  detail text
) strict;

create table device_keys_lost(key_id text primary key, at_ms integer not null) strict;
`;

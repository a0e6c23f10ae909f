/**
 * `recovery_log`: when the way back was made, used, practised or repaired, and how that went. `operations.failure`: why one that did
 * not end stopped. `rescued_secrets`: what could be read of a damaged crypto.db's identity and backup key; on its way into the next
 * device, and gone once it is there.
 */
export const recovery = `
create table recovery_log(
  number integer primary key,
  at_ms integer not null,
  kind text not null,
  ok integer not null
) strict;
alter table operations add column failure text;
create table rescued_secrets(name text primary key, secret text not null) strict;
`;

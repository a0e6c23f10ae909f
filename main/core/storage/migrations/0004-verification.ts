/**
 * Flows that a later run has to know of. `at`: `offered` (asked of us, not answered), `open`, `settling`, `ended`. `request` is the event
 * that asked; `proof` what both sides vouched for, until the server shows the signatures. Public keys and ids alone, no secret.
 */
export const verification = `
create table verification_flows(
  flow_id text primary key,
  user_id text not null,
  room_id text,
  device_id text,
  mine integer not null,
  requested_at_ms integer not null,
  at text not null,
  request text,
  proof text,
  settling_since_ms integer
) strict;
`;

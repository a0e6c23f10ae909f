/**
 * `invite_alarms.put_away_at_ms`: the person has seen it. `events`: how many of its kind it speaks of; more of them make it one that
 * was not seen yet.
 */
export const putAway = `
alter table invite_alarms add column put_away_at_ms integer;
alter table invite_alarms add column events integer not null default 1;
`;

/** For messages whose mark may go when more is known of the device that sent them. */
export const marks = `
create index events_by_mark on events(sender, sent_at_ms)
  where trust ->> '$.reason' in ('unknown-device', 'unsigned-device', 'no-identity');
`;

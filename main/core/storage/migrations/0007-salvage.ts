/**
 * `salvage`: room keys of a device that gives way to another of the same account, as JSON of the export format, one a row; on their
 * way into the new device's crypto.db and gone once they are there. `carried_pins`: whom the old device knew as whom. The new one's
 * Rust crypto takes whatever it sees first, so a change of identity that the old one would have told is told from here; an empty
 * fingerprint fits nobody.
 */
export const salvage = `
create table salvage(number integer primary key, session text not null) strict;
create table carried_pins(user_id text primary key, fingerprint text not null, verified integer not null) strict;
`;

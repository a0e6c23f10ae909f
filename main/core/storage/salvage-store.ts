import type { Failure } from "../../../preload/contract/define.ts";
import type { AccountDatabase } from "./database.ts";

export type SalvageStore = ReturnType<typeof createSalvageStore>;

/** Which device this account was last run as, and the room keys that the one before it left. */
export function createSalvageStore(db: AccountDatabase) {
  const meta = (key: string) => db.get<{ value: string }>("select value from meta where key = ?", key)?.value;
  const setMeta = (key: string, value: string) =>
    db.run("insert into meta(key, value) values(?, ?) on conflict do update set value = excluded.value", key, value);
  const carryPins = () => {
    const unsettled = "state in ('changed', 'verification-violated')";
    db.run(`delete from carried_pins where user_id in (select user_id from pins where not ${unsettled})`);
    // of a change that nobody has accepted: what was there before it, where that is known
    db.run(
      `insert into carried_pins(user_id, fingerprint, verified)
       select user_id, case when ${unsettled} then coalesce(verified, '') else fingerprint end, verified is not null
       from pins where true on conflict do nothing`,
    );
  };
  return {
    deviceId: () => meta("device_id"),
    setDeviceId: (deviceId: string) => setMeta("device_id", deviceId),
    /** From here on it is another device: what was of the old one alone is gone, and the keys that it left are to be taken in. */
    become: (deviceId: string, interrupted: Failure) => {
      db.transaction(() => {
        for (const table of ["device_keys", "device_keys_log", "device_keys_lost", "verification_flows"])
          db.run(`delete from ${table}`);
        carryPins();
        // it may have arrived, and a transaction id is the device's own: sent again by another it would arrive twice
        db.run("update queue set state = 'failed', failure = ? where state = 'sending'", JSON.stringify(interrupted));
        setMeta("salvage_due", "1");
        setMeta("device_id", deviceId);
      });
    },
    /** True from the change of devices until everything was taken in. */
    isDue: () => meta("salvage_due") !== undefined,
    add: (sessions: readonly string[]) => {
      db.transaction(() => {
        for (const session of sessions) db.run("insert into salvage(session) values(?)", session);
      });
    },
    /** The first ones that are left. */
    next: (limit: number) =>
      db.all<{ number: number; session: string }>("select number, session from salvage order by number limit ?", limit),
    count: () => db.get<{ count: number }>("select count(*) as count from salvage")?.count ?? 0,
    removeThrough: (number: number) => db.run("delete from salvage where number <= ?", number),
    clear: () => {
      db.transaction(() => {
        db.run("delete from salvage");
        db.run("delete from meta where key = 'salvage_due'");
      });
    },
    barrier: () => db.barrier(),
  };
}

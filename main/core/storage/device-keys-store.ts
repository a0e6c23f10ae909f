import type { DeviceKeysLogEntry } from "../../../preload/contract/device-keys.ts";
import type { AccountDatabase } from "./database.ts";

export type DeviceKeysStore<H> = ReturnType<typeof createDeviceKeysStore<H>>;
const keptRows = 200;

/** The history of this device's keys: one row of JSON, which the feature alone reads, the log, and ids that were lost. */
export function createDeviceKeysStore<H>(db: AccountDatabase, blank: H) {
  return {
    history: (): H => {
      const row = db.get<{ history: string }>("select history from device_keys");
      return row === undefined ? blank : (JSON.parse(row.history) as H);
    },
    save: (history: H, rows: Omit<DeviceKeysLogEntry, "atMs">[], atMs: number) => {
      db.transaction(() => {
        db.run(
          "insert into device_keys(only, history) values(1, ?) on conflict do update set history = excluded.history",
          JSON.stringify(history),
        );
        for (const row of rows)
          db.run(
            "insert into device_keys_log(at_ms, kind, key_id, detail) values(?, ?, ?, ?)",
            atMs,
            row.kind,
            row.keyId ?? null,
            row.detail ?? null,
          );
        if (rows.length > 0)
          db.run("delete from device_keys_log where number <= (select max(number) from device_keys_log) - ?", keptRows);
      });
    },
    /** Newest first. */
    log: (): DeviceKeysLogEntry[] =>
      db
        .all<{ at_ms: number; kind: DeviceKeysLogEntry["kind"]; key_id: string | null; detail: string | null }>(
          "select at_ms, kind, key_id, detail from device_keys_log order by number desc",
        )
        .map((row) => ({
          atMs: row.at_ms,
          kind: row.kind,
          ...(row.key_id === null ? {} : { keyId: row.key_id }),
          ...(row.detail === null ? {} : { detail: row.detail }),
        })),
    /** The server has another key under this id. */
    addLost: (keyIds: string[], atMs: number) => {
      for (const keyId of keyIds)
        db.run("insert into device_keys_lost(key_id, at_ms) values(?, ?) on conflict do nothing", keyId, atMs);
    },
    isLost: (keyId: string): boolean => db.get("select 1 from device_keys_lost where key_id = ?", keyId) !== undefined,
  };
}

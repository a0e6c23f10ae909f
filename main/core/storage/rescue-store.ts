import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { CoreError } from "../errors.ts";
import { moveAccountAside, removeDatabase } from "./crypto-files.ts";
import { decodeKey } from "./crypto-store/key-encoding.ts";
import { openCryptoStore, type CryptoStore, type CryptoStoreGlobals } from "./crypto-store/index.ts";
import { applyKey } from "./crypto-store/sql-file.ts";
import { decodeValue, type StoredValue } from "./crypto-store/value-encoding.ts";
import { openDamaged, type DamagedDatabase } from "./damaged-database.ts";
import { applyAccountKey, openAccountDatabase, type AccountDatabase } from "./database.ts";
import { opened } from "./opened-crypto-store.ts";

/** Records of Rust crypto's stores that still read, in the file first and then in its snapshot; each key once. */
export type CryptoRemains = {
  records: (store: string) => Generator<{ key: string; value: unknown }>;
  /** True where a part of the file did not read, or the file not at all. */
  damaged: () => boolean;
  close: () => void;
};

export function openCryptoRemains(folder: string, key: Uint8Array): CryptoRemains {
  const withKey = (name: string) =>
    openDamaged(path.join(folder, name), (db) => {
      applyKey(db, key);
    });
  const file = withKey("crypto.db");
  const snapshot = withKey("crypto.snapshot.db");
  const sources = [file, snapshot].filter((one) => one !== undefined);
  // both are of one line: where the page that names the stores is gone from the one, the other's names hold
  const names = new Map(sources.toReversed().flatMap((one) => [...one.rows("idb_store")].map(namedStore)));
  return {
    records: function* (store) {
      const met = new Set<string>();
      for (const source of sources)
        for (const row of source.rows(names.get(store) ?? "")) {
          const [key, value] = [row["k"], row["v"]];
          if (typeof key !== "string" || met.has(key)) continue;
          const decoded = decodeKey(key);
          if (typeof decoded !== "string") continue;
          met.add(key);
          yield { key: decoded, value: decodeValue(value as StoredValue) };
        }
    },
    damaged: () => file === undefined || file.hasGaps(),
    close: () => {
      for (const one of sources) one.close();
    },
  };
}
const namedStore = (row: Record<string, unknown>): [string, string] => [
  String(row["name"]),
  `store_${String(row["id"])}`,
];

/** A crypto store for what was rescued, under a key that nobody keeps; gone when it is closed, or at the next rescue. */
export function openWorkshop(
  folder: string,
): Pick<CryptoStore, "inPieces"> & { store: CryptoStoreGlobals; close: () => void } {
  const file = path.join(folder, "crypto.workshop.db");
  const remove = () => {
    removeDatabase(file);
  };
  remove();
  const store = openCryptoStore({ file, key: randomBytes(32) });
  return {
    store: store.globals,
    inPieces: (name, records, read) => store.inPieces(name, records, read),
    close: () => {
      store.close();
      remove();
    },
  };
}

/** Puts rescued records into a store that Rust crypto has made, `wanted` ones alone where that is given. */
export async function fillStore(
  { indexedDB }: CryptoStoreGlobals,
  remains: CryptoRemains,
  database: string,
  name: string,
  wanted: (key: string) => boolean = () => true,
): Promise<void> {
  const db = await opened(indexedDB, database);
  const put = (rows: { key: string; value: unknown }[]): Promise<void> =>
    new Promise((resolve, reject) => {
      const transaction = db.transaction([name], "readwrite");
      transaction.oncomplete = () => {
        resolve();
      };
      transaction.onabort = () => {
        // a full disk tells itself by the cause
        reject(new Error("what was rescued could not be written", { cause: transaction.error }));
      };
      const store = transaction.objectStore(name);
      for (const { key, value } of rows) store.put(value, key);
      transaction.commit();
    });
  let rows: { key: string; value: unknown }[] = [];
  for (const record of remains.records(name)) {
    if (!wanted(record.key)) continue;
    rows.push(record);
    if (rows.length < putTogether) continue;
    await put(rows);
    rows = [];
  }
  if (rows.length > 0) await put(rows);
  db.close();
}
const putTogether = 200;

/** What comes from the server again, or was of the device that ends: all other tables are the person's own. */
const fromElsewhere =
  /^(meta|account_data|rooms|state|members|segments|events|relations|receipts|megolm_indexes|transactions|device_keys.*|verification_flows|identity_check|operations|restore_.*|history_.*)$/;

/**
 * The account's database: as it is where it is sound; else the damaged one is put aside and a new one made, with what reads of all
 * that no server has: decisions about people and devices, the record of them, messages that were not sent, kept keys.
 */
export function openAccountRemains(
  folder: string,
  key: Uint8Array,
  deviceId: string,
): { db: AccountDatabase; state: "kept" | "made-anew" } {
  const file = path.join(folder, "account.db");
  try {
    if (existsSync(file)) return { db: openAccountDatabase(file, key, true), state: "kept" };
  } catch (error) {
    if (!isCorrupt(error)) throw error;
  }
  const damaged = openDamaged(file, (db) => {
    applyAccountKey(db, key);
  });
  try {
    // in memory before the file moves: of tables that no server has, none is large
    const kept = new Map(
      [...(damaged?.tables ?? [])]
        .filter((table) => !fromElsewhere.test(table))
        .map((table) => [table, [...(damaged as DamagedDatabase).rows(table)]] as const),
    );
    moveAccountAside(folder, deviceId);
    const db = openAccountDatabase(file, key, false);
    db.transaction(() => {
      for (const [table, rows] of kept) putBack(db, table, rows);
      db.run("update queue set state = 'failed', failure = ?", JSON.stringify(notSent));
    });
    return { db, state: "made-anew" };
  } finally {
    damaged?.close();
  }
}

const notSent = {
  code: "database-corrupt",
  message: "It was not sent before the account's file was damaged.",
  retryable: true,
};

function putBack(db: AccountDatabase, table: string, rows: readonly Record<string, unknown>[]): void {
  const columns = new Set(
    db.all<{ name: string }>(`select name from pragma_table_info(?)`, table).map(({ name }) => name),
  );
  if (columns.size === 0) return; // a table of another version
  for (const row of rows) {
    const known = Object.entries(row).filter(([name]) => columns.has(name));
    db.run(
      `insert or ignore into "${table}"(${known.map(([name]) => `"${name}"`).join(", ")}) values(${known.map(() => "?").join(", ")})`,
      ...known.map(([, value]) => value as string | number | Buffer | null),
    );
  }
}

function isCorrupt(error: unknown): boolean {
  if (error instanceof CoreError) return error.code === "database-corrupt";
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return code === "SQLITE_CORRUPT" || code === "SQLITE_NOTADB";
}

import { IDBCursor, IDBCursorWithValue } from "./cursor.ts";
import { IDBDatabase } from "./database.ts";
import { Durability } from "./durability.ts";
import { Engine } from "./engine.ts";
import { fromSqlite, sqliteFailures } from "./errors.ts";
import { IDBVersionChangeEvent } from "./events.ts";
import { IDBFactory } from "./factory.ts";
import { IDBKeyRange } from "./key-range.ts";
import { IDBObjectStore } from "./object-store.ts";
import { IDBOpenDBRequest, IDBRequest } from "./request.ts";
import { SqlFile, type SqlFileOptions } from "./sql-file.ts";
import { IDBIndex } from "./store-index.ts";
import { IDBTransaction } from "./transaction.ts";

export { CryptoStoreError } from "./sql-file.ts";

/** Rust crypto tests by `instanceof`, so all of these must be global; without the cursors exports are silently empty. */
const classes = {
  IDBKeyRange,
  IDBFactory,
  IDBDatabase,
  IDBRequest,
  IDBOpenDBRequest,
  IDBTransaction,
  IDBObjectStore,
  IDBIndex,
  IDBCursor,
  IDBCursorWithValue,
  IDBVersionChangeEvent,
};

/** What to assign to `globalThis` before Rust crypto is initialised. */
export type CryptoStoreGlobals = typeof classes & { indexedDB: IDBFactory };

export interface CryptoStore extends CryptoStoreGlobals {
  readonly globals: CryptoStoreGlobals;
  /** The barrier: resolves once all that has completed survives a loss of power. Cheap when nothing was written. */
  sync(): Promise<void>;
  /**
   * After a kill all that was written while `work` ran is there, or nothing of it. One at a time. Throws where it could not be
   * committed; `failures` has grown then. Others' writes meanwhile share its fate, and `sync` waits for its end.
   */
  asOne<T>(work: () => Promise<T>): Promise<T>;
  /** Writes a copy under the same key, complete or not at all. For salvage: it is never to be run as the device. */
  snapshot(file: string): Promise<void>;
  /** Reads every page and index; false where one is damaged. Blocks for the time of reading the file. */
  integrityCheck(): boolean;
  /** Failures of SQLite so far: where it has grown, what Rust crypto holds in memory may be ahead of the file. */
  failures(): number;
  /**
   * Calls `read` once for each run of at most `records` records of a store; a cursor over that store meets that run alone
   * meanwhile. Nothing else may walk the store until it ends.
   */
  inPieces<T>(store: string, records: number, read: () => Promise<T>): AsyncIterable<T>;
  /** Of the records that an index lists: the different first parts of their keys, up to U+001D, where Rust crypto joins a key's parts. */
  firstPartsIn(store: string, index: string): string[];
  /** Which SQLite and which cipher, for logs and tests. */
  describe(): string;
  /** Ends running transactions without effect, moves the log into the file and closes it. */
  close(): void;
}

/**
 * Opens the file (made if missing, one process at a time) as the part of IndexedDB that Rust crypto uses. The key is
 * the raw 32 bytes of AEGIS-256. Throws `CryptoStoreError`.
 */
export function openCryptoStore(options: SqlFileOptions): CryptoStore {
  const sql = new SqlFile(options);
  const engine: Engine = new Engine(sql, () => {
    durability.wrote();
  });
  const durability = new Durability(sql, engine.scheduler);
  const globals: CryptoStoreGlobals = { ...classes, indexedDB: new IDBFactory(engine) };
  return {
    ...globals,
    globals,
    sync: () => durability.sync(),
    asOne: async (work) => {
      while (sql.hasWriter()) await engine.scheduler.untilNoWriter();
      sql.beginGroup();
      try {
        return await work();
      } finally {
        while (sql.hasWriter()) await engine.scheduler.untilNoWriter();
        // closing has ended it already
        if (sql.groupEnd !== undefined) endGroup(sql);
      }
    },
    snapshot: (file) => durability.snapshot(file),
    integrityCheck: () => sql.integrityCheck(),
    inPieces: async function* (store, records, read) {
      const sql = engine.storeNamed(store)?.sql;
      if (sql === undefined) return;
      for (let after = ""; ;) {
        const through = sql.keyBehind(after, records);
        if (through === undefined) return;
        sql.window = { after, through };
        try {
          yield await read().finally(() => {
            sql.window = undefined;
          });
        } finally {
          sql.window = undefined;
        }
        after = through;
      }
    },
    firstPartsIn: (store, index) => engine.storeNamed(store)?.firstParts(index) ?? [],
    failures: sqliteFailures,
    describe: () => sql.describe(),
    close: () => {
      if (engine.isClosed) return;
      engine.close();
      durability.close();
      sql.close();
    },
  };
}

function endGroup(sql: SqlFile): void {
  try {
    sql.endGroup();
  } catch (error) {
    throw fromSqlite(error);
  }
}

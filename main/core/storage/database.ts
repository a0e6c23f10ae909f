/* eslint-disable @typescript-eslint/no-unnecessary-type-parameters -- a row has the shape that its SQL gives it */
import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import Database from "better-sqlite3";
import { CoreError } from "../errors.ts";
import { migrations } from "./migrations/index.ts";

export type Row = Record<string, unknown>;
type Value = string | number | bigint | Buffer | null;

/** account.db: one encrypted file, its statements prepared once. */
export type AccountDatabase = {
  /** The first row, or undefined. */
  get: <R = Row>(sql: string, ...values: Value[]) => R | undefined;
  all: <R = Row>(sql: string, ...values: Value[]) => R[];
  /** Rows changed. */
  run: (sql: string, ...values: Value[]) => number;
  /** All or nothing; nested calls join the outer transaction. */
  transaction: <T>(work: () => T) => T;
  /** Everything committed so far is on the disk. */
  barrier: () => Promise<void>;
  close: () => void;
};

/**
 * Opens or makes the file under a raw 32-byte key (a key derivation at each open would make every start slower), and
 * migrates it. Throws `database-corrupt` where the file does not read with this key or fails its check, `disk-full`.
 */
export function openAccountDatabase(file: string, key: Uint8Array, check: boolean): AccountDatabase {
  const isNew = !existsSync(file);
  const db = openRaw(file, key);
  try {
    if (check && !isNew) assertIntegrity(db);
    migrate(db);
  } catch (error) {
    db.close();
    throw error;
  }
  const statements = new Map<string, Database.Statement>();
  const prepared = (sql: string) => {
    let statement = statements.get(sql);
    if (statement === undefined) statements.set(sql, (statement = db.prepare(sql)));
    return statement;
  };
  const isOpen = () => db.inTransaction;
  return {
    get: <R>(sql: string, ...values: Value[]) => prepared(sql).get(...values) as R | undefined,
    all: <R>(sql: string, ...values: Value[]) => prepared(sql).all(...values) as R[],
    run: (sql, ...values) => prepared(sql).run(...values).changes,
    transaction: (work) => {
      if (isOpen()) return work();
      prepared("begin immediate").run();
      try {
        const result = work();
        prepared("commit").run();
        return result;
      } catch (error) {
        if (isOpen()) prepared("rollback").run();
        throw error;
      }
    },
    barrier: () => syncFile(`${file}-wal`, file),
    close: () => {
      if (!db.open) return;
      db.pragma("wal_checkpoint(TRUNCATE)");
      db.close();
    },
  };
}

function openRaw(file: string, key: Uint8Array): Database.Database {
  if (key.length !== 32) throw new CoreError("unexpected", { message: "A database key has 32 bytes." });
  const db = new Database(file);
  try {
    applyAccountKey(db, key);
    db.pragma("journal_mode=wal");
    db.pragma("synchronous=normal");
    db.pragma("foreign_keys=on");
    db.pragma("temp_store=memory");
    db.pragma("cache_size=-8192");
    db.pragma("journal_size_limit=16777216");
    db.prepare("select count(*) from sqlite_schema").get();
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Cipher and raw key on a fresh connection. */
export function applyAccountKey(db: Database.Database, key: Uint8Array): void {
  db.pragma("cipher='aegis'");
  db.pragma(`key='raw:${Buffer.from(key).toString("hex")}'`);
}

function assertIntegrity(db: Database.Database): void {
  const verdict = db.pragma("quick_check(1)", { simple: true });
  if (verdict !== "ok") throw new CoreError("database-corrupt");
}

/** Numbered steps, each in a transaction of its own; a newer file than this build knows is refused, not damaged. */
export function migrate(db: Pick<Database.Database, "pragma" | "exec" | "transaction">): void {
  const version = Number(db.pragma("user_version", { simple: true }));
  if (version > migrations.length)
    throw new CoreError("unsupported", { message: "This profile was used by a newer version of Tessera." });
  for (const [index, step] of migrations.entries()) {
    if (index < version) continue;
    db.transaction(() => {
      db.exec(step);
      db.pragma(`user_version=${index + 1}`);
    })();
  }
}

/** `fdatasync` off the thread. A write-ahead log that is gone was checkpointed into the main file, which SQLite then synced itself. */
export async function syncFile(...files: string[]): Promise<void> {
  for (const file of files) {
    let handle;
    try {
      handle = await open(file, "r+");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    try {
      await handle.datasync();
    } finally {
      await handle.close();
    }
    return;
  }
}

import { copyFileSync, existsSync } from "node:fs";
import Database from "better-sqlite3";
import { removeDatabase } from "./crypto-files.ts";

type Row = Record<string, unknown>;
export type DamagedDatabase = {
  tables: ReadonlySet<string>;
  /** Those rows of a table that still read; what lies on a damaged page is stepped over. */
  rows: (table: string) => Generator<Row>;
  /** True where something was stepped over so far. */
  hasGaps: () => boolean;
  close: () => void;
};

const together = 200;
/** Where not even the last number of a table reads, its end is looked for this far. */
const mostSilence = 20_000;

/**
 * Reads what is left of a damaged file, from a copy: the file itself is neither repaired nor touched. Every page is authenticated by
 * the cipher, so what reads is what was written. Undefined where the file is not there, or its first page is gone.
 */
export function openDamaged(file: string, applyKey: (db: Database.Database) => void): DamagedDatabase | undefined {
  if (!existsSync(file)) return undefined;
  const copy = `${file}.rescue`;
  const remove = () => {
    removeDatabase(copy);
  };
  const open = (withLog: boolean): Database.Database | undefined => {
    remove();
    copyFileSync(file, copy);
    if (withLog && existsSync(`${file}-wal`)) copyFileSync(`${file}-wal`, `${copy}-wal`);
    const db = new Database(copy);
    try {
      applyKey(db);
      db.prepare("select count(*) from sqlite_schema").get();
      return db;
    } catch (error) {
      db.close();
      if (isDamage(error)) return undefined;
      remove();
      throw error;
    }
  };
  // a log that cannot be read must not hide the file behind it
  const db = open(true) ?? open(false);
  if (db === undefined) {
    remove();
    return undefined;
  }
  let gaps = false;
  const names = "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'";
  const tables = new Set((db.prepare(names).all() as { name: string }[]).map(({ name }) => name));
  return {
    tables,
    rows: function* (table) {
      if (tables.has(table)) yield* readable(db, table, () => (gaps = true));
    },
    hasGaps: () => gaps,
    close: () => {
      db.close();
      remove();
    },
  };
}

/** In runs while that goes well; where a run meets a damaged page, row by row over it. */
function* readable(db: Database.Database, table: string, stepped: () => void): Generator<Row> {
  const run = tried(() =>
    db.prepare(`select rowid as "#", * from "${table}" where rowid > ? order by rowid limit ${together}`),
  );
  if (run === undefined) {
    yield* inOneGo(db, table, stepped);
    return;
  }
  const one = db.prepare(`select rowid as "#", * from "${table}" where rowid = ?`);
  const last = (
    tried(() => db.prepare(`select max(rowid) as m from "${table}"`).get()) as { m: number | null } | undefined
  )?.m;
  for (let after = 0, silence = 0; ;) {
    const from = after;
    const rows = tried(() => run.all(from) as Row[]);
    if (rows !== undefined) {
      yield* rows.map(bare);
      const end = rows.at(-1)?.["#"];
      if (typeof end !== "number") return;
      after = end;
      silence = 0;
      continue;
    }
    stepped();
    for (let number = from + 1; number <= from + together; number++) {
      const row = tried(() => one.get(number) as Row | undefined);
      if (row === undefined) silence++;
      else {
        silence = 0;
        yield bare(row);
      }
    }
    after = from + together;
    if (typeof last === "number" ? after > last : silence > mostSilence) return;
  }
}

/** Of a table without row numbers: as far as it reads. */
function* inOneGo(db: Database.Database, table: string, stepped: () => void): Generator<Row> {
  const rows = db.prepare(`select * from "${table}"`).iterate() as IterableIterator<Row>;
  for (;;) {
    const next = tried(() => rows.next());
    if (next === undefined) stepped();
    if (next === undefined || next.done === true) return;
    yield next.value;
  }
}

const bare = ({ "#": _, ...row }: Row): Row => row;

/** Undefined where a page could not be read; all else is thrown. */
function tried<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isDamage(error) || (error instanceof Database.SqliteError && /no such column: rowid/.test(error.message)))
      return undefined;
    throw error;
  }
}

const isDamage = (error: unknown): boolean =>
  error instanceof Database.SqliteError && /^SQLITE_(CORRUPT|NOTADB|IOERR)/.test(error.code);

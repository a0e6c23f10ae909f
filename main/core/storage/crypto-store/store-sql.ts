import type Database from "better-sqlite3";
import { decodeValue, type StoredValue } from "./value-encoding.ts";
import { indexKey, type IndexSchema } from "./key-path.ts";
import type { IDBKeyRange } from "./key-range.ts";
import type { Statement } from "./sql-file.ts";

/** A row of a cursor: the key it is ordered by, the record's own key, the value. */
export type CursorRow = [key: string, primaryKey: string, value: StoredValue];

function conditions(column: string, range: IDBKeyRange): string {
  const { encodedLower, encodedUpper } = range;
  if (encodedLower !== undefined && encodedLower === encodedUpper) return `${column} = ?`;
  const parts: string[] = [];
  if (encodedLower !== undefined) parts.push(`${column} ${range.lowerOpen ? ">" : ">="} ?`);
  if (encodedUpper !== undefined) parts.push(`${column} ${range.upperOpen ? "<" : "<="} ?`);
  return parts.length === 0 ? `${column} IS NOT NULL` : parts.join(" AND ");
}

function parameters(range: IDBKeyRange): string[] {
  const { encodedLower, encodedUpper } = range;
  if (encodedLower !== undefined && encodedLower === encodedUpper) return [encodedLower];
  return [encodedLower, encodedUpper].filter((bound) => bound !== undefined);
}

/** The prepared statements of one object store: columns id, k (key), v (value) and a key column for each index. */
export class StoreSql {
  private readonly database: Database.Database;
  private readonly table: string;
  private readonly statements = new Map<string, Statement>();
  private readonly indexes: readonly IndexSchema[];
  readonly put: Statement;
  readonly add: Statement;
  readonly getOne: Statement;
  readonly deleteOne: Statement;
  /** While set, a cursor over the store meets only the records in it: so that those who walk all of it read it in pieces. */
  window: { after: string; through: string } | undefined;

  constructor(database: Database.Database, id: number, indexes: readonly IndexSchema[]) {
    this.database = database;
    this.table = `store_${id}`;
    this.indexes = [...indexes];
    const columns = ["k", "v", ...indexes.map((index) => `i${index.id}`)];
    const insert = `INSERT INTO ${this.table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`;
    const updates = columns.slice(1).map((column) => `${column} = excluded.${column}`);
    this.put = database.prepare(`${insert} ON CONFLICT (k) DO UPDATE SET ${updates.join(", ")}`);
    this.add = database.prepare(insert);
    this.getOne = database.prepare(`SELECT v FROM ${this.table} WHERE k = ?`).pluck();
    this.deleteOne = database.prepare(`DELETE FROM ${this.table} WHERE k = ?`);
  }

  /** The parameters of `put` and `add` after key and value. */
  indexKeys(value: unknown): (string | null)[] {
    return this.indexes.map((index) => indexKey(value, index.keyPath));
  }

  private prepare(sql: string, mode: "pluck" | "raw" | "run"): Statement {
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      statement = this.database.prepare(sql);
      if (mode === "pluck") statement.pluck();
      else if (mode === "raw") statement.raw();
      this.statements.set(sql, statement);
    }
    return statement;
  }

  /** `FROM … WHERE …` over the store, or over one of its indexes. */
  private select(what: string, range: IDBKeyRange, index: IndexSchema | undefined): string {
    const column = index === undefined ? "k" : `i${index.id}`;
    return `SELECT ${what} FROM ${this.table} INDEXED BY ${this.table}_${column} WHERE ${conditions(column, range)}`;
  }

  private order(index: IndexSchema | undefined): string {
    return index === undefined ? "ORDER BY k" : `ORDER BY i${index.id}, k`;
  }

  first(column: "k" | "v", range: IDBKeyRange, index?: IndexSchema): unknown {
    const sql = `${this.select(column, range, index)} ${this.order(index)} LIMIT 1`;
    return this.prepare(sql, "pluck").get(...parameters(range));
  }

  all(column: "k" | "v", range: IDBKeyRange, limit: number, index?: IndexSchema): unknown[] {
    const sql = `${this.select(column, range, index)} ${this.order(index)} LIMIT ?`;
    return this.prepare(sql, "pluck").all(...parameters(range), limit);
  }

  /** The key that stands so many records behind another; the last one where there are fewer, undefined where there is none. */
  keyBehind(after: string, records: number): string | undefined {
    const behind = `SELECT k FROM ${this.table} INDEXED BY ${this.table}_k WHERE k > ? ORDER BY k LIMIT ?`;
    return (this.prepare(`SELECT max(k) FROM (${behind})`, "pluck").get(after, records) as string | null) ?? undefined;
  }

  count(range: IDBKeyRange, index?: IndexSchema): number {
    return this.prepare(this.select("count(*)", range, index), "pluck").get(...parameters(range)) as number;
  }

  delete(range: IDBKeyRange): void {
    this.prepare(`DELETE FROM ${this.table} WHERE ${conditions("k", range)}`, "run").run(...parameters(range));
  }

  clear(): void {
    this.database.exec(`DELETE FROM ${this.table}`);
  }

  /** The next rows of a cursor after a position (`inclusive`: from it on), in the order of (key, primary key). */
  page(range: IDBKeyRange, after: CursorPosition | undefined, limit: number, index?: IndexSchema): CursorRow[] {
    const column = index === undefined ? "k" : `i${index.id}`;
    let sql = this.select(`${column}, k, v`, range, index);
    const values: unknown[] = parameters(range);
    if (this.window !== undefined && index === undefined) {
      sql += " AND k > ? AND k <= ?";
      values.push(this.window.after, this.window.through);
    }
    if (after !== undefined) {
      const comparison = after.inclusive ? ">=" : ">";
      if (index === undefined || after.primaryKey === undefined) {
        sql += ` AND ${column} ${comparison} ?`;
        values.push(after.key);
      } else {
        sql += ` AND (${column}, k) ${comparison} (?, ?)`;
        values.push(after.key, after.primaryKey);
      }
    }
    return this.prepare(`${sql} ${this.order(index)} LIMIT ?`, "raw").all(...values, limit) as CursorRow[];
  }

  /** Writes the keys of the records that are there when an index is created. */
  fillIndex(index: IndexSchema): void {
    const rows = this.database.prepare(`SELECT id, v FROM ${this.table}`).raw().all() as [number, StoredValue][];
    const update = this.database.prepare(`UPDATE ${this.table} SET i${index.id} = ? WHERE id = ?`);
    for (const [id, value] of rows) {
      const key = indexKey(decodeValue(value), index.keyPath);
      if (key !== null) update.run(key, id);
    }
  }
}

export interface CursorPosition {
  key: string;
  primaryKey?: string;
  inclusive: boolean;
}

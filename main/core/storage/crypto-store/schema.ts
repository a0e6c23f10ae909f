import { idbError } from "./errors.ts";
import type { IndexSchema, KeyPath } from "./key-path.ts";
import { StoreSql } from "./store-sql.ts";
import { decodeKey } from "./key-encoding.ts";
import type { SqlFile } from "./sql-file.ts";

/** An object store as this connection's SQLite knows it. */
export class StoreSchema {
  readonly id: number;
  readonly name: string;
  readonly indexes: IndexSchema[];
  readonly file: SqlFile;
  sql: StoreSql;
  deleted = false;

  constructor(file: SqlFile, id: number, name: string, indexes: IndexSchema[]) {
    this.file = file;
    this.id = id;
    this.name = name;
    this.indexes = indexes;
    this.sql = new StoreSql(file.database, id, indexes);
  }

  index(name: string): IndexSchema | undefined {
    return this.indexes.find((index) => index.name === name);
  }

  firstParts(indexName: string): string[] {
    const index = this.index(indexName);
    if (index === undefined) return [];
    const rows = this.file.database
      .prepare(
        `SELECT DISTINCT substr(k, 1, instr(k || char(29), char(29)) - 1) AS part FROM store_${this.id} WHERE i${index.id} IS NOT NULL`,
      )
      .all() as { part: string }[];
    return rows.map(({ part }) => decodeKey(part)).filter((key) => typeof key === "string");
  }

  refresh(): void {
    this.sql = new StoreSql(this.file.database, this.id, this.indexes);
  }
}

/** A named database: its version and stores, kept in step with the catalogue tables. */
export class DatabaseSchema {
  readonly file: SqlFile;
  readonly name: string;
  version = 0;
  id: number | undefined;
  stores = new Map<string, StoreSchema>();

  constructor(file: SqlFile, name: string) {
    this.file = file;
    this.name = name;
    this.load();
  }

  /** Reads the catalogue again, after an upgrade was rolled back. */
  load(): void {
    const { database } = this.file;
    for (const store of this.stores.values()) store.deleted = true;
    this.stores = new Map();
    const row = database.prepare("SELECT id, version FROM idb_database WHERE name = ?").get(this.name) as
      { id: number; version: number } | undefined;
    this.id = row?.id;
    this.version = row?.version ?? 0;
    if (row === undefined) return;
    const stores = database.prepare("SELECT id, name FROM idb_store WHERE database_id = ?").all(row.id);
    const indexes = database.prepare(
      "SELECT id, name, key_path, is_unique FROM idb_index WHERE store_id = ? ORDER BY id",
    );
    for (const store of stores as { id: number; name: string }[]) {
      const rows = indexes.all(store.id) as { id: number; name: string; key_path: string; is_unique: number }[];
      const schemas = rows.map(({ id, name, key_path, is_unique }) => {
        return { id, name, keyPath: JSON.parse(key_path) as KeyPath, isUnique: is_unique === 1 };
      });
      this.stores.set(store.name, new StoreSchema(this.file, store.id, store.name, schemas));
    }
  }

  setVersion(version: number): void {
    const { database } = this.file;
    if (this.id === undefined) {
      const insert = database.prepare("INSERT INTO idb_database (name, version) VALUES (?, ?)");
      this.id = Number(insert.run(this.name, version).lastInsertRowid);
    } else {
      database.prepare("UPDATE idb_database SET version = ? WHERE id = ?").run(version, this.id);
    }
    this.version = version;
  }

  createStore(name: string): StoreSchema {
    const { database } = this.file;
    const insert = database.prepare("INSERT INTO idb_store (database_id, name) VALUES (?, ?)");
    const id = Number(insert.run(this.id, name).lastInsertRowid);
    database.exec(`CREATE TABLE store_${id} (id INTEGER PRIMARY KEY, k TEXT NOT NULL, v NOT NULL);
      CREATE UNIQUE INDEX store_${id}_k ON store_${id} (k)`);
    const store = new StoreSchema(this.file, id, name, []);
    this.stores.set(name, store);
    return store;
  }

  deleteStore(store: StoreSchema): void {
    const { database } = this.file;
    database.prepare("DELETE FROM idb_index WHERE store_id = ?").run(store.id);
    database.prepare("DELETE FROM idb_store WHERE id = ?").run(store.id);
    database.exec(`DROP TABLE store_${store.id}`);
    store.deleted = true;
    this.stores.delete(store.name);
  }

  /** Adds a column with the records' keys and an index over it. Throws `ConstraintError` where a unique one cannot be. */
  createIndex(store: StoreSchema, name: string, keyPath: KeyPath, isUnique: boolean): IndexSchema {
    const { database } = this.file;
    const insert = database.prepare("INSERT INTO idb_index (store_id, name, key_path, is_unique) VALUES (?, ?, ?, ?)");
    const id = Number(insert.run(store.id, name, JSON.stringify(keyPath), isUnique ? 1 : 0).lastInsertRowid);
    database.exec(`ALTER TABLE store_${store.id} ADD COLUMN i${id} TEXT`);
    const index = { id, name, keyPath, isUnique };
    store.sql.fillIndex(index);
    const columns = isUnique ? `i${id}` : `i${id}, k`;
    const unique = isUnique ? "UNIQUE" : "";
    database.exec(
      `CREATE ${unique} INDEX store_${store.id}_i${id} ON store_${store.id} (${columns}) WHERE i${id} IS NOT NULL`,
    );
    store.indexes.push(index);
    store.refresh();
    return index;
  }

  deleteIndex(store: StoreSchema, name: string): void {
    const { database } = this.file;
    const position = store.indexes.findIndex((index) => index.name === name);
    const index = store.indexes[position];
    if (index === undefined) throw idbError("NotFoundError", "the index does not exist");
    database.prepare("DELETE FROM idb_index WHERE id = ?").run(index.id);
    database.exec(`DROP INDEX store_${store.id}_i${index.id}; ALTER TABLE store_${store.id} DROP COLUMN i${index.id}`);
    store.indexes.splice(position, 1);
    store.refresh();
  }

  deleteDatabase(): void {
    for (const store of [...this.stores.values()]) this.deleteStore(store);
    this.file.database.prepare("DELETE FROM idb_database WHERE name = ?").run(this.name);
    this.id = undefined;
    this.version = 0;
  }
}

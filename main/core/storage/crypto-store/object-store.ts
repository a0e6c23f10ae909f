import { IDBCursorWithValue } from "./cursor.ts";
import { fromSqlite, idbError } from "./errors.ts";
import { decodeKey, encodeKey } from "./key-encoding.ts";
import { isKeyPath, type KeyPath } from "./key-path.ts";
import { toRange, type IDBKeyRange } from "./key-range.ts";
import { NameList } from "./name-list.ts";
import { IDBIndex } from "./store-index.ts";
import { decodeKeys, decodeValues, toLimit } from "./results.ts";
import { decodeValue, encodeValue, type StoredValue } from "./value-encoding.ts";
import type { IDBRequest } from "./request.ts";
import type { StoreSchema } from "./schema.ts";
import type { IDBTransaction } from "./transaction.ts";

/** IDBObjectStore (IndexedDB 3.0, section 4.5) with out-of-line keys. */
export class IDBObjectStore {
  readonly schema: StoreSchema;
  readonly transaction: IDBTransaction;
  readonly keyPath = null;
  readonly autoIncrement = false;
  private readonly indexes = new Map<string, IDBIndex>();

  constructor(schema: StoreSchema, transaction: IDBTransaction) {
    this.schema = schema;
    this.transaction = transaction;
  }

  get name(): string {
    return this.schema.name;
  }

  get indexNames(): NameList {
    return NameList.sorted(this.schema.indexes.map((index) => index.name));
  }

  put(value: unknown, key: unknown): IDBRequest {
    return this.write(value, key, false);
  }

  add(value: unknown, key: unknown): IDBRequest {
    return this.write(value, key, true);
  }

  private write(value: unknown, key: unknown, isNew: boolean): IDBRequest {
    this.assertWritable();
    const encodedKey = encodeKey(key);
    const { sql } = this.schema;
    const parameters: unknown[] = [encodedKey, encodeValue(value), ...sql.indexKeys(value)];
    const statement = isNew ? sql.add : sql.put;
    return this.transaction.request(
      this,
      () => {
        statement.run(parameters);
        return typeof key === "string" ? key : decodeKey(encodedKey);
      },
      true,
    );
  }

  delete(query: unknown): IDBRequest {
    this.assertWritable();
    const range = toRange(query, true);
    return this.transaction.request(
      this,
      () => {
        this.schema.sql.delete(range);
      },
      true,
    );
  }

  clear(): IDBRequest {
    this.assertWritable();
    return this.transaction.request(
      this,
      () => {
        this.schema.sql.clear();
      },
      true,
    );
  }

  get(query: unknown): IDBRequest {
    return this.read(toRangeOrThrow(this, query, true), (range) => {
      const { sql } = this.schema;
      const { encodedLower, encodedUpper } = range;
      const isOne = encodedLower !== undefined && encodedLower === encodedUpper;
      const stored = isOne ? sql.getOne.get(encodedLower) : sql.first("v", range);
      return stored === undefined ? undefined : decodeValue(stored as StoredValue);
    });
  }

  getKey(query: unknown): IDBRequest {
    return this.read(toRangeOrThrow(this, query, true), (range) => {
      const key = this.schema.sql.first("k", range);
      return key === undefined ? undefined : decodeKey(key as string);
    });
  }

  getAll(query?: unknown, count?: number): IDBRequest {
    const limit = toLimit(count);
    return this.read(toRangeOrThrow(this, query), (range) => decodeValues(this.schema.sql.all("v", range, limit)));
  }

  getAllKeys(query?: unknown, count?: number): IDBRequest {
    const limit = toLimit(count);
    return this.read(toRangeOrThrow(this, query), (range) => decodeKeys(this.schema.sql.all("k", range, limit)));
  }

  count(query?: unknown): IDBRequest {
    return this.read(toRangeOrThrow(this, query), (range) => this.schema.sql.count(range));
  }

  openCursor(query?: unknown, direction = "next"): IDBRequest {
    this.assertReadable();
    return IDBCursorWithValue.open(this, this, undefined, toRange(query), direction);
  }

  index(name: string): IDBIndex {
    this.assertThere();
    if (this.transaction.at === "finished") throw idbError("InvalidStateError", "the transaction has finished");
    const schema = this.schema.index(name);
    if (schema === undefined) throw idbError("NotFoundError", "the index does not exist");
    const known = this.indexes.get(name);
    if (known?.schema === schema) return known;
    const index = new IDBIndex(this, schema);
    this.indexes.set(name, index);
    return index;
  }

  createIndex(name: string, keyPath: KeyPath, options: { unique?: boolean; multiEntry?: boolean } = {}): IDBIndex {
    this.assertUpgrading();
    if (this.schema.index(name) !== undefined) throw idbError("ConstraintError", "the index exists");
    if (!isKeyPath(keyPath)) throw new DOMException("the key path is invalid", "SyntaxError");
    if (options.multiEntry === true) throw idbError("NotSupportedError", "multiEntry indexes are not supported");
    const isUnique = options.unique ?? false;
    try {
      this.transaction.changeSchema(() => this.transaction.db.schema.createIndex(this.schema, name, keyPath, isUnique));
    } catch (error) {
      // A unique index over records that are not unique fails later, as a request would: the upgrade aborts.
      this.transaction.abortLater(fromSqlite(error));
      return new IDBIndex(this, { id: -1, name, keyPath, isUnique });
    }
    return this.index(name);
  }

  deleteIndex(name: string): void {
    this.assertUpgrading();
    if (this.schema.index(name) === undefined) throw idbError("NotFoundError", "the index does not exist");
    this.transaction.changeSchema(() => {
      this.transaction.db.schema.deleteIndex(this.schema, name);
    });
  }

  /** Places a request that reads. */
  read(range: IDBKeyRange, operation: (range: IDBKeyRange) => unknown): IDBRequest {
    return this.transaction.request(this, () => operation(range), false);
  }

  assertReadable(): void {
    this.assertThere();
    this.transaction.assertActive();
  }

  assertWritable(): void {
    this.assertReadable();
    if (this.transaction.mode === "readonly") throw idbError("ReadOnlyError", "the transaction is read-only");
  }

  private assertThere(): void {
    if (this.schema.deleted) throw idbError("InvalidStateError", "the object store was deleted");
  }

  private assertUpgrading(): void {
    if (this.transaction.mode !== "versionchange")
      throw idbError("InvalidStateError", "only an upgrade changes indexes");
    this.assertReadable();
  }
}

function toRangeOrThrow(store: IDBObjectStore, query: unknown, required = false): IDBKeyRange {
  store.assertReadable();
  return toRange(query, required);
}

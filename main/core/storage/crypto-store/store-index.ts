import { IDBCursorWithValue } from "./cursor.ts";
import { idbError } from "./errors.ts";
import { decodeKey } from "./key-encoding.ts";
import { toRange, type IDBKeyRange } from "./key-range.ts";
import { decodeKeys, decodeValues, toLimit } from "./results.ts";
import type { IDBObjectStore } from "./object-store.ts";
import { decodeValue, type StoredValue } from "./value-encoding.ts";
import type { IndexSchema, KeyPath } from "./key-path.ts";
import type { IDBRequest } from "./request.ts";

/** IDBIndex (IndexedDB 3.0, section 4.6). */
export class IDBIndex {
  readonly objectStore: IDBObjectStore;
  readonly schema: IndexSchema;
  readonly multiEntry = false;

  constructor(objectStore: IDBObjectStore, schema: IndexSchema) {
    this.objectStore = objectStore;
    this.schema = schema;
  }

  get name(): string {
    return this.schema.name;
  }

  get keyPath(): KeyPath {
    return this.schema.keyPath;
  }

  get unique(): boolean {
    return this.schema.isUnique;
  }

  get(query: unknown): IDBRequest {
    return this.read(query, true, (range) => {
      const stored = this.objectStore.schema.sql.first("v", range, this.schema);
      return stored === undefined ? undefined : decodeValue(stored as StoredValue);
    });
  }

  getKey(query: unknown): IDBRequest {
    return this.read(query, true, (range) => {
      const key = this.objectStore.schema.sql.first("k", range, this.schema);
      return key === undefined ? undefined : decodeKey(key as string);
    });
  }

  getAll(query?: unknown, count?: number): IDBRequest {
    const limit = toLimit(count);
    return this.read(query, false, (range) => {
      return decodeValues(this.objectStore.schema.sql.all("v", range, limit, this.schema));
    });
  }

  getAllKeys(query?: unknown, count?: number): IDBRequest {
    const limit = toLimit(count);
    return this.read(query, false, (range) => {
      return decodeKeys(this.objectStore.schema.sql.all("k", range, limit, this.schema));
    });
  }

  count(query?: unknown): IDBRequest {
    return this.read(query, false, (range) => this.objectStore.schema.sql.count(range, this.schema));
  }

  openCursor(query?: unknown, direction = "next"): IDBRequest {
    this.assertReadable();
    return IDBCursorWithValue.open(this, this.objectStore, this.schema, toRange(query), direction);
  }

  private read(query: unknown, required: boolean, operation: (range: IDBKeyRange) => unknown): IDBRequest {
    this.assertReadable();
    const range = toRange(query, required);
    return this.objectStore.transaction.request(this, () => operation(range), false);
  }

  private assertReadable(): void {
    if (!this.objectStore.schema.indexes.includes(this.schema)) {
      throw idbError("InvalidStateError", "the index was deleted");
    }
    this.objectStore.assertReadable();
  }
}

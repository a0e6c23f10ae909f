import { idbError } from "./errors.ts";
import { decodeKey, encodeKey, type Key } from "./key-encoding.ts";
import { decodeValue, encodeValue } from "./value-encoding.ts";
import type { IndexSchema } from "./key-path.ts";
import type { IDBKeyRange } from "./key-range.ts";
import type { IDBObjectStore } from "./object-store.ts";
import type { IDBRequest } from "./request.ts";
import type { CursorPosition, CursorRow } from "./store-sql.ts";

/** Rows are fetched ahead, more with each page, until the transaction writes. */
const firstPage = 8;
const longestPage = 256;

/** IDBCursor (IndexedDB 3.0, section 4.9), forward only. */
export class IDBCursor {
  readonly source: object;
  readonly direction = "next";
  private readonly store: IDBObjectStore;
  private readonly index: IndexSchema | undefined;
  private readonly range: IDBKeyRange;
  private openRequest: IDBRequest | undefined;
  private hasValue = false;
  private row: CursorRow | undefined;
  private page: CursorRow[] = [];
  private pagePosition = 0;
  private pageSize = firstPage;
  private pageWrites = 0;

  constructor(source: object, store: IDBObjectStore, index: IndexSchema | undefined, range: IDBKeyRange) {
    this.source = source;
    this.store = store;
    this.index = index;
    this.range = range;
  }

  get request(): IDBRequest | undefined {
    return this.openRequest;
  }

  get key(): Key | undefined {
    return this.row === undefined ? undefined : decodeKey(this.row[0]);
  }

  get primaryKey(): Key | undefined {
    return this.row === undefined ? undefined : decodeKey(this.row[1]);
  }

  get storedValue(): CursorRow[2] | undefined {
    return this.row?.[2];
  }

  /** Places the request whose results are the cursor at its rows, then `null`. */
  start(): IDBRequest {
    this.openRequest = this.store.transaction.request(this.source, () => this.fetch(undefined, 1), false);
    return this.openRequest;
  }

  continue(key?: unknown): void {
    this.assertAtRow();
    let target: string | undefined;
    if (key !== undefined) {
      target = encodeKey(key);
      if (this.row !== undefined && target <= this.row[0]) {
        throw idbError("DataError", "the key is not after the cursor's position");
      }
    }
    this.move(target, 1);
  }

  advance(count: number): void {
    if (!Number.isInteger(count) || count < 1) throw new TypeError("count is not a positive integer");
    this.assertAtRow();
    this.move(undefined, count);
  }

  update(value: unknown): IDBRequest {
    const primaryKey = this.assertWritableRow();
    const { sql } = this.store.schema;
    const parameters: unknown[] = [primaryKey, encodeValue(value), ...sql.indexKeys(value)];
    return this.store.transaction.request(
      this,
      () => {
        sql.put.run(parameters);
        return decodeKey(primaryKey);
      },
      true,
    );
  }

  delete(): IDBRequest {
    const primaryKey = this.assertWritableRow();
    return this.store.transaction.request(
      this,
      () => {
        this.store.schema.sql.deleteOne.run(primaryKey);
      },
      true,
    );
  }

  private assertAtRow(): void {
    this.store.assertReadable();
    if (!this.hasValue) throw idbError("InvalidStateError", "the cursor is being advanced or has passed its end");
  }

  private assertWritableRow(): string {
    this.store.transaction.assertActive();
    this.store.assertWritable();
    if (!this.hasValue || this.row === undefined) {
      throw idbError("InvalidStateError", "the cursor is being advanced or has passed its end");
    }
    return this.row[1];
  }

  private move(target: string | undefined, steps: number): void {
    this.hasValue = false;
    if (this.openRequest !== undefined) {
      this.store.transaction.requestAgain(this.openRequest, () => this.fetch(target, steps));
    }
  }

  private fetch(target: string | undefined, steps: number): this | null {
    for (let step = 0; step < steps; step++) {
      this.row = this.next(target);
      if (this.row === undefined) return null;
    }
    this.hasValue = true;
    return this;
  }

  private next(target: string | undefined): CursorRow | undefined {
    const { writes } = this.store.transaction;
    if (target === undefined && this.pageWrites === writes && this.pagePosition < this.page.length) {
      return this.page[this.pagePosition++];
    }
    const limit = target === undefined && this.pageWrites === writes ? this.pageSize : firstPage;
    this.page = this.store.schema.sql.page(this.range, this.positionFor(target), limit, this.index);
    this.pageSize = Math.min(limit * 4, longestPage);
    this.pageWrites = writes;
    this.pagePosition = 1;
    return this.page[0];
  }

  private positionFor(target: string | undefined): CursorPosition | undefined {
    if (target !== undefined) return { key: target, inclusive: true };
    if (this.row === undefined) return undefined;
    const [key, primaryKey] = this.row;
    return { key, primaryKey, inclusive: false };
  }
}

export class IDBCursorWithValue extends IDBCursor {
  private decoded: { row: CursorRow[2]; value: unknown } | undefined;

  /** Opens a cursor over a store or one of its indexes. Only `next` is a direction here. */
  static open(
    source: object,
    store: IDBObjectStore,
    index: IndexSchema | undefined,
    range: IDBKeyRange,
    direction: string,
  ): IDBRequest {
    if (direction !== "next") throw idbError("NotSupportedError", "cursors move forward only");
    return new IDBCursorWithValue(source, store, index, range).start();
  }

  get value(): unknown {
    const stored = this.storedValue;
    if (stored === undefined) return undefined;
    if (this.decoded?.row !== stored) this.decoded = { row: stored, value: decodeValue(stored) };
    return this.decoded.value;
  }
}

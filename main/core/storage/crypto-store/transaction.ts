import { fromSqlite, idbError } from "./errors.ts";
import { StoreEvent, StoreEventTarget, type Handler } from "./events.ts";
import { IDBObjectStore } from "./object-store.ts";
import { IDBRequest, type Operation } from "./request.ts";
import { NameList } from "./name-list.ts";
import type { IDBDatabase } from "./database.ts";

export type TransactionMode = "readonly" | "readwrite" | "versionchange";

/** IDBTransaction (IndexedDB 3.0, section 2.7). SQLite's transaction begins at the first request that writes. */
export class IDBTransaction extends StoreEventTarget {
  readonly db: IDBDatabase;
  readonly mode: TransactionMode;
  readonly durability = "default";
  readonly scope: ReadonlySet<string>;
  error: DOMException | null = null;
  oncomplete: Handler = null;
  onabort: Handler = null;
  onerror: Handler = null;

  at: "active" | "inactive" | "committing" | "finished" = "active";
  isStarted = false;
  isReady = false;
  /** Counts the writes, so that cursors know when rows they fetched ahead are stale. */
  writes = 0;
  onStarted: (() => void) | undefined;
  onFinished: ((committed: boolean) => void) | undefined;
  private hasBegun = false;
  private requests: IDBRequest[] = [];
  private position = 0;
  private readonly stores = new Map<string, IDBObjectStore>();

  constructor(db: IDBDatabase, mode: TransactionMode, scope: ReadonlySet<string>) {
    super();
    this.db = db;
    this.mode = mode;
    this.scope = scope;
  }

  get objectStoreNames(): NameList {
    return NameList.sorted(this.mode === "versionchange" ? this.db.schema.stores.keys() : this.scope);
  }

  objectStore(name: string): IDBObjectStore {
    if (this.at === "committing" || this.at === "finished") {
      throw idbError("InvalidStateError", "the transaction is committing or has finished");
    }
    const known = this.stores.get(name);
    if (known !== undefined && !known.schema.deleted) return known;
    const schema = this.db.schema.stores.get(name);
    if (schema === undefined || (this.mode !== "versionchange" && !this.scope.has(name))) {
      throw idbError("NotFoundError", "the object store is not in the transaction's scope");
    }
    const store = new IDBObjectStore(schema, this);
    this.stores.set(name, store);
    return store;
  }

  commit(): void {
    if (this.at !== "active") throw idbError("InvalidStateError", "the transaction is not active");
    this.at = "committing";
  }

  abort(): void {
    if (this.at === "committing" || this.at === "finished") {
      throw idbError("InvalidStateError", "the transaction is committing or has finished");
    }
    this.abortWith(null);
  }

  assertActive(): void {
    if (this.at !== "active") throw idbError("TransactionInactiveError", "the transaction is not active");
  }

  /** Places a request; its operation runs later, in order. */
  request(source: object, operation: Operation, isWrite: boolean): IDBRequest {
    const request = new IDBRequest(source, this, operation, isWrite);
    this.requests.push(request);
    return request;
  }

  /** Places a request again, as a cursor does when it moves on. */
  requestAgain(request: IDBRequest, operation: Operation): void {
    request.at = "pending";
    request.operation = operation;
    this.requests.push(request);
  }

  /** Changes the schema at once, after the requests placed so far. */
  changeSchema<T>(change: () => T): T {
    try {
      this.begin();
      for (let index = this.position; index < this.requests.length; index++) {
        const request = this.requests[index];
        if (request?.at === "pending") this.execute(request);
      }
      this.writes++;
      return change();
    } catch (error) {
      throw fromSqlite(error);
    }
  }

  overlaps(other: IDBTransaction): boolean {
    if (this.db.schema !== other.db.schema) return false;
    if (this.mode === "versionchange" || other.mode === "versionchange") return true;
    for (const name of this.scope) if (other.scope.has(name)) return true;
    return false;
  }

  /** Runs requests until one has a listener, the slice ends or nothing is left. True where a callback was called. */
  advance(untilMs: number): boolean {
    const { scheduler } = this.db.engine;
    if (this.onStarted !== undefined) {
      const { onStarted } = this;
      this.onStarted = undefined;
      scheduler.activate(this);
      onStarted();
      return true;
    }
    while (this.isOpen()) {
      const request = this.requests[this.position];
      if (request === undefined) return this.commitNow();
      this.position++;
      if (request.at === "pending") this.execute(request);
      if (this.dispatch(request)) {
        if (this.isOpen() && this.at !== "active") scheduler.markReady(this);
        return true;
      }
      if (performance.now() > untilMs) {
        scheduler.markReady(this);
        return false;
      }
    }
    return false;
  }

  private begin(): void {
    if (this.hasBegun) return;
    this.db.engine.sql.begin();
    this.hasBegun = true;
  }

  private execute(request: IDBRequest): void {
    const { operation } = request;
    if (operation === undefined) return;
    request.operation = undefined;
    try {
      if (request.isWrite) {
        // A lone write needs no BEGIN and COMMIT around it: encrypting a message is one.
        const { sql } = this.db.engine;
        const isLast = this.at === "committing" && this.position === this.requests.length;
        const isLone = !this.hasBegun && isLast && sql.groupEnd === undefined;
        if (!isLone) this.begin();
        this.writes++;
        request.outcome = { result: operation(), error: null };
        if (isLone) sql.commits++;
      } else {
        request.outcome = { result: operation(), error: null };
      }
    } catch (error) {
      request.outcome = { result: undefined, error: fromSqlite(error) };
    }
    request.at = "executed";
  }

  private dispatch(request: IDBRequest): boolean {
    request.at = "done";
    const { error } = request.outcome;
    if (error !== null) return this.dispatchError(request, error);
    if (!request.hears("success")) return false;
    this.activateUnlessCommitting();
    const { threw } = request.dispatchStoreEvent(new StoreEvent("success", request, false, false));
    if (threw) this.abortAfterThrow();
    return true;
  }

  private dispatchError(request: IDBRequest, error: DOMException): boolean {
    this.activateUnlessCommitting();
    const { heard, threw, prevented } = request.dispatchStoreEvent(new StoreEvent("error", request, true, true));
    if (threw) this.abortAfterThrow();
    else if (this.isOpen() && (!prevented || this.lostSqliteTransaction())) this.abortWith(error);
    return heard;
  }

  /** SQLite rolls a transaction back by itself on a full disk; its earlier writes are gone, so ours must end too. */
  private lostSqliteTransaction(): boolean {
    return this.hasBegun && !this.db.engine.sql.database.inTransaction;
  }

  private activateUnlessCommitting(): void {
    if (this.at === "inactive") this.db.engine.scheduler.activate(this);
  }

  private abortAfterThrow(): void {
    if (this.isOpen()) this.abortWith(idbError("AbortError", "a callback threw"));
  }

  private isOpen(): boolean {
    return this.at !== "finished";
  }

  private commitNow(): boolean {
    if (this.at === "active") return false;
    try {
      if (this.hasBegun) this.db.engine.sql.commit();
    } catch (error) {
      this.abortWith(fromSqlite(error));
      return false;
    }
    if (this.writes > 0) this.db.engine.wrote();
    this.at = "finished";
    this.finish(true);
    if (!this.hearsAlong("complete")) return false;
    this.dispatchStoreEvent(new StoreEvent("complete", this, false, false));
    this.onFinished?.(true);
    return true;
  }

  /** Ends without effect once the current callbacks are through. */
  abortLater(error: DOMException): void {
    this.db.engine.scheduler.enqueue(() => {
      if (this.isOpen()) this.abortWith(error);
      return false;
    });
  }

  /** Ends without effect: SQLite's transaction, if there is one, is rolled back at once, the events follow. */
  abortWith(error: DOMException | null): void {
    this.at = "finished";
    this.error = error;
    if (this.hasBegun) this.db.engine.sql.rollback();
    const pending = this.requests.slice(this.position);
    this.requests = [];
    this.position = 0;
    if (this.mode === "versionchange") this.db.rollBackUpgrade();
    this.finish(false);
    for (const request of pending) {
      request.operation = undefined;
      this.db.engine.scheduler.enqueue(() => {
        request.fail(idbError("AbortError", "the transaction was aborted"));
        return request.dispatchStoreEvent(new StoreEvent("error", request, true, true)).heard;
      });
    }
    this.db.engine.scheduler.enqueue(() => {
      if (!this.hearsAlong("abort")) return false;
      this.dispatchStoreEvent(new StoreEvent("abort", this, true, false));
      this.onFinished?.(false);
      return true;
    });
  }

  /** True where anyone waits for the transaction's end: most of Rust crypto's reads end unheard. */
  private hearsAlong(type: "abort" | "complete"): boolean {
    return this.onFinished !== undefined || this.hears(type) || (type === "abort" && this.db.hears(type));
  }

  private finish(committed: boolean): void {
    if (committed) this.requests = [];
    this.db.engine.scheduler.remove(this);
    this.db.transactionFinished(this);
  }

  override parentTarget(): StoreEventTarget | null {
    return this.db;
  }

  override handlerOf(type: string): Handler | undefined {
    if (type === "complete") return this.oncomplete;
    return type === "abort" ? this.onabort : type === "error" ? this.onerror : undefined;
  }
}

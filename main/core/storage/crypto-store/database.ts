import { idbError } from "./errors.ts";
import { StoreEventTarget, type Handler } from "./events.ts";
import { NameList } from "./name-list.ts";
import { IDBTransaction, type TransactionMode } from "./transaction.ts";
import type { Engine } from "./engine.ts";
import type { IDBObjectStore } from "./object-store.ts";
import type { DatabaseSchema } from "./schema.ts";

/** IDBDatabase, a connection (IndexedDB 3.0, section 2.1.1). */
export class IDBDatabase extends StoreEventTarget {
  readonly engine: Engine;
  readonly schema: DatabaseSchema;
  readonly name: string;
  onabort: Handler = null;
  onerror: Handler = null;
  onclose: Handler = null;
  onversionchange: Handler = null;
  version: number;
  upgrade: IDBTransaction | undefined;
  isClosePending = false;
  private open = new Set<IDBTransaction>();

  constructor(engine: Engine, schema: DatabaseSchema) {
    super();
    this.engine = engine;
    this.schema = schema;
    this.name = schema.name;
    this.version = schema.version;
  }

  /** Closed: asked to, and no transaction is left. */
  get isClosed(): boolean {
    return this.isClosePending && this.open.size === 0;
  }

  get objectStoreNames(): NameList {
    return NameList.sorted(this.schema.stores.keys());
  }

  transaction(names: string | Iterable<string>, mode: string = "readonly"): IDBTransaction {
    if (this.upgrade !== undefined) throw idbError("InvalidStateError", "an upgrade is running");
    if (this.isClosePending) throw idbError("InvalidStateError", "the connection is closing");
    const scope = new Set(typeof names === "string" ? [names] : [...names].map(String));
    for (const name of scope) {
      if (!this.schema.stores.has(name)) throw idbError("NotFoundError", "the object store does not exist");
    }
    if (scope.size === 0) throw idbError("InvalidAccessError", "the transaction has no object stores");
    if (mode !== "readonly" && mode !== "readwrite") throw new TypeError("the mode is neither readonly nor readwrite");
    return this.begin(mode, scope);
  }

  begin(mode: TransactionMode, scope: ReadonlySet<string>): IDBTransaction {
    const transaction = new IDBTransaction(this, mode, scope);
    this.open.add(transaction);
    this.engine.scheduler.add(transaction);
    return transaction;
  }

  createObjectStore(name: string, options?: { keyPath?: unknown; autoIncrement?: boolean } | null): IDBObjectStore {
    const upgrade = this.assertUpgrading();
    if (this.schema.stores.has(name)) throw idbError("ConstraintError", "the object store exists");
    if ((options?.keyPath ?? null) !== null || options?.autoIncrement === true) {
      throw idbError("NotSupportedError", "keys are out of line here");
    }
    upgrade.changeSchema(() => this.schema.createStore(name));
    return upgrade.objectStore(name);
  }

  deleteObjectStore(name: string): void {
    const upgrade = this.assertUpgrading();
    const store = this.schema.stores.get(name);
    if (store === undefined) throw idbError("NotFoundError", "the object store does not exist");
    upgrade.changeSchema(() => {
      this.schema.deleteStore(store);
    });
  }

  close(): void {
    this.isClosePending = true;
    if (this.open.size === 0) this.engine.connectionClosed(this);
  }

  transactionFinished(transaction: IDBTransaction): void {
    this.open.delete(transaction);
    if (this.isClosed) this.engine.connectionClosed(this);
  }

  /** After an aborted upgrade the schema is what SQLite rolled back to. */
  rollBackUpgrade(): void {
    this.schema.load();
    this.version = this.schema.version;
  }

  private assertUpgrading(): IDBTransaction {
    if (this.upgrade === undefined) throw idbError("InvalidStateError", "only an upgrade changes object stores");
    this.upgrade.assertActive();
    return this.upgrade;
  }

  override parentTarget(): StoreEventTarget | null {
    return null;
  }

  override handlerOf(type: string): Handler | undefined {
    if (type === "versionchange") return this.onversionchange;
    if (type === "abort") return this.onabort;
    return type === "error" ? this.onerror : type === "close" ? this.onclose : undefined;
  }
}

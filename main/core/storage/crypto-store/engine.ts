import { idbError, fromSqlite } from "./errors.ts";
import { IDBVersionChangeEvent, StoreEvent } from "./events.ts";
import { IDBDatabase } from "./database.ts";
import { DatabaseSchema, type StoreSchema } from "./schema.ts";
import { Scheduler } from "./scheduler.ts";
import type { IDBOpenDBRequest } from "./request.ts";
import type { SqlFile } from "./sql-file.ts";

interface NamedDatabase {
  schema: DatabaseSchema;
  connections: Set<IDBDatabase>;
  /** Opening and deleting one name takes place one after another (IndexedDB 3.0, section 2.1.2). */
  queue: (() => void)[];
  isBusy: boolean;
  whenClosed: (() => void) | undefined;
}

/** What the connections to one file share: its databases, their connections and the scheduler. */
export class Engine {
  readonly sql: SqlFile;
  readonly scheduler = new Scheduler();
  private readonly databases = new Map<string, NamedDatabase>();
  private readonly onWrite: () => void;
  isClosed = false;

  constructor(sql: SqlFile, onWrite: () => void) {
    this.sql = sql;
    this.onWrite = onWrite;
  }

  wrote(): void {
    this.onWrite();
  }

  /** The store of that name in any open database. */
  storeNamed(name: string): StoreSchema | undefined {
    for (const { schema } of this.databases.values()) {
      const store = schema.stores.get(name);
      if (store !== undefined) return store;
    }
    return undefined;
  }

  open(name: string, version: number | undefined, request: IDBOpenDBRequest): void {
    this.enqueue(name, request, (database, done) => {
      const { schema } = database;
      const wanted = version ?? (schema.version === 0 ? 1 : schema.version);
      if (wanted < schema.version) {
        request.fail(idbError("VersionError", "the requested version is less than the existing one"));
        this.tell(request, "error", true, done);
        return;
      }
      if (wanted > schema.version) {
        this.whenAlone(database, wanted, request, () => {
          this.upgrade(database, wanted, request, done);
        });
        return;
      }
      this.succeed(database, new IDBDatabase(this, schema), request, done);
    });
  }

  delete(name: string, request: IDBOpenDBRequest): void {
    this.enqueue(name, request, (database, done) => {
      const oldVersion = database.schema.version;
      this.whenAlone(database, null, request, () => {
        void this.deleteNow(database, request, oldVersion, done);
      });
    });
  }

  private async deleteNow(database: NamedDatabase, request: IDBOpenDBRequest, oldVersion: number, done: () => void) {
    await this.scheduler.untilNoWriter();
    try {
      this.sql.begin();
      database.schema.deleteDatabase();
      this.sql.commit();
      this.wrote();
      request.succeed(undefined);
    } catch (error) {
      this.sql.rollback();
      database.schema.load();
      request.fail(fromSqlite(error));
      this.tell(request, "error", true, done);
      return;
    }
    this.later(() => {
      request.dispatchStoreEvent(new IDBVersionChangeEvent("success", request, oldVersion, null));
      done();
    });
  }

  connectionClosed(connection: IDBDatabase): void {
    const database = this.databases.get(connection.name);
    database?.connections.delete(connection);
    if (database?.connections.size === 0) database.whenClosed?.();
  }

  names(): { name: string; version: number }[] {
    return this.sql.database.prepare("SELECT name, version FROM idb_database ORDER BY name").all() as {
      name: string;
      version: number;
    }[];
  }

  /** Runs a task after the microtasks that are queued now; those it leaves are drained before the next. */
  private later(task: () => void): void {
    this.scheduler.enqueue(() => {
      task();
      return true;
    });
  }

  private enqueue(
    name: string,
    request: IDBOpenDBRequest,
    work: (database: NamedDatabase, done: () => void) => void,
  ): void {
    const database = this.databases.get(name) ?? this.addDatabase(name);
    const runNext = (): void => {
      const next = database.queue.shift();
      database.isBusy = next !== undefined;
      if (next !== undefined) this.later(next);
    };
    database.queue.push(() => {
      if (!this.isClosed) {
        work(database, runNext);
        return;
      }
      request.fail(idbError("AbortError", "the store was closed"));
      this.tell(request, "error", true, runNext);
    });
    if (!database.isBusy) runNext();
  }

  private addDatabase(name: string): NamedDatabase {
    const schema = new DatabaseSchema(this.sql, name);
    const database = { schema, connections: new Set<IDBDatabase>(), queue: [], isBusy: false, whenClosed: undefined };
    this.databases.set(name, database);
    return database;
  }

  /** Asks the other connections to close, and goes on once they have. */
  private whenAlone(
    database: NamedDatabase,
    version: number | null,
    request: IDBOpenDBRequest,
    next: () => void,
  ): void {
    const { connections, schema } = database;
    for (const connection of [...connections]) {
      this.later(() => {
        if (connection.isClosePending) return;
        connection.dispatchStoreEvent(new IDBVersionChangeEvent("versionchange", connection, schema.version, version));
      });
    }
    this.later(() => {
      if (connections.size === 0) {
        next();
        return;
      }
      database.whenClosed = () => {
        database.whenClosed = undefined;
        this.later(next);
      };
      if ([...connections].every((connection) => connection.isClosePending)) return;
      request.dispatchStoreEvent(new IDBVersionChangeEvent("blocked", request, schema.version, version));
    });
  }

  private upgrade(database: NamedDatabase, version: number, request: IDBOpenDBRequest, done: () => void): void {
    const { schema } = database;
    const oldVersion = schema.version;
    const connection = new IDBDatabase(this, schema);
    database.connections.add(connection);
    const transaction = connection.begin("versionchange", new Set(schema.stores.keys()));
    connection.upgrade = transaction;
    let startFailure: DOMException | undefined;
    transaction.onFinished = (committed) => {
      connection.upgrade = undefined;
      request.transaction = null;
      if (committed && !connection.isClosePending) {
        this.succeed(database, connection, request, done);
        return;
      }
      connection.close();
      request.fail(startFailure ?? idbError("AbortError", "the upgrade was aborted", transaction.error ?? undefined));
      this.tell(request, "error", true, done);
    };
    transaction.onStarted = () => {
      try {
        transaction.changeSchema(() => {
          schema.setVersion(version);
        });
      } catch (error) {
        startFailure = fromSqlite(error);
        transaction.abortWith(startFailure);
        return;
      }
      connection.version = version;
      request.transaction = transaction;
      request.succeed(connection);
      const event = new IDBVersionChangeEvent("upgradeneeded", request, oldVersion, version);
      if (request.dispatchStoreEvent(event).threw && transaction.at === "active") {
        transaction.abortWith(idbError("AbortError", "a callback threw"));
      }
    };
  }

  private succeed(database: NamedDatabase, connection: IDBDatabase, request: IDBOpenDBRequest, done: () => void): void {
    database.connections.add(connection);
    request.succeed(connection);
    this.tell(request, "success", false, done);
  }

  private tell(request: IDBOpenDBRequest, type: "success" | "error", isError: boolean, done: () => void): void {
    this.later(() => {
      request.dispatchStoreEvent(new StoreEvent(type, request, isError, isError));
      done();
    });
  }

  /** Ends every transaction without effect. */
  close(): void {
    this.isClosed = true;
    for (const { connections } of this.databases.values()) {
      for (const connection of connections) connection.isClosePending = true;
    }
    for (const transaction of this.scheduler.liveTransactions()) {
      transaction.abortWith(idbError("AbortError", "the store was closed"));
    }
  }
}

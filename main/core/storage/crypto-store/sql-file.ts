import Database from "better-sqlite3";
import { closeSync, existsSync, openSync, read, readSync } from "node:fs";

export type Statement = Database.Statement;

const formatVersion = 1;
const plaintextHeader = "SQLite format 3\0";
/** Past this the commit itself moves the log into the file; below it that happens when the store is idle. */
const walLimitPages = 8192;

const catalogue = `
  CREATE TABLE idb_database (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL);
  CREATE TABLE idb_store (id INTEGER PRIMARY KEY, database_id INTEGER NOT NULL, name TEXT NOT NULL,
    UNIQUE (database_id, name));
  CREATE TABLE idb_index (id INTEGER PRIMARY KEY, store_id INTEGER NOT NULL, name TEXT NOT NULL,
    key_path TEXT NOT NULL, is_unique INTEGER NOT NULL, UNIQUE (store_id, name));
  PRAGMA user_version = ${formatVersion};
`;

/** Why a store could not be opened. SQLite cannot tell a wrong key from a damaged first page: both are `wrong-key`. */
export class CryptoStoreError extends Error {
  readonly code: "wrong-key" | "in-use" | "newer-format" | "not-encrypted" | "failed";

  constructor(code: CryptoStoreError["code"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CryptoStoreError";
    this.code = code;
  }
}

export interface SqlFileOptions {
  file: string;
  key: Uint8Array;
  pageSizeBytes?: number;
  /** Past so many pages the store is full, as if the disk were. */
  maxPages?: number;
}

/** SQLite rolled back what the group had written so far: whatever came after it would stand without it. */
const lostGroup = () => new Database.SqliteError("the transactions before were rolled back", "SQLITE_FULL");

function openingError(error: unknown): CryptoStoreError {
  if (error instanceof CryptoStoreError) return error;
  const code = error instanceof Database.SqliteError ? error.code : "";
  if (code === "SQLITE_NOTADB")
    return new CryptoStoreError("wrong-key", "the key does not open the crypto store", error);
  if (code.startsWith("SQLITE_BUSY"))
    return new CryptoStoreError("in-use", "the crypto store is open elsewhere", error);
  return new CryptoStoreError("failed", "the crypto store cannot be opened", error);
}

/** Sets cipher and raw key on a fresh connection; `raw:` bypasses the key derivation, 32 bytes are AEGIS-256's key. */
export function applyKey(database: Database.Database, key: Uint8Array): void {
  if (key.byteLength !== 32) throw new TypeError("the key of the crypto store has 32 bytes");
  database.pragma("cipher = 'aegis'");
  database.pragma("algorithm = 'aegis-256'");
  const rawKey = Buffer.concat([Buffer.from("raw:"), key]);
  database.key(rawKey);
  rawKey.fill(0);
}

/**
 * The one SQLite file, its key and its transactions. The lock is exclusive: one process owns a profile, and without a
 * shared-memory index each of a decryption's four reads saves its system calls.
 */
export class SqlFile {
  readonly database: Database.Database;
  readonly file: string;
  /** Kept open until `close()`: closing any descriptor of the file would drop SQLite's POSIX locks on it. */
  readonly mainFd: number;
  commits = 0;
  readonly beginStatement: Statement;
  readonly commitStatement: Statement;
  readonly rollbackStatement: Statement;
  private group: PromiseWithResolvers<undefined> | undefined;
  private isInSavepoint = false;

  constructor({ file, key, pageSizeBytes = 4096, maxPages }: SqlFileOptions) {
    this.file = file;
    let database: Database.Database | undefined;
    try {
      const isNew = !existsSync(file);
      database = new Database(file, { timeout: 2000 });
      applyKey(database, key);
      if (isNew) database.pragma(`page_size = ${pageSizeBytes}`);
      database.pragma("locking_mode = EXCLUSIVE");
      database.pragma("journal_mode = WAL");
      database.pragma("synchronous = NORMAL");
      database.pragma("temp_store = MEMORY");
      database.pragma("cache_size = -16000");
      database.pragma(`wal_autocheckpoint = ${walLimitPages}`);
      if (maxPages !== undefined) database.pragma(`max_page_count = ${maxPages}`);
      const version = database.pragma("user_version", { simple: true });
      if (version === 0) database.transaction(() => database?.exec(catalogue)).exclusive();
      else if (version !== formatVersion)
        throw new CryptoStoreError("newer-format", "the crypto store is of a newer version");
      this.beginStatement = database.prepare("BEGIN IMMEDIATE");
      this.commitStatement = database.prepare("COMMIT");
      this.rollbackStatement = database.prepare("ROLLBACK");
      this.mainFd = openSync(file, "r");
      this.assertEncrypted(database);
    } catch (error) {
      database?.close();
      throw openingError(error);
    }
    this.database = database;
  }

  private assertEncrypted(database: Database.Database): void {
    const header = Buffer.alloc(plaintextHeader.length);
    const length = readSync(this.mainFd, header, 0, header.length, 0);
    const isPlain = length < header.length || header.toString("latin1") === plaintextHeader;
    if (isPlain || database.pragma("cipher", { simple: true }) !== "aegis") {
      closeSync(this.mainFd);
      throw new CryptoStoreError("not-encrypted", "the crypto store's cipher is not on");
    }
  }

  /** Resolves when the group under way has ended; undefined where there is none. */
  get groupEnd(): Promise<undefined> | undefined {
    return this.group?.promise;
  }

  /** SQLite's transaction is open by itself: a group cannot begin, or end, before the writer is through. */
  hasWriter(): boolean {
    return this.group === undefined ? this.database.inTransaction : this.isInSavepoint;
  }

  /** From here to `endGroup` the transactions of the store are one to SQLite: after a kill all of them are there, or none. */
  beginGroup(): void {
    this.beginStatement.run();
    this.group = Promise.withResolvers();
  }

  /** Throws where what was written could not be committed, and then nothing of it is there. */
  endGroup(): void {
    const { group } = this;
    this.group = undefined;
    try {
      if (!this.database.inTransaction) throw lostGroup();
      this.commit();
    } catch (error) {
      this.rollback();
      throw error;
    } finally {
      group?.resolve(undefined);
    }
  }

  begin(): void {
    if (this.group === undefined) this.beginStatement.run();
    else {
      if (!this.database.inTransaction) throw lostGroup();
      this.database.exec("SAVEPOINT idb");
      this.isInSavepoint = true;
    }
  }

  commit(): void {
    if (this.group === undefined) {
      this.commitStatement.run();
      this.commits++;
    } else {
      this.isInSavepoint = false;
      if (!this.database.inTransaction) throw lostGroup();
      this.database.exec("RELEASE idb");
    }
  }

  /** SQLite itself rolls back on some errors (a full disk among them), so this is no error without a transaction. */
  rollback(): void {
    const { isInSavepoint } = this;
    this.isInSavepoint = false;
    if (!this.database.inTransaction) return;
    if (this.group === undefined) this.rollbackStatement.run();
    else if (isInSavepoint) this.database.exec("ROLLBACK TO idb; RELEASE idb");
  }

  /** Moves the log's frames into the file. Not while a transaction writes. */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): void {
    const [result] = this.database.pragma(`wal_checkpoint(${mode})`) as { busy: number }[];
    if (result?.busy !== 0) throw new CryptoStoreError("in-use", "the crypto store's log is in use");
  }

  /** Moves frames as far as it can; what a full disk keeps from moving stays, readable, in the log. */
  tryCheckpoint(): void {
    try {
      this.checkpoint("PASSIVE");
    } catch (error) {
      const isExpected = error instanceof Database.SqliteError || error instanceof CryptoStoreError;
      if (!isExpected) throw error;
    }
  }

  /** How many frames of the log are not in the main file yet. */
  framesToMove(): number {
    const [result] = this.database.pragma("wal_checkpoint(NOOP)") as { log: number; checkpointed: number }[];
    return result === undefined ? 0 : result.log - result.checkpointed;
  }

  /** While held, commits leave the main file alone. */
  holdCheckpoints(held: boolean): void {
    this.database.pragma(`wal_autocheckpoint = ${held ? 0 : walLimitPages}`);
  }

  readMain(chunk: Buffer, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      read(this.mainFd, chunk, 0, chunk.length, position, (error, length) => {
        if (error === null) resolve(length);
        else reject(error);
      });
    });
  }

  describe(): string {
    const version = this.database.prepare("SELECT sqlite_version()").pluck().get() as string;
    const read = (pragma: string): string => String(this.database.pragma(pragma, { simple: true }));
    return `SQLite ${version}, cipher ${read("algorithm")}, ${read("journal_mode")}, page ${read("page_size")}`;
  }

  integrityCheck(): boolean {
    try {
      return this.database.pragma("integrity_check", { simple: true }) === "ok";
    } catch (error) {
      if (error instanceof Database.SqliteError) return false;
      throw error;
    }
  }

  close(): void {
    this.group = undefined;
    this.rollback();
    this.database.close();
    closeSync(this.mainFd);
  }
}

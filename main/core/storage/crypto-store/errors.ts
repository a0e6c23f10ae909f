import Database from "better-sqlite3";

/** The names of the IndexedDB 3.0 errors that this store raises. */
export type ErrorName =
  | "AbortError"
  | "ConstraintError"
  | "DataCloneError"
  | "DataError"
  | "InvalidAccessError"
  | "InvalidStateError"
  | "NotFoundError"
  | "NotSupportedError"
  | "QuotaExceededError"
  | "ReadOnlyError"
  | "TransactionInactiveError"
  | "UnknownError"
  | "VersionError";

/** A DOMException with the name that IndexedDB prescribes. */
export function idbError(name: ErrorName, message: string, cause?: unknown): DOMException {
  return new DOMException(message, cause === undefined ? { name } : { name, cause });
}

let failures = 0;
/**
 * How often SQLite has failed to do what it was asked for (a full disk, a damaged page). Rust crypto takes some such failures for
 * messages that cannot be decrypted, and its memory is then ahead of the file: whoever drives it compares this count.
 */
export const sqliteFailures = (): number => failures;

/** Translates a failure of SQLite: a full disk is `QuotaExceededError`, and `cause.code` keeps SQLite's own code. */
export function fromSqlite(error: unknown): DOMException {
  if (error instanceof DOMException) return error;
  if (!(error instanceof Database.SqliteError)) return idbError("UnknownError", "the store failed", error);
  if (!error.code.startsWith("SQLITE_CONSTRAINT")) failures++;
  if (error.code === "SQLITE_FULL") return idbError("QuotaExceededError", "the disk is full", error);
  if (error.code === "SQLITE_CONSTRAINT_UNIQUE" || error.code === "SQLITE_CONSTRAINT_PRIMARYKEY") {
    return idbError("ConstraintError", "a record with this key exists", error);
  }
  return idbError("UnknownError", `the store failed with ${error.code}`, error);
}

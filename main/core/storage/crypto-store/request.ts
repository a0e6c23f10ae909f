import { idbError } from "./errors.ts";
import { StoreEventTarget, type Handler } from "./events.ts";
import type { IDBTransaction } from "./transaction.ts";

/** Does the request's work on SQLite and returns its result; runs once, in the transaction's order. */
export type Operation = () => unknown;

/** IDBRequest (IndexedDB 3.0, section 2.8). */
export class IDBRequest extends StoreEventTarget {
  readonly source: object | null;
  transaction: IDBTransaction | null;
  onsuccess: Handler = null;
  onerror: Handler = null;
  operation: Operation | undefined;
  isWrite: boolean;
  at: "pending" | "executed" | "done" = "pending";
  outcome: { result: unknown; error: DOMException | null } = { result: undefined, error: null };

  constructor(source: object | null, transaction: IDBTransaction | null, operation?: Operation, isWrite = false) {
    super();
    this.source = source;
    this.transaction = transaction;
    this.operation = operation;
    this.isWrite = isWrite;
  }

  get readyState(): "pending" | "done" {
    return this.at === "done" ? "done" : "pending";
  }

  get result(): unknown {
    if (this.at !== "done") throw idbError("InvalidStateError", "the request has not finished");
    return this.outcome.result;
  }

  get error(): DOMException | null {
    if (this.at !== "done") throw idbError("InvalidStateError", "the request has not finished");
    return this.outcome.error;
  }

  succeed(result: unknown): void {
    this.at = "done";
    this.outcome = { result, error: null };
  }

  fail(error: DOMException): void {
    this.at = "done";
    this.outcome = { result: undefined, error };
  }

  override parentTarget(): StoreEventTarget | null {
    return this.transaction;
  }

  override handlerOf(type: string): Handler | undefined {
    return type === "success" ? this.onsuccess : type === "error" ? this.onerror : undefined;
  }
}

export class IDBOpenDBRequest extends IDBRequest {
  onupgradeneeded: Handler = null;
  onblocked: Handler = null;

  override handlerOf(type: string): Handler | undefined {
    if (type === "upgradeneeded") return this.onupgradeneeded;
    return type === "blocked" ? this.onblocked : super.handlerOf(type);
  }
}

import { idbError } from "./errors.ts";
import { encodeKey } from "./key-encoding.ts";
import { IDBOpenDBRequest } from "./request.ts";
import type { Engine } from "./engine.ts";

/** IDBFactory (IndexedDB 3.0, section 4.3) over one file. */
export class IDBFactory {
  private readonly engine: Engine;

  constructor(engine: Engine) {
    this.engine = engine;
  }

  open(name: string, version?: number): IDBOpenDBRequest {
    this.assertOpen();
    if (version !== undefined && (!Number.isFinite(version) || version < 1 || version > Number.MAX_SAFE_INTEGER)) {
      throw new TypeError("the version is not a positive integer");
    }
    const request = new IDBOpenDBRequest(null, null);
    this.engine.open(name, version === undefined ? undefined : Math.trunc(version), request);
    return request;
  }

  deleteDatabase(name: string): IDBOpenDBRequest {
    this.assertOpen();
    const request = new IDBOpenDBRequest(null, null);
    this.engine.delete(name, request);
    return request;
  }

  databases(): Promise<{ name: string; version: number }[]> {
    this.assertOpen();
    return Promise.resolve(this.engine.names());
  }

  cmp(first: unknown, second: unknown): -1 | 0 | 1 {
    const a = encodeKey(first);
    const b = encodeKey(second);
    return a < b ? -1 : a > b ? 1 : 0;
  }

  private assertOpen(): void {
    if (this.engine.isClosed) throw idbError("InvalidStateError", "the store is closed");
  }
}

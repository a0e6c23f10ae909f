import type { CryptoStoreGlobals } from "../../../main/core/storage/crypto-store/index.ts";

/** Either this store's globals or a page's own. Everything that imports this file runs in both. */
export type Idb = Pick<CryptoStoreGlobals, "indexedDB" | "IDBKeyRange" | "IDBCursorWithValue" | "IDBRequest">;

export type Request = ReturnType<Idb["indexedDB"]["open"]> | ReturnType<Store["put"]>;
export type Store = ReturnType<Transaction["objectStore"]>;
export type Index = ReturnType<Store["index"]>;
export type Connection = InstanceType<CryptoStoreGlobals["IDBDatabase"]>;
export type Transaction = InstanceType<CryptoStoreGlobals["IDBTransaction"]>;
export type Cursor = InstanceType<CryptoStoreGlobals["IDBCursorWithValue"]>;

export const nameOf = (error: unknown): string => (error instanceof Error ? error.name : String(error));

/** The name of the error that a call throws, else `"ok"`. */
export function attempt(call: () => unknown): string {
  try {
    call();
    return "ok";
  } catch (error) {
    return nameOf(error);
  }
}

/** A request's result; a failure as `"error: Name"`, kept from ending its transaction where asked. */
export function settled(request: Request, prevent = false): Promise<unknown> {
  return new Promise((resolve) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = (event) => {
      if (prevent) event.preventDefault();
      resolve(`error: ${nameOf(request.error)}`);
    };
  });
}

export function ended(transaction: Transaction): Promise<string> {
  return new Promise((resolve) => {
    transaction.oncomplete = () => {
      resolve("complete");
    };
    transaction.onabort = () => {
      resolve(`abort: ${nameOf(transaction.error)}`);
    };
  });
}

/** Opens a database; the upgrade makes its stores. */
export async function openDatabase(
  idb: Idb,
  name: string,
  version: number | undefined,
  upgrade: (db: Connection, transaction: Transaction) => void = () => undefined,
): Promise<Connection> {
  const request = idb.indexedDB.open(name, version);
  request.onupgradeneeded = () => {
    if (request.transaction !== null) upgrade(request.result as Connection, request.transaction);
  };
  const result = await settled(request);
  if (typeof result === "string") throw new Error(result);
  return result as Connection;
}

/** Every row a cursor visits. */
export function walk(request: Request, each: (cursor: Cursor) => void = () => undefined): Promise<unknown[]> {
  const rows: unknown[] = [];
  return new Promise((resolve) => {
    request.onerror = () => {
      resolve([...rows, nameOf(request.error)]);
    };
    request.onsuccess = () => {
      const cursor = request.result as Cursor | null;
      if (cursor === null) {
        resolve(rows);
        return;
      }
      rows.push([cursor.key, cursor.primaryKey, cursor.value]);
      const outcome = attempt(() => {
        each(cursor);
      });
      if (outcome !== "ok") rows.push(outcome);
      cursor.continue();
    };
  });
}

import { CoreError } from "../errors.ts";
import type { IDBDatabase } from "./crypto-store/database.ts";
import type { CryptoStoreGlobals } from "./crypto-store/index.ts";

/** One of the crypto store's databases, in the version that it has. Whoever opens it closes it. */
export const opened = (indexedDB: CryptoStoreGlobals["indexedDB"], database: string): Promise<IDBDatabase> =>
  new Promise((resolve, reject) => {
    const request = indexedDB.open(database);
    request.onsuccess = () => {
      resolve(request.result as IDBDatabase);
    };
    request.onerror = () => {
      reject(new CoreError("unexpected", { cause: request.error }));
    };
  });

import { CoreError } from "../errors.ts";
import type { CryptoStoreGlobals } from "./crypto-store/index.ts";
import { opened } from "./opened-crypto-store.ts";

/** Under the prefix that matrix/client.ts gives. */
const databaseName = "tessera::matrix-sdk-crypto";
const storeName = "session";
/** A key of that store is the other side's Curve25519 key, this character, and the session's id. */
const separator = "\u001d";

export type OlmSessions = ReturnType<typeof createOlmSessions>;

/**
 * With which devices there is an Olm session. The machine tells only for which it would claim a key now, and leaves out those for
 * which it lately failed; so its store is read, by key alone. Pinned by tests/core/trust/recipients.test.ts.
 */
export function createOlmSessions({ indexedDB }: Pick<CryptoStoreGlobals, "indexedDB">) {
  let known = new Set<string>();

  const read = async (): Promise<Set<string>> => {
    const database = await opened(indexedDB, databaseName);
    try {
      return await new Promise((resolve, reject) => {
        const request = database.transaction(storeName, "readonly").objectStore(storeName).getAllKeys();
        request.onsuccess = () => {
          const keys = request.result as string[];
          resolve(new Set(keys.map((key) => key.slice(0, Math.max(key.indexOf(separator), 0)))));
        };
        request.onerror = () => {
          reject(new CoreError("unexpected", { cause: request.error }));
        };
      });
    } finally {
      database.close();
    }
  };

  return {
    /** Those of the given Curve25519 keys with which there is none. */
    missing: async (curve25519: Iterable<string>): Promise<Set<string>> => {
      const wanted = [...curve25519];
      // sessions come, they do not go: one that is known is not asked for again
      if (wanted.some((key) => !known.has(key))) known = await read();
      return new Set(wanted.filter((key) => !known.has(key)));
    },
  };
}

/** IndexedDB as the crypto store gives it: the factory and every class that Rust crypto tests with `instanceof`. */
export type CryptoStoreGlobals = Record<string, unknown>;

/** Rust crypto takes the IndexedDB that stands in the global scope: one store for each thread, before its first machine. */
export function useIndexedDb(store: CryptoStoreGlobals): void {
  for (const [name, value] of Object.entries(store))
    if (/^(indexedDB|IDB[A-Za-z]*)$/.test(name))
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

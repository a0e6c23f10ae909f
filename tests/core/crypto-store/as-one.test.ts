import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCryptoStore, type CryptoStore } from "../../../main/core/storage/crypto-store/index.ts";

const key = new Uint8Array(32).fill(4);
let folder: string;
let store: CryptoStore;
beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tessera-as-one-"));
  store = openCryptoStore({ file: path.join(folder, "crypto.db"), key });
  await opened(store);
  await store.sync();
});
afterEach(() => {
  store.close();
  rmSync(folder, { recursive: true, force: true });
});

type Db = InstanceType<CryptoStore["IDBDatabase"]>;
const done = <T>(request: { onsuccess: unknown; onerror: unknown; result: unknown }): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result as T);
    };
    request.onerror = () => {
      reject(new Error("the request failed"));
    };
  });
async function opened({ indexedDB }: CryptoStore): Promise<Db> {
  const request = indexedDB.open("one", 1);
  request.onupgradeneeded = () => {
    (request.result as Db).createObjectStore("things");
  };
  return await done<Db>(request);
}
const put = (db: Db, name: string, value: string) =>
  new Promise<string>((resolve) => {
    const transaction = db.transaction(["things"], "readwrite");
    transaction.objectStore("things").put(value, name);
    transaction.oncomplete = () => {
      resolve("complete");
    };
    transaction.onabort = () => {
      resolve("aborted");
    };
    if (value === "to be aborted") transaction.abort();
  });
const all = async (of: CryptoStore): Promise<unknown[]> => {
  const db = await opened(of);
  const found = await done<unknown[]>(db.transaction(["things"], "readonly").objectStore("things").getAll());
  db.close();
  return found;
};
/** What a process that was killed at this moment would find. */
async function afterKill(): Promise<unknown[]> {
  const copy = mkdtempSync(path.join(tmpdir(), "tessera-as-one-"));
  cpSync(folder, copy, { recursive: true });
  const again = openCryptoStore({ file: path.join(copy, "crypto.db"), key });
  const found = await all(again);
  again.close();
  rmSync(copy, { recursive: true, force: true });
  return found;
}

test("transactions that are one are there after a kill as a whole, or not at all", async () => {
  const db = await opened(store);
  await put(db, "before", "0");
  let inside: unknown[] = [];
  const synced: string[] = [];
  await store.asOne(async () => {
    expect(await put(db, "a", "1")).toBe("complete");
    expect(await put(db, "b", "to be aborted")).toBe("aborted");
    expect(await put(db, "c", "3")).toBe("complete");
    // its own writes are seen at once, also by others
    expect(await all(store)).toEqual(["1", "0", "3"]);
    void store.sync().then(() => synced.push("synced"));
    inside = await afterKill();
    expect(synced).toEqual([]);
  });
  expect(inside).toEqual(["0"]);
  await store.sync();
  expect(await afterKill()).toEqual(["1", "0", "3"]);
  expect(store.failures()).toBe(0);
  db.close();
});

test("work that fails ends the group; what it wrote stands, and the next group begins", async () => {
  const db = await opened(store);
  await expect(
    store.asOne(async () => {
      await put(db, "a", "1");
      throw new Error("no use");
    }),
  ).rejects.toThrow("no use");
  // one that writes at that moment is waited for
  const writing = put(db, "b", "2");
  await store.asOne(async () => {
    await put(db, "c", "3");
  });
  await writing;
  await store.sync();
  expect(await afterKill()).toEqual(["1", "2", "3"]);
  db.close();
});

test("a disk that fills up inside leaves nothing of it, and says so", async () => {
  store.close();
  store = openCryptoStore({ file: path.join(folder, "crypto.db"), key, maxPages: 40 });
  const db = await opened(store);
  await put(db, "before", "0");
  const failures = store.failures();
  await expect(
    store.asOne(async () => {
      await put(db, "a", "1");
      expect(await put(db, "b", "x".repeat(400_000))).toBe("aborted");
      await put(db, "c", "3");
    }),
  ).rejects.toThrow();
  expect(store.failures()).toBeGreaterThan(failures);
  expect(await all(store)).toEqual(["0"]);
  expect(await put(db, "d", "4")).toBe("complete");
  await store.sync();
  expect(await afterKill()).toEqual(["0", "4"]);
  db.close();
});

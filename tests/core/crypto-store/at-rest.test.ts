import Database from "better-sqlite3";
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CryptoStoreError, openCryptoStore, type CryptoStore } from "../../../main/core/storage/crypto-store/index.ts";
import { ended, openDatabase, settled, type Connection } from "./idb.ts";

const directory = mkdtempSync(join(tmpdir(), "tessera-at-rest-"));
const key = Buffer.alloc(32, 9);
let files = 0;

const newFile = (): string => join(directory, `${files++}.db`);
const words = [
  "known-store-name",
  "known-record-key",
  "known plaintext value",
  "known-index-value",
  "known-db-name",
  "SQLite format 3",
];

beforeAll(() => {
  const store = openCryptoStore({ file: newFile(), key });
  console.log(`[real] ${store.describe()} on disk`);
  store.close();
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

async function fill(store: CryptoStore, records = 300): Promise<Connection> {
  const db = await openDatabase(store, "known-db-name", 1, (upgrading) => {
    upgrading.createObjectStore("known-store-name").createIndex("by_info", "info");
  });
  const transaction = db.transaction("known-store-name", "readwrite");
  const objects = transaction.objectStore("known-store-name");
  for (let index = 0; index < records; index++) {
    objects.put({ info: "known-index-value", text: "known plaintext value".repeat(20) }, `known-record-key ${index}`);
  }
  expect(await ended(transaction)).toBe("complete");
  return db;
}

async function countRecords(store: CryptoStore): Promise<unknown> {
  const db = await openDatabase(store, "known-db-name", undefined);
  const count = await settled(db.transaction("known-store-name").objectStore("known-store-name").count());
  db.close();
  return count;
}

/** Which of the known words stand anywhere in the files of a directory whose names begin so. */
function wordsOnDisk(prefix: string): string[] {
  const bytes = readdirSync(directory)
    .filter((name) => join(directory, name).startsWith(prefix))
    .map((name) => readFileSync(join(directory, name)));
  expect(bytes.length).toBeGreaterThan(0);
  return words.filter((word) =>
    bytes.some((content) => content.includes(word) || content.includes(Buffer.from(word, "utf16le"))),
  );
}

function errorOf(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}

test("no file holds plaintext: neither the log, nor the main file, nor a snapshot", async () => {
  const file = newFile();
  const store = openCryptoStore({ file, key });
  await fill(store);
  expect(statSync(`${file}-wal`).size).toBeGreaterThan(100_000);
  await store.snapshot(`${file}.snapshot`);
  await fill(store);
  expect(wordsOnDisk(file)).toEqual([]);
  store.close();
  expect(statSync(file).size).toBeGreaterThan(100_000);
  expect(wordsOnDisk(file)).toEqual([]);
});

test("the search for plaintext can fail: an unencrypted SQLite file holds it", () => {
  const file = newFile();
  const plain = new Database(file);
  plain.exec("CREATE TABLE t AS SELECT 'known plaintext value' AS v");
  plain.close();
  expect(wordsOnDisk(file)).toEqual(["known plaintext value", "SQLite format 3"]);
  expect(errorOf(() => openCryptoStore({ file, key }))).toMatchObject({ code: "wrong-key" });
});

test("a wrong key is refused, and the right one opens afterwards", async () => {
  const file = newFile();
  const store = openCryptoStore({ file, key });
  (await fill(store)).close();
  store.close();
  const error = errorOf(() => openCryptoStore({ file, key: Buffer.alloc(32, 8) }));
  expect(error).toBeInstanceOf(CryptoStoreError);
  expect(error).toMatchObject({ code: "wrong-key", message: "the key does not open the crypto store" });
  expect(String(error)).not.toContain(directory);
  expect(() => openCryptoStore({ file, key: Buffer.alloc(31) })).toThrow();
  const again = openCryptoStore({ file, key: new Uint8Array(key) });
  expect(await countRecords(again)).toBe(300);
  again.close();
});

test("a changed byte is noticed", async () => {
  const file = newFile();
  const store = openCryptoStore({ file, key });
  (await fill(store)).close();
  store.close();
  const bytes = readFileSync(file);
  const position = bytes.length - 2000;
  bytes[position] = (bytes[position] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  const damaged = openCryptoStore({ file, key });
  expect(damaged.integrityCheck()).toBe(false);
  damaged.close();
});

test("a second opening is refused while the first is open", () => {
  const file = newFile();
  const store = openCryptoStore({ file, key });
  expect(errorOf(() => openCryptoStore({ file, key }))).toMatchObject({ code: "in-use" });
  store.close();
  openCryptoStore({ file, key }).close();
});

test("a worker that is ended gives the file free", async () => {
  const file = newFile();
  const url = new URL("../../../main/core/storage/crypto-store/index.ts", import.meta.url).href;
  const code = `import(${JSON.stringify(url)}).then(({ openCryptoStore }) => {
    globalThis.store = openCryptoStore({ file: ${JSON.stringify(file)}, key: Buffer.alloc(32, 9) });
    require("node:worker_threads").parentPort.postMessage("open");
    setInterval(() => undefined, 1000);
  });`;
  const worker = new Worker(code, { eval: true });
  await new Promise((resolve) => worker.once("message", resolve));
  await worker.terminate();
  openCryptoStore({ file, key }).close();
});

test("a snapshot is whole, opens with the same key, and writes go on meanwhile", async () => {
  const file = newFile();
  const target = `${file}.snapshot`;
  const store = openCryptoStore({ file, key });
  const db = await fill(store, 2000);
  const snapshot = store.snapshot(target);
  const transaction = db.transaction("known-store-name", "readwrite");
  for (let index = 0; index < 500; index++) transaction.objectStore("known-store-name").put(index, `during ${index}`);
  await Promise.all([snapshot, ended(transaction)]);
  await store.snapshot(target);
  const later = db.transaction("known-store-name", "readwrite");
  later.objectStore("known-store-name").clear();
  await ended(later);
  store.close();
  expect(existsSync(`${target}.partial`)).toBe(false);
  const copy = openCryptoStore({ file: target, key });
  expect(copy.integrityCheck()).toBe(true);
  expect(await countRecords(copy)).toBe(2500);
  copy.close();
});

test("what passed the barrier is in the files: a copy of them holds it", async () => {
  const file = newFile();
  const store = openCryptoStore({ file, key });
  await fill(store, 50);
  await Promise.all([store.sync(), store.sync(), store.sync()]);
  await store.sync();
  const copied = newFile();
  execFileSync("cp", [file, copied]);
  copyFileSync(`${file}-wal`, `${copied}-wal`);
  const copy = openCryptoStore({ file: copied, key });
  expect(await countRecords(copy)).toBe(50);
  copy.close();
  store.close();
  await store.sync();
});

/** A file system of 3 MiB, where the machine lets us mount one. */
function smallDisk(): string | undefined {
  const mount = join(directory, "small");
  mkdirSync(mount);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], { stdio: "ignore" });
    return mount;
  } catch {
    return undefined;
  }
}

test("a full disk fails the transaction with QuotaExceededError, and with room the store goes on", async () => {
  const mount = smallDisk();
  const file = join(mount ?? directory, "full.db");
  const store = openCryptoStore({ file, key, ...(mount === undefined ? { maxPages: 600 } : {}) });
  console.log(`[real] a full disk: ${mount === undefined ? "SQLite's own page limit" : "a file system of 3 MiB"}`);
  try {
    const db = await openDatabase(store, "full", 1, (upgrading) => upgrading.createObjectStore("s"));
    const write = async (label: string): Promise<DOMException | null> => {
      const transaction = db.transaction("s", "readwrite");
      for (let index = 0; index < 20; index++)
        transaction.objectStore("s").put("x".repeat(20_000), `${label} ${index}`);
      await ended(transaction);
      return transaction.error;
    };
    const ballast = join(mount ?? directory, "ballast");
    if (mount !== undefined) writeFileSync(ballast, Buffer.alloc(500_000));
    let stored = 0;
    let error: DOMException | null = null;
    for (; stored < 100 && error === null; stored++) error = await write(`t${stored}`);
    expect(error?.name).toBe("QuotaExceededError");
    expect(error?.cause).toMatchObject({ code: "SQLITE_FULL" });
    const count = (): Promise<unknown> => settled(db.transaction("s").objectStore("s").count());
    expect(await count()).toBe((stored - 1) * 20);
    if (mount === undefined) {
      const transaction = db.transaction("s", "readwrite");
      transaction.objectStore("s").clear();
      expect(await ended(transaction)).toBe("complete");
    } else rmSync(ballast);
    expect(await write("after")).toBeNull();
    expect(store.integrityCheck()).toBe(true);
  } finally {
    store.close();
    if (mount !== undefined) execFileSync("umount", [mount]);
  }
});

test("timers run while a long transaction works", async () => {
  const store = openCryptoStore({ file: newFile(), key });
  const db = await fill(store, 1);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const transaction = db.transaction("known-store-name", "readwrite");
  const objects = transaction.objectStore("known-store-name");
  const startMs = performance.now();
  for (let index = 0; index < 3000; index++) await settled(objects.put({ index }, `k${index}`));
  const tookMs = performance.now() - startMs;
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(tookMs / 50);
  store.close();
});

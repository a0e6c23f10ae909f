import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { CoreError } from "../errors.ts";
import { log } from "../log.ts";
import { openCryptoStore, type CryptoStoreGlobals } from "./crypto-store/index.ts";

export type CryptoDatabase = {
  globals: CryptoStoreGlobals;
  /** Everything written so far is on the disk. Throws `disk-full` where something could not be written. */
  barrier: () => Promise<void>;
  /** What Rust crypto writes while this runs is there as a whole after a kill, or not at all. */
  asOne: <T>(work: () => Promise<T>) => Promise<T>;
  /** A write failed: Rust crypto's memory is ahead of the file, so it has to be opened anew before anything else is done with it. */
  isBehind: () => boolean;
  /** Called just before it is opened anew. */
  forgetFailures: () => void;
  /** A whole store, read in pieces: see CryptoStore.inPieces. */
  inPieces: <T>(store: string, records: number, read: () => Promise<T>) => AsyncIterable<T>;
  /** Rooms of which a key is in no backup, as the store itself has it. */
  roomsNotBackedUp: () => string[];
  close: () => Promise<void>;
};

const snapshotEveryMs = 6 * 3_600_000;
const lookEveryMs = 60_000;

/**
 * crypto.db and its rolling snapshot. The snapshot is salvage only: run as the device it would rewind ratchets and
 * encrypt twice with one message key. Throws `database-corrupt` where the file fails its check after a disorderly stop.
 */
export function openCryptoDatabase(folder: string, key: Uint8Array, check: boolean): CryptoDatabase {
  const file = path.join(folder, "crypto.db");
  const isNew = !existsSync(file);
  const store = openCryptoStore({ file, key });
  if (check && !isNew && !store.integrityCheck()) {
    store.close();
    throw new CoreError("database-corrupt");
  }
  const snapshotFile = path.join(folder, "crypto.snapshot.db");
  let snapshot = Promise.resolve();
  const timer = setInterval(() => {
    const madeMs = statSync(snapshotFile, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (Math.abs(Date.now() - madeMs) < snapshotEveryMs) return;
    snapshot = store.snapshot(snapshotFile).catch((error: unknown) => {
      log.warn("the snapshot of crypto.db failed", error);
    });
  }, lookEveryMs);
  timer.unref();
  let forgiven = store.failures();
  const isBehind = () => store.failures() !== forgiven;
  return {
    globals: store.globals,
    barrier: async () => {
      await store.sync();
      if (isBehind()) throw new CoreError("disk-full", { message: "The account's keys could not be written." });
    },
    asOne: (work) => store.asOne(work),
    isBehind,
    forgetFailures: () => {
      forgiven = store.failures();
    },
    inPieces: (name, records, read) => store.inPieces(name, records, read),
    roomsNotBackedUp: () => store.firstPartsIn("inbound_group_sessions3", "backup"),
    close: async () => {
      clearInterval(timer);
      await snapshot;
      store.close();
    },
  };
}

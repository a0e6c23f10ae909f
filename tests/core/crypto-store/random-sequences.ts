import { ended, openDatabase, settled, walk, type Idb, type Index, type Store } from "./idb.ts";
import { plainOf } from "./behaviour-cases.ts";

/** A range over single letters: bounds may be missing, open, or in the wrong order. */
export interface RangeSpec {
  lower?: string | undefined;
  upper?: string | undefined;
  lowerOpen: boolean;
  upperOpen: boolean;
}

export type Step =
  | { kind: "put" | "add"; key: string; tag: number | null; info: string | null }
  | { kind: "get" | "delete"; key: string }
  | { kind: "deleteRange" | "countRange"; range: RangeSpec }
  | { kind: "getAll" | "getAllKeys"; range: RangeSpec; limit: number; over: "store" | "tag" | "info" | "both" }
  | { kind: "walk"; range: RangeSpec; over: "store" | "tag" | "both"; change: "none" | "update" | "delete" }
  | { kind: "clear" };

export interface TransactionSpec {
  mode: "readonly" | "readwrite";
  steps: Step[];
  end: "commit" | "abort" | "leave";
}

let databases = 0;

/** Runs transactions of random steps and answers everything that was seen. */
export async function runSequence(idb: Idb, transactions: TransactionSpec[]): Promise<string> {
  const name = `random-${databases++}`;
  const db = await openDatabase(idb, name, 1, (upgrading) => {
    const store = upgrading.createObjectStore("s");
    store.createIndex("tag", "tag");
    store.createIndex("info", "info", { unique: true });
    store.createIndex("both", ["tag", "info"]);
  });
  const seen: unknown[] = [];
  for (const { mode, steps, end } of transactions) {
    const transaction = db.transaction("s", mode);
    const finished = ended(transaction);
    const store = transaction.objectStore("s");
    for (const step of steps) {
      try {
        seen.push(await runStep(idb, store, step));
      } catch (error) {
        seen.push(`threw ${(error as Error).name}`);
      }
    }
    try {
      if (end === "commit") transaction.commit();
      if (end === "abort") transaction.abort();
    } catch (error) {
      seen.push(`end threw ${(error as Error).name}`);
    }
    seen.push(await finished);
  }
  const store = db.transaction("s").objectStore("s");
  seen.push(await settled(store.getAll()), await settled(store.index("both").getAllKeys()));
  db.close();
  await settled(idb.indexedDB.deleteDatabase(name));
  return plainOf(seen);
}

function rangeOf(
  idb: Idb,
  { lower, upper, lowerOpen, upperOpen }: RangeSpec,
  wrap: (bound: string) => unknown,
): unknown {
  const { IDBKeyRange } = idb;
  if (lower !== undefined && upper !== undefined)
    return IDBKeyRange.bound(wrap(lower), wrap(upper), lowerOpen, upperOpen);
  if (lower !== undefined) return IDBKeyRange.lowerBound(wrap(lower), lowerOpen);
  return upper === undefined ? undefined : IDBKeyRange.upperBound(wrap(upper), upperOpen);
}

const wraps: Record<"store" | "tag" | "info" | "both", (bound: string) => unknown> = {
  store: (bound) => bound,
  tag: (bound) => bound.charCodeAt(0) % 4,
  info: (bound) => bound,
  both: (bound) => [bound.charCodeAt(0) % 4, bound],
};

const sourceOf = (store: Store, over: keyof typeof wraps): Store | Index =>
  over === "store" ? store : store.index(over);

function runStep(idb: Idb, store: Store, step: Step): Promise<unknown> {
  switch (step.kind) {
    case "put":
    case "add": {
      const value = {
        ...(step.tag === null ? {} : { tag: step.tag }),
        ...(step.info === null ? {} : { info: step.info }),
      };
      return settled(step.kind === "put" ? store.put(value, step.key) : store.add(value, step.key), true);
    }
    case "get":
      return settled(store.get(step.key));
    case "delete":
      return settled(store.delete(step.key));
    case "deleteRange":
      return settled(store.delete(rangeOf(idb, step.range, wraps.store)));
    case "countRange":
      return settled(store.count(rangeOf(idb, step.range, wraps.store)));
    case "getAll":
    case "getAllKeys": {
      const source = sourceOf(store, step.over);
      return settled(source[step.kind](rangeOf(idb, step.range, wraps[step.over]), step.limit));
    }
    case "walk": {
      const request = sourceOf(store, step.over).openCursor(rangeOf(idb, step.range, wraps[step.over]));
      return walk(request, (cursor) => {
        if (step.change === "update") cursor.update({ ...(cursor.value as object), walked: true });
        if (step.change === "delete") cursor.delete();
      });
    }
    case "clear":
      return settled(store.clear());
  }
}

/* One behaviour a case, each answering plain data; long because it is the list of all that Rust crypto relies on. */
import { attempt, ended, nameOf, openDatabase, settled, walk } from "./idb.ts";
import type { Connection, Idb } from "./idb.ts";

type Case = (idb: Idb, name: string) => Promise<unknown>;

const gossip = (db: Connection): void => {
  const store = db.createObjectStore("gossip");
  store.createIndex("unsent", "unsent");
  store.createIndex("by_info", "info", { unique: true });
};
const sessions = (db: Connection): void => {
  const store = db.createObjectStore("sessions");
  store.createIndex("backup", "needs_backup");
  store.createIndex("sender", ["sender_key", "kind", "session_id"]);
};
const plain = (db: Connection): void => {
  db.createObjectStore("core");
  db.createObjectStore("other");
};
const turn = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function filled(idb: Idb, name: string): Promise<Connection> {
  const db = await openDatabase(idb, name, 1, plain);
  const transaction = db.transaction("core", "readwrite");
  const store = transaction.objectStore("core");
  for (const key of ["a", "b", "b\u001dx", "b\u001dy", "c", "ä", "\uffff", "😀", "\ud800"]) store.put({ key }, key);
  await ended(transaction);
  return db;
}

async function readAll(db: Connection, store = "core"): Promise<unknown> {
  return settled(db.transaction(store).objectStore(store).getAll());
}

export const behaviourCases: Record<string, Case> = {
  "open without a version makes version 1": async (idb, name) => {
    const db = await openDatabase(idb, name, undefined);
    return [db.name === name, db.version, [...db.objectStoreNames]];
  },

  "an upgrade sees both versions and its own transaction": async (idb, name) => {
    const seen: unknown[] = [];
    (await openDatabase(idb, name, 5, plain)).close();
    const request = idb.indexedDB.open(name, 107);
    request.onupgradeneeded = (event) => {
      const { oldVersion, newVersion } = event as unknown as { oldVersion: number; newVersion: number };
      seen.push(oldVersion, newVersion, request.transaction?.mode, [...(request.transaction?.objectStoreNames ?? [])]);
    };
    const db = (await settled(request)) as Connection;
    return [...seen, db.version, request.transaction, request.readyState];
  },

  "a lower version is refused": async (idb, name) => {
    (await openDatabase(idb, name, 5, plain)).close();
    return settled(idb.indexedDB.open(name, 4));
  },

  "versions that are no versions": (idb, name) =>
    Promise.resolve([0, -1, Number.NaN].map((version) => attempt(() => idb.indexedDB.open(name, version)))),

  "29 upgrades in a row, as a fresh store replays them": async (idb, name) => {
    const versions: number[] = [];
    for (let version = 1; version <= 29; version++) {
      const db = await openDatabase(idb, name, version, (upgrading) => {
        upgrading.createObjectStore(`s${version}`).put(version, "v");
        if (version % 3 === 0) upgrading.deleteObjectStore(`s${version - 1}`);
      });
      versions.push(db.version);
      db.close();
    }
    const db = await openDatabase(idb, name, undefined);
    return [versions, [...db.objectStoreNames], await readAll(db, "s29")];
  },

  "an upgrade that aborts leaves nothing": async (idb, name) => {
    (await openDatabase(idb, name, 1, plain)).close();
    const request = idb.indexedDB.open(name, 2);
    request.onupgradeneeded = () => {
      (request.result as Connection).createObjectStore("new");
      request.transaction?.abort();
    };
    const outcome = await settled(request);
    const db = await openDatabase(idb, name, undefined);
    return [outcome, db.version, [...db.objectStoreNames]];
  },

  "an upgrade goes on through microtasks": async (idb, name) => {
    const request = idb.indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      const store = (request.result as Connection).createObjectStore("core");
      void (async () => {
        await settled(store.put(1, "first"));
        await Promise.resolve();
        for (let index = 0; index < 20; index++) await Promise.resolve();
        await settled(store.put(2, "second"));
      })();
    };
    const db = (await settled(request)) as Connection;
    return settled(db.transaction("core").objectStore("core").getAllKeys());
  },

  "an upgrade waits for other connections, which hear of it": async (idb, name) => {
    const heard: string[] = [];
    const first = await openDatabase(idb, name, 1, plain);
    first.onversionchange = () => heard.push("versionchange");
    const request = idb.indexedDB.open(name, 2);
    request.onblocked = () => {
      heard.push("blocked");
      setTimeout(() => {
        heard.push("closing");
        first.close();
      }, 5);
    };
    const db = (await settled(request)) as Connection;
    return [heard, db.version];
  },

  "a connection that closes when asked blocks nothing": async (idb, name) => {
    const heard: string[] = [];
    const first = await openDatabase(idb, name, 1, plain);
    first.onversionchange = () => {
      heard.push("versionchange");
      first.close();
    };
    const request = idb.indexedDB.open(name, 2);
    request.onblocked = () => heard.push("blocked");
    await settled(request);
    return heard;
  },

  "deleteDatabase empties, also what never was": async (idb, name) => {
    const db = await filled(idb, name);
    db.close();
    const gone = await settled(idb.indexedDB.deleteDatabase(name));
    const never = await settled(idb.indexedDB.deleteDatabase(`${name}-never`));
    const again = await openDatabase(idb, name, undefined);
    return [gone, never, again.version, [...again.objectStoreNames]];
  },

  "databases are apart, whatever their names": async (idb, name) => {
    const names = [`${name}::matrix-sdk-crypto`, `${name}::matrix-sdk-crypto-meta`, `${name}'";--`, `${name} ä`];
    const connections = [];
    for (const each of names) {
      const db = await openDatabase(idb, each, 1, plain);
      db.transaction("core", "readwrite").objectStore("core").put(each, "name");
      connections.push(db);
    }
    const values = await Promise.all(connections.map((db) => readAll(db)));
    return values.map((value, index) => JSON.stringify(value) === JSON.stringify([names[index]]));
  },

  "misuse of the schema": async (idb, name) => {
    const outcomes: string[] = [];
    const db = await openDatabase(idb, name, 1, (upgrading, transaction) => {
      const store = upgrading.createObjectStore("core");
      outcomes.push(attempt(() => upgrading.createObjectStore("core")));
      outcomes.push(
        attempt(() => {
          upgrading.deleteObjectStore("none");
        }),
      );
      outcomes.push(attempt(() => store.createIndex("i", "not a path")));
      store.createIndex("i", "x");
      outcomes.push(attempt(() => store.createIndex("i", "x")));
      outcomes.push(attempt(() => store.index("none")));
      outcomes.push(attempt(() => transaction.objectStore("none")));
      outcomes.push(attempt(() => upgrading.transaction("core")));
      const gone = upgrading.createObjectStore("gone");
      upgrading.deleteObjectStore("gone");
      outcomes.push(attempt(() => gone.put(1, "k")));
    });
    outcomes.push(attempt(() => db.createObjectStore("late")));
    outcomes.push(attempt(() => db.transaction("none")));
    outcomes.push(attempt(() => db.transaction([])));
    outcomes.push(attempt(() => db.transaction("core", "write")));
    outcomes.push(attempt(() => db.transaction("core").objectStore("other")));
    db.close();
    outcomes.push(attempt(() => db.transaction("core")));
    return outcomes;
  },

  "put, get, add, delete, clear": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const transaction = db.transaction(["core", "other"], "readwrite");
    const store = transaction.objectStore("core");
    const results = [
      await settled(store.put({ n: 1 }, "k")),
      await settled(store.put({ n: 2 }, "k")),
      await settled(store.get("k")),
      await settled(store.get("none")),
      await settled(store.getKey("k")),
      await settled(store.add(3, "new")),
      await settled(store.add(4, "new"), true),
      await settled(store.count()),
      await settled(store.delete("none")),
      await settled(store.delete("k")),
      await settled(store.getAllKeys()),
      await settled(store.clear()),
      await settled(store.count()),
    ];
    return [results, await ended(transaction)];
  },

  "values come back as structured clones": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const values = [
      null,
      true,
      0,
      -1.5,
      1e300,
      "",
      "ä😀\ud800\0",
      [],
      [1, [2, { three: [3] }]],
      {},
      { a: null, b: false, c: [0, 255] },
      { version: 1, ciphertext: [1, 2, 3], nonce: [4] },
      { "": 1, __proto__x: 2, "a.b": 3 },
      "x".repeat(100_000),
    ];
    const transaction = db.transaction("core", "readwrite");
    const store = transaction.objectStore("core");
    const mutable = { list: [1] };
    store.put(mutable, "mutable");
    mutable.list.push(2);
    values.forEach((value, index) => store.put(value, `v${index}`));
    await ended(transaction);
    const read = db.transaction("core").objectStore("core");
    return [await settled(read.get("mutable")), await settled(read.getAll())];
  },

  "values that are no JSON": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const store = db.transaction("core", "readwrite").objectStore("core");
    const values = [
      undefined,
      Number.NaN,
      -0,
      new Date(5),
      new Map([["a", 1]]),
      new Uint8Array([1, 2]),
      [undefined],
      10n,
    ];
    values.forEach((value, index) => store.put(value, `v${index}`));
    const back = (await settled(store.getAll())) as unknown[];
    const describe = (value: unknown): string => `${Object.prototype.toString.call(value)} ${String(value)}`;
    return [
      back.map((value) => (Object.is(value, -0) ? "-0" : describe(value))),
      attempt(() => store.put(() => 1, "f")),
      attempt(() => store.put({ deep: Symbol("s") }, "f")),
    ];
  },

  "keys sort as IndexedDB says": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const store = db.transaction("core", "readwrite").objectStore("core");
    const keys = [
      "",
      "a",
      "A",
      "a\0",
      "a\x01",
      "aa",
      "ä",
      "\ud7fe",
      "\ud7ff",
      "\ud800",
      "\ue000",
      "\uffff",
      "😀",
      "\u{10ffff}",
      0,
      -1,
      1.5,
      -1.5,
      1e300,
      -1e300,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      5e-324,
      new Date(0),
      new Date(-1),
      [],
      [1],
      [1, "a"],
      ["a"],
      ["a", "b"],
      ["a\0"],
      ["a\x01"],
      [["a"]],
      [["a"], 1],
      [[]],
      new Uint8Array([1]).buffer,
      new Uint8Array([0, 255]).buffer,
      new Uint8Array([]).buffer,
      [new Uint8Array([0, 1, 2]).buffer],
    ];
    keys.forEach((key, index) => store.put(index, key));
    const order = await settled(store.getAll());
    const back = (await settled(store.getAllKeys())) as unknown[];
    const compared = keys.flatMap((a) => keys.map((b) => idb.indexedDB.cmp(a, b)));
    return [order, back.map((key) => JSON.stringify(key)), compared];
  },

  "keys that are no keys": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const store = db.transaction("core", "readwrite").objectStore("core");
    const circular: unknown[] = [];
    circular.push(circular);
    const bad = [undefined, null, true, {}, Number.NaN, new Date(Number.NaN), [undefined], circular, /x/];
    return [
      bad.map((key) => attempt(() => store.put(1, key))),
      bad.map((key) => attempt(() => store.get(key))),
      bad.map((key) => attempt(() => store.delete(key))),
      bad.map((key) => attempt(() => idb.IDBKeyRange.only(key))),
      attempt(() => idb.indexedDB.cmp("a", undefined)),
    ];
  },

  "ranges over a store": async (idb, name) => {
    const db = await filled(idb, name);
    const store = db.transaction("core").objectStore("core");
    const { IDBKeyRange } = idb;
    const ranges = [
      IDBKeyRange.only("b"),
      IDBKeyRange.bound("b", "c"),
      IDBKeyRange.bound("b", "c", true, true),
      IDBKeyRange.bound("b\u001d", "b\u001e", false, true),
      IDBKeyRange.lowerBound("b", true),
      IDBKeyRange.lowerBound("b"),
      IDBKeyRange.upperBound("b", true),
      IDBKeyRange.upperBound("b"),
      "b",
      undefined,
      null,
    ];
    const outcomes = [];
    for (const range of ranges) {
      outcomes.push([
        await settled(store.getAllKeys(range)),
        await settled(store.getAll(range, 2)),
        await settled(store.count(range)),
        range === undefined || range === null ? attempt(() => store.get(range)) : await settled(store.get(range)),
      ]);
    }
    return outcomes;
  },

  "ranges themselves": (idb) => {
    const { IDBKeyRange } = idb;
    const range = IDBKeyRange.bound("b", "d", true, false);
    return Promise.resolve([
      [range.lower, range.upper, range.lowerOpen, range.upperOpen],
      ["a", "b", "c", "d", "e"].map((key) => range.includes(key)),
      attempt(() => IDBKeyRange.bound("d", "b")),
      attempt(() => IDBKeyRange.bound("b", "b", true)),
      attempt(() => IDBKeyRange.bound("b", "b")),
      (({ lower, upper, lowerOpen, upperOpen }) => [lower, upper, lowerOpen, upperOpen])(
        IDBKeyRange.lowerBound(1, true),
      ),
      (({ lower, upper, lowerOpen, upperOpen }) => [lower, upper, lowerOpen, upperOpen])(IDBKeyRange.upperBound(1)),
    ]);
  },

  "limits of getAll": async (idb, name) => {
    const db = await filled(idb, name);
    const store = db.transaction("core").objectStore("core");
    const counts = [0, 1, 3, 100, undefined];
    const outcomes = [];
    for (const count of counts) outcomes.push(await settled(store.getAllKeys(undefined, count)));
    return [outcomes, attempt(() => store.getAll(undefined, -1))];
  },

  "deleting a range": async (idb, name) => {
    const db = await filled(idb, name);
    const store = db.transaction("core", "readwrite").objectStore("core");
    await settled(store.delete(idb.IDBKeyRange.bound("b", "c", false, true)));
    return settled(store.getAllKeys());
  },

  "indexes are sparse": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, sessions);
    const transaction = db.transaction("sessions", "readwrite");
    const store = transaction.objectStore("sessions");
    store.put({ needs_backup: 1 }, "a");
    store.put({}, "b");
    store.put({ needs_backup: true }, "c");
    store.put({ needs_backup: null }, "d");
    store.put({ needs_backup: 1 }, "e");
    store.put({ sender_key: "k", kind: 1 }, "f");
    store.put("no object", "g");
    const before = await settled(store.index("backup").getAllKeys());
    store.put({}, "a");
    const after = [await settled(store.index("backup").count()), await settled(store.index("backup").getAll())];
    return [before, after, await settled(store.index("sender").count())];
  },

  "the compound index pages by key": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, sessions);
    const transaction = db.transaction("sessions", "readwrite");
    const store = transaction.objectStore("sessions");
    for (let index = 0; index < 30; index++) {
      const value = { sender_key: `s${index % 2}`, kind: index % 3, session_id: `i${String(index).padStart(2, "0")}` };
      store.put(value, `k${29 - index}`);
    }
    const sender = store.index("sender");
    const { IDBKeyRange } = idb;
    const from = IDBKeyRange.bound(["s1", 1, "i05"], ["s1", 1, []], true, false);
    return [
      await settled(sender.getAll(from, 3)),
      await settled(sender.getAllKeys(IDBKeyRange.lowerBound(["s1", 2]))),
      await settled(sender.getAll(IDBKeyRange.bound(["s0", 0, ""], ["s0", 0, "~"]))),
      await settled(sender.get(["s0", 0, "i00"])),
      await settled(sender.getKey(["s0", 0, "i00"])),
      await settled(sender.count(IDBKeyRange.upperBound(["s1"], true))),
    ];
  },

  "a unique index refuses a second record": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, gossip);
    const transaction = db.transaction("gossip", "readwrite");
    const store = transaction.objectStore("gossip");
    const outcomes = [
      await settled(store.put({ info: "x" }, "a")),
      await settled(store.put({ info: "x" }, "b"), true),
      await settled(store.put({ info: "x", unsent: 1 }, "a")),
      await settled(store.put({}, "c")),
      await settled(store.put({}, "d")),
      await settled(store.getAllKeys()),
    ];
    return [outcomes, await ended(transaction)];
  },

  "a failure that nobody prevents aborts all": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, gossip);
    const transaction = db.transaction("gossip", "readwrite");
    const store = transaction.objectStore("gossip");
    store.put({ info: "x" }, "a");
    const second = settled(store.put({ info: "x" }, "b"));
    const third = settled(store.put({ info: "z" }, "c"));
    const end = await ended(transaction);
    return [await second, await third, end, await readAll(db, "gossip")];
  },

  "errors bubble to the transaction and the database": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, gossip);
    const heard: string[] = [];
    const transaction = db.transaction("gossip", "readwrite");
    const over = new Promise<void>((resolve) => {
      db.onabort = () => {
        heard.push("database abort");
        resolve();
      };
    });
    db.onerror = () => heard.push("database error");
    transaction.onerror = () => heard.push("transaction error");
    transaction.onabort = () => heard.push("transaction abort");
    const store = transaction.objectStore("gossip");
    store.add(1, "a");
    store.add(2, "a").onerror = () => heard.push("request error");
    await over;
    return [heard, nameOf(transaction.error)];
  },

  "an index made later holds what was there": async (idb, name) => {
    (await filled(idb, name)).close();
    const db = await openDatabase(idb, name, 2, (upgrading, transaction) => {
      const store = transaction.objectStore("core");
      store.put({ key: "z" }, "put first");
      store.createIndex("by_key", "key");
      store.put({ key: "y" }, "put after");
      upgrading.deleteObjectStore("other");
    });
    const index = db.transaction("core").objectStore("core").index("by_key");
    return [
      await settled(index.getAllKeys()),
      index.unique,
      index.keyPath,
      index.name,
      [...index.objectStore.indexNames],
    ];
  },

  "a unique index over equal records aborts the upgrade": async (idb, name) => {
    const first = await openDatabase(idb, name, 1, plain);
    const transaction = first.transaction("core", "readwrite");
    transaction.objectStore("core").put({ x: 1 }, "a");
    transaction.objectStore("core").put({ x: 1 }, "b");
    await ended(transaction);
    first.close();
    const request = idb.indexedDB.open(name, 2);
    request.onupgradeneeded = () => request.transaction?.objectStore("core").createIndex("u", "x", { unique: true });
    const outcome = await settled(request);
    return [outcome, (await openDatabase(idb, name, undefined)).version];
  },

  "an index can be deleted": async (idb, name) => {
    (await openDatabase(idb, name, 1, gossip)).close();
    const db = await openDatabase(idb, name, 2, (_, transaction) => {
      transaction.objectStore("gossip").deleteIndex("by_info");
    });
    const store = db.transaction("gossip", "readwrite").objectStore("gossip");
    store.put({ info: "x" }, "a");
    return [await settled(store.put({ info: "x" }, "b")), [...store.indexNames], attempt(() => store.index("by_info"))];
  },

  "cursors walk forward": async (idb, name) => {
    const db = await filled(idb, name);
    const store = db.transaction("core").objectStore("core");
    const request = store.openCursor();
    const isInstance = await new Promise((resolve) => {
      request.onsuccess = () => {
        resolve(request.result instanceof idb.IDBCursorWithValue && request instanceof idb.IDBRequest);
      };
    });
    const none = await walk(store.openCursor(idb.IDBKeyRange.only("none")));
    return [isInstance, await walk(store.openCursor()), await walk(store.openCursor("b")), none];
  },

  "cursors walk indexes by key, then primary key": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, sessions);
    const store = db.transaction("sessions", "readwrite").objectStore("sessions");
    for (const key of ["d", "b", "a", "c"]) store.put({ needs_backup: key === "a" ? 2 : 1 }, key);
    const all = await walk(store.index("backup").openCursor());
    return [all, await walk(store.index("backup").openCursor(idb.IDBKeyRange.only(1)))];
  },

  "cursors update and delete as they go": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, sessions);
    const store = db.transaction("sessions", "readwrite").objectStore("sessions");
    for (let index = 0; index < 40; index++)
      store.put({ needs_backup: 1, index }, `k${String(index).padStart(2, "0")}`);
    const rows = await walk(store.index("backup").openCursor(), (cursor) => {
      const { index } = cursor.value as { index: number };
      if (index % 3 === 0) cursor.delete();
      else cursor.update(index % 2 === 0 ? { index } : { needs_backup: 1, index: index + 100 });
    });
    return [rows.length, await settled(store.getAll()), await settled(store.index("backup").getAllKeys())];
  },

  "a cursor sees what was written on its way": async (idb, name) => {
    const db = await filled(idb, name);
    const store = db.transaction("core", "readwrite").objectStore("core");
    return walk(store.openCursor(idb.IDBKeyRange.upperBound("c")), (cursor) => {
      if (cursor.key === "a") store.put("inserted", "aa");
      if (cursor.key === "b") store.delete("b\u001dx");
    });
  },

  "cursors jump and step": async (idb, name) => {
    const db = await filled(idb, name);
    const store = db.transaction("core").objectStore("core");
    const seen: unknown[] = [];
    const request = store.openCursor();
    await new Promise<void>((resolve) => {
      request.onsuccess = () => {
        const cursor = request.result as InstanceType<Idb["IDBCursorWithValue"]> | null;
        if (cursor === null) {
          resolve();
          return;
        }
        seen.push(cursor.key);
        if (seen.length === 1) {
          seen.push(
            attempt(() => {
              cursor.continue("a");
            }),
            attempt(() => {
              cursor.advance(0);
            }),
          );
          cursor.advance(2);
        } else if (seen.length === 4) cursor.continue("c");
        else cursor.continue();
        seen.push(
          attempt(() => {
            cursor.continue();
          }),
        );
      };
    });
    return seen;
  },

  "reading only cannot write": async (idb, name) => {
    const db = await filled(idb, name);
    const store = db.transaction("core").objectStore("core");
    return [attempt(() => store.put(1, "k")), attempt(() => store.delete("a")), attempt(() => store.clear())];
  },

  "commit without requests completes": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const transaction = db.transaction("core", "readwrite");
    transaction.commit();
    const late = [
      attempt(() => transaction.objectStore("core").put(1, "k")),
      attempt(() => {
        transaction.abort();
      }),
      attempt(() => {
        transaction.commit();
      }),
    ];
    return [late, await ended(transaction), attempt(() => transaction.objectStore("core"))];
  },

  "a transaction without requests completes by itself": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    return [await ended(db.transaction("core")), await ended(db.transaction("core", "readwrite"))];
  },

  "commit keeps what was placed": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const transaction = db.transaction("core", "readwrite");
    for (let index = 0; index < 50; index++) transaction.objectStore("core").put(index, `k${index}`);
    transaction.commit();
    return [await ended(transaction), ((await readAll(db)) as unknown[]).length];
  },

  "abort undoes, and tells the requests": async (idb, name) => {
    const db = await filled(idb, name);
    const transaction = db.transaction("core", "readwrite");
    const store = transaction.objectStore("core");
    await settled(store.put("changed", "a"));
    await settled(store.delete("b"));
    const pending = settled(store.put(1, "new"));
    transaction.abort();
    const end = ended(transaction);
    const again = attempt(() => {
      transaction.abort();
    });
    return [await pending, await end, again, await readAll(db), attempt(() => store.get("a"))];
  },

  "abort after a read": async (idb, name) => {
    const db = await filled(idb, name);
    const ends = [];
    for (let index = 0; index < 5; index++) {
      const transaction = db.transaction("core");
      ends.push(await settled(transaction.objectStore("core").get("a")));
      transaction.abort();
      ends.push(await ended(transaction));
    }
    return ends;
  },

  "a callback's microtasks may go on with the transaction": async (idb, name) => {
    const db = await filled(idb, name);
    const transaction = db.transaction("core", "readwrite");
    const store = transaction.objectStore("core");
    const first = await settled(store.get("a"));
    for (let index = 0; index < 10; index++) await Promise.resolve();
    const second = await settled(store.put("later", "a"));
    const late = await turn(1).then(() => attempt(() => store.get("a")));
    return [first, second, late];
  },

  "a transaction is inactive in the next task": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const transaction = db.transaction("core");
    const store = transaction.objectStore("core");
    await turn(1);
    return [attempt(() => store.get("a")), attempt(() => transaction.objectStore("core"))];
  },

  "writers of one store go one after another": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const order: string[] = [];
    const write = (label: string): Promise<unknown> => {
      const transaction = db.transaction("core", "readwrite");
      const store = transaction.objectStore("core");
      const request = store.get("n");
      request.onsuccess = () => {
        order.push(label);
        store.put(((request.result as number | undefined) ?? 0) + 1, "n");
      };
      return ended(transaction);
    };
    await Promise.all(["a", "b", "c", "d"].map(write));
    return [order, await readAll(db)];
  },

  "a reader sees the writer before it, not the one after": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const put = (value: number): Promise<string> => {
      const transaction = db.transaction("core", "readwrite");
      transaction.objectStore("core").put(value, "n");
      return ended(transaction);
    };
    const read = (): Promise<unknown> => settled(db.transaction("core").objectStore("core").get("n"));
    return Promise.all([put(1), read(), put(2), read()]);
  },

  "two connections see each other's commits": async (idb, name) => {
    const first = await filled(idb, name);
    const second = await openDatabase(idb, name, 1);
    const transaction = first.transaction("core", "readwrite");
    transaction.objectStore("core").put("from the first", "a");
    const seen = settled(second.transaction("core").objectStore("core").get("a"));
    return [await ended(transaction), await seen];
  },

  "close lets running transactions finish": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const transaction = db.transaction("core", "readwrite");
    transaction.objectStore("core").put(1, "k");
    db.close();
    const end = await ended(transaction);
    const again = await openDatabase(idb, name, 2);
    return [end, await readAll(again)];
  },

  "events in their order": async (idb, name) => {
    const db = await openDatabase(idb, name, 1, plain);
    const order: string[] = [];
    const transaction = db.transaction("core", "readwrite");
    const store = transaction.objectStore("core");
    for (const label of ["one", "two", "three"]) {
      store.put(1, label).onsuccess = () => {
        order.push(label);
        void Promise.resolve().then(() => order.push(`microtask of ${label}`));
      };
    }
    order.push(await ended(transaction));
    return order;
  },

  "a request before it is done": async (idb, name) => {
    const db = await filled(idb, name);
    const request = db.transaction("core").objectStore("core").get("a");
    const early = [request.readyState, attempt(() => request.result), attempt(() => request.error)];
    await settled(request);
    return [early, request.readyState, request.error];
  },

  "listeners besides handlers": async (idb, name) => {
    const db = await filled(idb, name);
    const heard: string[] = [];
    const transaction = db.transaction("core");
    transaction.addEventListener("complete", () => heard.push("complete"));
    const request = transaction.objectStore("core").get("a");
    const removed = (): number => heard.push("removed");
    request.addEventListener("success", removed);
    request.addEventListener("success", (event) => heard.push(event.type));
    request.removeEventListener("success", removed);
    await ended(transaction);
    await turn();
    return heard;
  },
};

export async function runCase(idb: Idb, title: string): Promise<unknown> {
  const run = behaviourCases[title];
  if (run === undefined) throw new Error(`no such case: ${title}`);
  try {
    // A hang is an outcome too: the suite goes on, and the record differs from that of the side that did not hang.
    const hung = turn(10_000).then(() => "hung");
    return plainOf(await Promise.race([run(idb, `case::${title}`), hung]));
  } catch (error) {
    return `threw ${nameOf(error)}: ${String(error)}`;
  }
}

/** JSON, with what it cannot say spelled out, so that records from a page compare. */
export function plainOf(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => (member === undefined ? "(undefined)" : member));
}

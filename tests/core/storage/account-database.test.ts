import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
  openSync,
  writeSync,
  closeSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import Database from "better-sqlite3";
import { afterAll, expect, test } from "vitest";
import { migrate, openAccountDatabase } from "../../../main/core/storage/database.ts";
import { migrations } from "../../../main/core/storage/migrations/index.ts";
import { asCoreError } from "../../../main/core/errors.ts";

const root = mkdtempSync(path.join(tmpdir(), "tessera-storage-"));
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});
const key = (name = "right") => new Uint8Array(createHash("sha256").update(name).digest());
const versions = new URL("../../fixtures/account-versions/", import.meta.url);
let files = 0;
const newFile = () => path.join(root, `${++files}.db`);
const codeOf = (work: () => unknown) => {
  try {
    work();
    return "none";
  } catch (error) {
    return asCoreError(error).code;
  }
};
/** A closed database with some rows in it. */
function filled(): string {
  const file = newFile();
  const db = openAccountDatabase(file, key(), false);
  db.transaction(() => {
    for (let n = 0; n < 2000; n++)
      db.run("insert into meta(key, value) values(?, ?)", `key ${n}`, "a value of some length ".repeat(5));
  });
  db.close();
  return file;
}

test("a wrong key is told as a damaged database, and the file stays as it was", () => {
  const file = filled();
  const before = readFileSync(file);
  expect(codeOf(() => openAccountDatabase(file, key("wrong"), false))).toBe("database-corrupt");
  expect(readFileSync(file).equals(before)).toBe(true);
  const db = openAccountDatabase(file, key(), true);
  expect(db.get<{ n: number }>("select count(*) n from meta")?.n).toBe(2000);
  db.close();
});

test("bytes changed anywhere in the file are found by the check after a disorderly stop", () => {
  const size = statSync(filled()).size;
  for (const place of [0, 20, 4096 + 50, Math.floor(size / 2), size - 100]) {
    const file = filled();
    const handle = openSync(file, "r+");
    writeSync(handle, Buffer.alloc(64, 0x5a), 0, 64, place);
    closeSync(handle);
    expect(codeOf(() => openAccountDatabase(file, key(), true))).toBe("database-corrupt");
  }
});

test("a file that is cut off, empty of sense or no database is a damaged one", () => {
  const cut = filled();
  truncateSync(cut, Math.floor(statSync(cut).size / 2));
  expect(codeOf(() => openAccountDatabase(cut, key(), true))).toBe("database-corrupt");
  const text = newFile();
  writeFileSync(text, "this is a text file\n".repeat(1000));
  expect(codeOf(() => openAccountDatabase(text, key(), true))).toBe("database-corrupt");
});

test("a damaged page is met as database-corrupt while it is used, also without a check", () => {
  const file = filled();
  const handle = openSync(file, "r+");
  for (let page = 2; page * 4096 + 64 < statSync(file).size; page++)
    writeSync(handle, Buffer.alloc(64, 0x5a), 0, 64, page * 4096 + 64);
  closeSync(handle);
  expect(
    codeOf(() => {
      const db = openAccountDatabase(file, key(), false);
      try {
        db.all("select * from meta");
      } finally {
        db.close();
      }
    }),
  ).toBe("database-corrupt");
});

test("a transaction that fails leaves nothing; one within another joins it", () => {
  const db = openAccountDatabase(newFile(), key(), false);
  expect(() =>
    db.transaction(() => {
      db.run("insert into meta(key, value) values('a', '1')");
      db.transaction(() => db.run("insert into meta(key, value) values('b', '1')"));
      throw new Error("no");
    }),
  ).toThrow("no");
  expect(db.all("select * from meta")).toEqual([]);
  db.close();
});

test("a database made by version 1 opens, with what was in it", () => {
  const file = newFile();
  copyFileSync(new URL("../../fixtures/account-version-1.db", import.meta.url), file);
  const db = openAccountDatabase(file, key("fixture"), true);
  expect(db.get<{ v: number }>("select user_version v from pragma_user_version")?.v).toBe(migrations.length);
  expect(db.get<{ value: string }>("select value from meta where key = 'sync_token'")?.value).toBe("s1_fixture");
  expect(db.get<{ name: string }>("select name from rooms")?.name).toBe("A room of the first version");
  db.close();
});

test.each(readdirSync(versions).map((name) => Number(name.replace(".sql", ""))))(
  "a database of version %i becomes what a new one is, and keeps what was in it",
  (version) => {
    const db = new Database(":memory:");
    db.exec(readFileSync(new URL(`${version}.sql`, versions), "utf8"));
    migrate(db);
    const fresh = new Database(":memory:");
    migrate(fresh);
    const schema = (one: Database.Database) =>
      one
        .prepare<[], { name: string; type: string }>("select type, name from sqlite_schema order by type, name")
        .all()
        .map(({ type, name }) => ({
          type,
          name,
          columns: one.prepare('select name, type, "notnull", pk from pragma_table_info(?) order by name').all(name),
        }));
    expect(schema(db)).toEqual(schema(fresh));
    expect(db.pragma("user_version", { simple: true })).toBe(migrations.length);
    expect(db.prepare("select name from rooms").pluck().all()).toEqual([`A room of version ${version}`]);
    const marked = "select event_id from events where trust ->> '$.reason' = 'unsigned-device'";
    expect(db.prepare(marked).pluck().all()).toEqual(["$0"]);
    const waiting =
      "select event_id from events where undecryptable ->> '$.nextTryMs' <= 3 and undecryptable is not null";
    expect(db.prepare(waiting).pluck().all()).toEqual(["$1"]);
    db.close();
    fresh.close();
  },
);

test("every version has its stored database", () => {
  expect(
    readdirSync(versions)
      .map((name) => Number(name.replace(".sql", "")))
      .sort((a, b) => a - b),
  ).toEqual(migrations.map((_, index) => index + 1));
});

test("each step is taken once, in order, and a newer file than this build knows is refused untouched", () => {
  const file = newFile();
  openAccountDatabase(file, key(), false).close();
  openAccountDatabase(file, key(), false).close();
  const newer = openAccountDatabase(file, key(), false);
  newer.run(`insert into meta(key, value) values('kept', 'yes')`);
  newer.close();
  const ran: string[] = [];
  const pragmas: string[] = [];
  const pretend = (version: number) => ({
    pragma: (source: string) => (source === "user_version" ? version : pragmas.push(source)),
    exec: (step: string) => ran.push(step),
    transaction: (work: () => void) => work,
  });
  // the three calls of the driver that migrate() makes
  migrate(pretend(0) as unknown as Parameters<typeof migrate>[0]);
  expect(ran).toEqual([...migrations]);
  expect(() => {
    migrate(pretend(migrations.length + 1) as unknown as Parameters<typeof migrate>[0]);
  }).toThrow(/newer version/);
});

const canMount = process.platform === "linux" && process.getuid?.() === 0;

test("a full disk is disk-full, nothing half is kept, and it goes on when there is room", () => {
  const folder = path.join(root, "small");
  mkdirSync(folder);
  // a real full disk where one can be made, else the size limit that SQLite itself enforces
  if (canMount) execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]);
  try {
    const db = openAccountDatabase(path.join(folder, "account.db"), key(), false);
    if (!canMount) db.get("pragma max_page_count = 120");
    let written = 0;
    const fill = () => {
      for (;;) {
        db.run("insert into meta(key, value) values(?, ?)", `key ${written}`, "x".repeat(3000));
        written++;
      }
    };
    expect(codeOf(fill)).toBe("disk-full");
    expect(db.get<{ n: number }>("select count(*) n from meta")?.n).toBe(written);
    if (canMount) execFileSync("mount", ["-o", "remount,size=8m", folder]);
    else db.get("pragma max_page_count = 4000");
    db.run("insert into meta(key, value) values('again', 'yes')");
    db.close();
    const again = openAccountDatabase(path.join(folder, "account.db"), key(), true);
    expect(again.get<{ n: number }>("select count(*) n from meta")?.n).toBe(written + 1);
    again.close();
  } finally {
    if (canMount) execFileSync("umount", [folder]);
  }
});

test("no byte of what is stored stands in the files in clear, the write-ahead log included", async () => {
  const file = newFile();
  const db = openAccountDatabase(file, key(), false);
  db.run("insert into meta(key, value) values('sync_token', 'a secret that is easy to find')");
  await db.barrier();
  for (const name of readdirSync(root).filter((one) => one.startsWith(path.basename(file)))) {
    const bytes = readFileSync(path.join(root, name));
    for (const words of [
      "a secret that is easy to find",
      "sync_token",
      "CREATE TABLE",
      "create table",
      "SQLite format",
    ])
      expect(bytes.includes(words), `${words} in ${name}`).toBe(false);
  }
  db.close();
});

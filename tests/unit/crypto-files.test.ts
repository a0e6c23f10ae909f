import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { moveCryptoAside } from "../../main/core/storage/crypto-files.ts";

const parts = ["crypto.snapshot.db", "crypto.db-shm", "crypto.db-wal", "crypto.db"];
const others = ["account.db", "account.db-wal", "in-use"];

function folderWith(names: string[], content = (name: string) => name): string {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-files-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  for (const name of names) writeFileSync(path.join(folder, name), content(name));
  return folder;
}
const contents = (folder: string) =>
  Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name), "utf8")]));
const aside = (folder: string) => readdirSync(folder).filter((name) => /^crypto\.[0-9a-f]{16}/.test(name));

test("the whole of crypto.db goes aside under one name that does not tell the device, and nothing else moves", () => {
  const folder = folderWith([...parts, ...others]);
  moveCryptoAside(folder, "DEVICE/../ID");
  const names = aside(folder);
  expect(names.map((name) => name.slice("crypto.".length + 16)).toSorted()).toEqual(
    [".db", ".db-shm", ".db-wal", ".snapshot.db"].toSorted(),
  );
  expect(new Set(names.map((name) => name.slice(0, "crypto.".length + 16))).size).toBe(1);
  expect(readdirSync(folder).toSorted()).toEqual([...names, ...others].toSorted());
  for (const name of names) expect(contents(folder)[name]).toBe(`crypto${name.slice("crypto.".length + 16)}`);
});

test.each([0, 1, 2, 3, 4])("killed after %i of the moves, the same call ends with the same files", (moved) => {
  const whole = folderWith(parts);
  moveCryptoAside(whole, "OLD");
  const wanted = contents(whole);
  const moves = parts.map((part) => [part, Object.keys(wanted).find((name) => wanted[name] === part) ?? ""] as const);
  const half = folderWith([]);
  for (const [index, [from, to]] of moves.entries()) writeFileSync(path.join(half, index < moved ? to : from), from);
  moveCryptoAside(half, "OLD");
  expect(contents(half)).toEqual(wanted);
});

test("after an orderly stop there is the database alone; where there is none, nothing happens", () => {
  const folder = folderWith(["crypto.db", "account.db"]);
  moveCryptoAside(folder, "OLD");
  expect(aside(folder)).toHaveLength(1);
  const before = contents(folder);
  moveCryptoAside(folder, "OLD");
  expect(contents(folder)).toEqual(before);
});

test("what was put aside before is never overwritten, not even for the same device", () => {
  const folder = folderWith(["crypto.db"], () => "first");
  moveCryptoAside(folder, "OLD");
  writeFileSync(path.join(folder, "crypto.db"), "second");
  writeFileSync(path.join(folder, "crypto.db-wal"), "second's log");
  moveCryptoAside(folder, "OLD");
  writeFileSync(path.join(folder, "crypto.db"), "third");
  moveCryptoAside(folder, "OTHER");
  expect(Object.values(contents(folder)).toSorted()).toEqual(["first", "second", "second's log", "third"]);
});

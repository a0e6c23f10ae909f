import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { OlmMachine, initAsync } from "@matrix-org/matrix-sdk-crypto-wasm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeKeyFile } from "../../../main/core/features/backup/key-file/write.ts";
import { madeUpKeys } from "../../bench/made-up-keys.ts";
import { sameAs, startCore, type Core } from "../core.ts";
import { useHomeserver } from "../people.ts";

const { person } = useHomeserver();
const folder = mkdtempSync(path.join(tmpdir(), "tessera-keys-"));
beforeAll(() => initAsync());
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const passphrase = "a passphrase of the file";
type Session = { session_id: string; session_key: string };
const count = process.env["TESSERA_FULL"] === "1" ? 20_000 : 1500;
/** So many that whoever hears of the first of them comes before the last. */
const many = Math.max(count, 5000);
let manyKeys: string | undefined;
const manyMade = () => (manyKeys ??= madeUpKeys(many, 40));
let files = 0;
const place = () => path.join(folder, `keys-${++files}.txt`);
const theirs = (json: string) => {
  const file = place();
  writeFileSync(file, OlmMachine.encryptExportedRoomKeys(json, passphrase, 5000));
  return file;
};
/** Rust crypto writes no file of what it would not read. */
const ours = async (sessions: unknown[]) => {
  const file = place();
  async function* batches() {
    yield sessions.map((session) => JSON.stringify(session));
    await Promise.resolve();
  }
  const signal = new AbortController().signal;
  await writeKeyFile({ path: file, passphrase, sessions: batches(), signal, wrote: () => undefined, rounds: 5000 });
  return file;
};
const importing = (core: Core, file: string, operationId = randomUUID() as string) =>
  core.ok("backup.importKeys", { path: file, passphrase, operationId });
const exporting = (core: Core, file: string, operationId = randomUUID() as string) =>
  core.ok("backup.exportKeys", { path: file, passphrase, operationId });
const partial = () => readdirSync(folder).filter((name) => name.endsWith(".part"));

test("a file that Rust crypto wrote is imported, ours is read by Rust crypto, and both hold the same keys", async () => {
  const ana = await person("ana");
  const json = madeUpKeys(count, 40);
  const result = await importing(ana.core, theirs(json));
  expect(result).toMatchObject({ total: count, imported: count, alreadyHad: 0, failed: [] });
  const file = place();
  const written = await exporting(ana.core, file);
  expect(written).toEqual({ exported: count, sizeBytes: statSync(file).size });
  const read = JSON.parse(OlmMachine.decryptExportedRoomKeys(readFileSync(file, "utf8"), passphrase)) as Session[];
  const keysOf = (sessions: Session[]) => new Map(sessions.map((one) => [one.session_id, one.session_key]));
  expect(keysOf(read)).toEqual(keysOf(JSON.parse(json) as Session[]));
  expect(await importing(ana.core, file)).toMatchObject({ total: count, imported: 0, alreadyHad: count });
});

test("sessions that are damaged, or not what they say, are named and stop nothing", async () => {
  const ana = await person("ana");
  const sessions = JSON.parse(madeUpKeys(5, 1)) as (Session & Record<string, unknown>)[];
  const [first, second, third] = sessions;
  if (first === undefined || second === undefined || third === undefined) throw new Error("five were made");
  first.session_id = second.session_id;
  third.session_key = "AAAA";
  const result = await importing(ana.core, await ours([...sessions, 7]));
  expect(result).toMatchObject({ total: 6, imported: 3, alreadyHad: 0 });
  expect(result.failed.map((key) => key.reason)).toEqual(["other-session", "malformed", "malformed"]);
});

test("a killed import goes on where it was with the same file, and refuses another", async () => {
  const ana = await person("ana");
  const file = theirs(manyMade());
  const operationId = randomUUID();
  void ana.core.call("backup.importKeys", { path: file, passphrase, operationId });
  await ana.core.nextEvent("backup.progress", (progress) => progress.done > 0);
  await ana.core.kill();
  const again = await startCore(sameAs(ana.core));
  expect(await again.ok("backup.operations", {})).toMatchObject([{ operationId, at: "interrupted", kind: "import" }]);
  const other = theirs(madeUpKeys(1, 1));
  expect(await again.call("backup.importKeys", { path: other, passphrase, operationId })).toMatchObject({
    ok: false,
    error: { code: "conflict" },
  });
  const resumed = await again.call("backup.importKeys", { path: file, passphrase, operationId: randomUUID() });
  expect(resumed).toMatchObject({ ok: true, value: { total: many, failed: [] } });
  await again.stop();
});

test("a killed export leaves nothing under the file's name", async () => {
  const ana = await person("ana");
  await importing(ana.core, theirs(manyMade()));
  const file = place();
  void ana.core.call("backup.exportKeys", { path: file, passphrase, operationId: randomUUID() });
  await ana.core.nextEvent("backup.progress", (progress) => progress.kind === "export" && progress.done > 0);
  await ana.core.kill();
  expect(existsSync(file)).toBe(false);
  const again = await startCore(sameAs(ana.core));
  expect((await exporting(again, file)).exported).toBe(many);
  await again.stop();
});

test("a cancelled export leaves nothing at all", async () => {
  const ana = await person("ana");
  await importing(ana.core, theirs(manyMade()));
  const before = partial();
  const file = place();
  const operationId = randomUUID();
  const begun = ana.core.call("backup.exportKeys", { path: file, passphrase, operationId });
  await ana.core.nextEvent("backup.progress", (progress) => progress.operationId === operationId && progress.done > 0);
  await ana.core.ok("backup.cancel", { operationId });
  expect(await begun).toMatchObject({ ok: false, error: { code: "cancelled" } });
  expect(existsSync(file)).toBe(false);
  expect(partial()).toEqual(before);
});

test("a wrong passphrase imports nothing", async () => {
  const ana = await person("ana");
  const file = theirs(madeUpKeys(3, 1));
  const answer = await ana.core.call("backup.importKeys", {
    path: file,
    passphrase: "other",
    operationId: randomUUID(),
  });
  expect(answer).toMatchObject({ ok: false, error: { code: "wrong-key", details: { kind: "passphrase" } } });
  expect((await exporting(ana.core, place())).exported).toBe(0);
});

import fc from "fast-check";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openCryptoStore, type CryptoStore } from "../../../main/core/storage/crypto-store/index.ts";
import { behaviourCases, runCase } from "./behaviour-cases.ts";
import { openChromiumPage, type ChromiumPage } from "./chromium-page.ts";
import { runSequence, type RangeSpec, type Step, type TransactionSpec } from "./random-sequences.ts";

const directory = mkdtempSync(join(tmpdir(), "tessera-conformance-"));
let store: CryptoStore;
let chromium: ChromiumPage;

beforeAll(async () => {
  store = openCryptoStore({ file: join(directory, "crypto.db"), key: Buffer.alloc(32, 1) });
  chromium = await openChromiumPage();
  console.log(`[real] ${chromium.version} IndexedDB on disk against ${store.describe()}`);
});

afterAll(async () => {
  await chromium.close();
  store.close();
  rmSync(directory, { recursive: true });
});

const caseInChromium = (title: string): Promise<unknown> => {
  return chromium.call("/tests/core/crypto-store/behaviour-cases.ts", "runCase", title);
};
const sequenceInChromium = async (transactions: TransactionSpec[]): Promise<string> => {
  return String(await chromium.call("/tests/core/crypto-store/random-sequences.ts", "runSequence", transactions));
};

test.for(Object.keys(behaviourCases))("as Chromium does: %s", async (title) => {
  const ours = await runCase(store.globals, title);
  expect(ours).toEqual(await caseInChromium(title));
  expect(ours).not.toMatch(/^"?threw/);
});

const key = fc.constantFrom("a", "b", "c", "d", "e", "f", "g");
const bound = fc.option(key, { nil: undefined });
const range: fc.Arbitrary<RangeSpec> = fc.record({
  lower: bound,
  upper: bound,
  lowerOpen: fc.boolean(),
  upperOpen: fc.boolean(),
});
const over = fc.constantFrom("store", "tag", "info", "both");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom("put", "put", "add"),
      key,
      tag: fc.option(fc.integer({ min: 0, max: 3 })),
      info: fc.option(key),
    }),
  },
  fc.record({ kind: fc.constantFrom("get", "delete"), key }),
  fc.record({ kind: fc.constantFrom("deleteRange", "countRange"), range }),
  fc.record({ kind: fc.constantFrom("getAll", "getAllKeys"), range, limit: fc.nat(4), over }),
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("walk"),
      range,
      over: fc.constantFrom("store", "tag", "both"),
      change: fc.constantFrom("none", "none", "update", "delete"),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: "clear" }) },
);
const transaction: fc.Arbitrary<TransactionSpec> = fc.record({
  mode: fc.constantFrom("readwrite", "readwrite", "readonly"),
  steps: fc.array(step, { maxLength: 14 }),
  end: fc.constantFrom("commit", "abort", "leave"),
});

test("as Chromium does: random sequences of operations", async () => {
  const numRuns = process.env.TESSERA_FULL === "1" ? 1000 : 80;
  await fc.assert(
    fc.asyncProperty(fc.array(transaction, { minLength: 1, maxLength: 4 }), async (transactions) => {
      const [ours, theirs] = await Promise.all([
        runSequence(store.globals, transactions),
        sequenceInChromium(transactions),
      ]);
      expect(JSON.parse(ours)).toEqual(JSON.parse(theirs));
    }),
    { seed: 20_260, numRuns },
  );
}, 600_000);

test("the comparison can fail: a difference in one record is seen", async () => {
  const steps: Step[] = [{ kind: "put", key: "a", tag: 1, info: null }];
  const ours = await runSequence(store.globals, [{ mode: "readwrite", steps, end: "commit" }]);
  const theirs = await sequenceInChromium([{ mode: "readwrite", steps, end: "abort" }]);
  expect(ours).not.toEqual(theirs);
});

import { randomBytes } from "node:crypto";
import fc from "fast-check";
import * as v from "valibot";
import { expect, test } from "vitest";
import { deriveFileKey, seal, unseal } from "../../main/host/key-derivation.ts";
import {
  passphraseSlotSchema,
  unwrapWithPassphrase,
  wrapWithPassphrase,
  type PassphraseSlot,
} from "../../main/host/passphrase-slot.ts";

const rootKey = randomBytes(32);
const made = wrapWithPassphrase(rootKey, "correct horse", "profile");

test("the passphrase opens its slot, another does not, nor in another profile", async () => {
  const slot = await made;
  expect(await unwrapWithPassphrase(slot, "correct horse", "profile")).toEqual(rootKey);
  expect(await unwrapWithPassphrase(slot, "correct horse ", "profile")).toBeUndefined();
  expect(await unwrapWithPassphrase(slot, "correct horse", "other")).toBeUndefined();
});

test("scrypt costs N = 2^17, r = 8, p = 1, and each slot has its own salt", async () => {
  const slot = await made;
  expect(slot).toMatchObject({ kdf: "scrypt", cost: 131_072, blockSize: 8, parallelization: 1 });
  const another = await wrapWithPassphrase(rootKey, "correct horse", "profile");
  expect(another.salt).not.toBe(slot.salt);
  expect(another.wrapped).not.toBe(slot.wrapped);
});

test("one passphrase typed on two systems is one: composed and decomposed letters are the same", async () => {
  const slot = await wrapWithPassphrase(rootKey, "\u00fcber", "profile");
  expect(await unwrapWithPassphrase(slot, "u\u0308ber", "profile")).toEqual(rootKey);
});

test.each([
  ["cost below 2^15", { cost: 2 ** 14 }],
  ["cost above 2^20", { cost: 2 ** 21 }],
  ["cost that is no power of two", { cost: 2 ** 17 + 2 }],
  ["cost that is no integer", { cost: 131_072.5 }],
  ["block size 32", { blockSize: 32 }],
  ["block size 0", { blockSize: 0 }],
  ["parallelization 5", { parallelization: 5 }],
  ["parallelization 0", { parallelization: 0 }],
  ["another function", { kdf: "pbkdf2" }],
  ["another version", { version: 2 }],
  ["a short salt", { salt: "AAAA" }],
  ["a long wrapped key", { wrapped: "A".repeat(200) }],
  ["a field more", { more: 1 }],
])("%s is no slot", async (_what, change) => {
  const slot = await made;
  expect(v.safeParse(passphraseSlotSchema, slot).success).toBe(true);
  expect(v.safeParse(passphraseSlotSchema, { ...slot, ...change }).success).toBe(false);
});

test("every part of the header is authenticated with the key", async () => {
  const slot = await made;
  const flip = (text: string) => `${text.startsWith("A") ? "B" : "A"}${text.slice(1)}`;
  const changes: Partial<PassphraseSlot>[] = [
    { cost: 2 ** 16 },
    { blockSize: 9 },
    { parallelization: 2 },
    { salt: flip(slot.salt) },
    { wrapped: flip(slot.wrapped) },
  ];
  for (const change of changes)
    expect(await unwrapWithPassphrase({ ...slot, ...change }, "correct horse", "profile")).toBeUndefined();
});

test("sealed bytes open with the same key and the same bound words alone, and no flipped bit passes", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.string(),
      fc.nat(),
      fc.integer({ min: 0, max: 7 }),
      (plain, bound, at, bit) => {
        const sealed = seal(rootKey, plain, bound);
        expect(unseal(rootKey, sealed, bound)).toEqual(Buffer.from(plain));
        expect(unseal(rootKey, sealed, `${bound}.`)).toBeUndefined();
        expect(unseal(randomBytes(32), sealed, bound)).toBeUndefined();
        const index = at % sealed.length;
        sealed[index] = (sealed[index] ?? 0) ^ (1 << bit);
        expect(unseal(rootKey, sealed, bound)).toBeUndefined();
      },
    ),
    { numRuns: 200, seed: 1 },
  );
  for (let length = 0; length < 28; length += 1) expect(unseal(rootKey, new Uint8Array(length), "")).toBeUndefined();
});

test("each file of each account of each profile has its own key, and always the same", () => {
  const keys = ["profile", "other"].flatMap((profile) =>
    ["one", "two"].flatMap((folder) =>
      ["crypto.db", "account.db"].map((file) =>
        Buffer.from(deriveFileKey(rootKey, profile, folder, file)).toString("hex"),
      ),
    ),
  );
  expect(new Set(keys).size).toBe(8);
  expect(Buffer.from(deriveFileKey(rootKey, "profile", "one", "crypto.db")).toString("hex")).toBe(keys[0]);
  // computed with another implementation of RFC 5869; a change here would lose every database that exists
  expect(Buffer.from(deriveFileKey(Buffer.alloc(32, 7), "p", "f", "crypto.db")).toString("hex")).toBe(
    "4123c65bfb053d4142f782ab2f089fc72f8d7743da2da71ba25fa914f5859055",
  );
});

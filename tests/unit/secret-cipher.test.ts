import fc from "fast-check";
import decryptBySdk from "matrix-js-sdk/lib/utils/decryptAESSecretStorageItem.js";
import encryptBySdk from "matrix-js-sdk/lib/utils/encryptAESSecretStorageItem.js";
import { calculateKeyCheck } from "matrix-js-sdk/lib/secret-storage.js";
import { deriveRecoveryKeyFromPassphrase } from "matrix-js-sdk/lib/crypto-api/key-passphrase.js";
import { expect, test } from "vitest";
import { canonicalJson } from "../../main/core/matrix/canonical-json.ts";
import {
  algorithm,
  describeKey,
  fitsKey,
  keyCheck,
  keyFromPassphrase,
  open,
  seal,
} from "../../main/core/matrix/secret-cipher.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Uint8Array.from(bytes));
const name = "m.cross_signing.master";

test("matrix-js-sdk opens what we seal, and we open what it seals", async () => {
  await fc.assert(
    fc.asyncProperty(key, fc.string({ maxLength: 200 }), async (bytes, secret) => {
      expect(await decryptBySdk(seal(bytes, name, secret), bytes, name)).toBe(secret);
      expect(open(bytes, name, await encryptBySdk(secret, bytes, name))).toBe(secret);
    }),
    { numRuns: 30 },
  );
});

test("bit 63 of the initialisation vector is clear", () => {
  const bytes = new Uint8Array(32);
  for (let i = 0; i < 50; i++) expect((Buffer.from(seal(bytes, name, "x").iv, "base64")[8] ?? 255) & 0x80).toBe(0);
});

test("another key, another name, and any altered byte do not open", () => {
  fc.assert(
    fc.property(
      key,
      fc.constantFrom("iv", "ciphertext", "mac"),
      fc.nat(15),
      fc.integer({ min: 1, max: 255 }),
      (bytes, part, at, by) => {
        const sealed = seal(bytes, name, "sixteen bytes or more");
        const altered = Buffer.from(sealed[part as "mac"], "base64");
        altered[at] = (altered[at] ?? 0) ^ by;
        const opened = open(bytes, name, { ...sealed, [part]: altered.toString("base64") });
        // the initialisation vector is not under the MAC: such a secret opens as something else, and is refused by its public half
        if (part === "iv") expect(opened).not.toBe("sixteen bytes or more");
        else expect(opened).toBeUndefined();
        expect(open(bytes, "m.cross_signing.self_signing", sealed)).toBeUndefined();
        expect(
          open(
            bytes.map((byte) => byte ^ 1),
            name,
            sealed,
          ),
        ).toBeUndefined();
      },
    ),
  );
});

test("what is no sealed secret is none, whatever its shape", () => {
  const bytes = new Uint8Array(32);
  const sealed = seal(bytes, name, "x");
  for (const wrong of [
    undefined,
    null,
    1,
    "x",
    [],
    {},
    { ...sealed, mac: undefined },
    { ...sealed, iv: "AA" },
    { ...sealed, ciphertext: 7 },
    { ...sealed, mac: "###" },
    { ...sealed, ciphertext: "A".repeat(1_000_000) },
  ])
    expect(open(bytes, name, wrong)).toBeUndefined();
  fc.assert(fc.property(fc.anything(), (any) => open(bytes, name, any) === undefined));
});

test("the check of a key is that of matrix-js-sdk, padded or not", async () => {
  const bytes = new Uint8Array(32).fill(3);
  const theirs = await calculateKeyCheck(bytes);
  expect(fitsKey(bytes, theirs)).toBe(true);
  expect(fitsKey(bytes, { iv: theirs.iv.replace(/=+$/, ""), mac: theirs.mac.replace(/=+$/, "") })).toBe(true);
  const ours = keyCheck(bytes);
  expect((await calculateKeyCheck(bytes, ours.iv)).mac.replace(/=+$/, "")).toBe(ours.mac);
  expect(fitsKey(new Uint8Array(32), theirs)).toBe(false);
});

test("a passphrase gives the key that matrix-js-sdk derives", async () => {
  const parameters = { salt: "s\u00e4lt", iterations: 1000 };
  expect(Uint8Array.from(await keyFromPassphrase("correct h\u00f6rse", parameters))).toEqual(
    await deriveRecoveryKeyFromPassphrase("correct h\u00f6rse", parameters.salt, parameters.iterations),
  );
});

const described = { algorithm, ...keyCheck(new Uint8Array(32)) };
const withPassphrase = (passphrase: unknown) => describeKey({ ...described, passphrase });
const pbkdf2 = { algorithm: "m.pbkdf2", salt: "salt", iterations: 500_000 };

test.each([
  [{ ...described, algorithm: "m.secret_storage.v2" }, "unknown-algorithm"],
  [{ ...described, algorithm: undefined }, "unknown-algorithm"],
  [{ ...described, mac: undefined }, "no-key-check"],
  [{ ...described, iv: undefined }, "no-key-check"],
  [{ ...described, mac: "AAAA" }, "malformed"],
  [{ ...described, iv: 16 }, "malformed"],
  ["text", "malformed"],
])("a description that cannot be used is refused with its reason: %#", (content, reason) => {
  expect(describeKey(content)).toEqual({ at: "refused", reason });
});

test.each([0, 1, 999, 10_000_001, 2 ** 31, 1.5, -5, "500000", undefined])(
  "%s rounds are refused, and the recovery key still opens",
  (iterations) => {
    expect(withPassphrase({ ...pbkdf2, iterations })).toMatchObject({ at: "known", passphraseRefused: "rounds" });
  },
);

test.each([{ ...pbkdf2, algorithm: "m.scrypt" }, { ...pbkdf2, bits: 128 }, { ...pbkdf2, salt: 7 }, "text"])(
  "a passphrase of another form is refused: %#",
  (passphrase) => {
    expect(withPassphrase(passphrase)).toMatchObject({ at: "known", passphraseRefused: "form" });
  },
);

test("1,000 to 10,000,000 rounds are taken", () => {
  for (const iterations of [1000, 500_000, 10_000_000])
    expect(withPassphrase({ ...pbkdf2, iterations, bits: 256 })).toMatchObject({
      passphrase: { salt: "salt", iterations },
    });
});

test("canonical JSON is that of the specification's examples", () => {
  expect(canonicalJson({ one: 1, two: "Two" })).toBe('{"one":1,"two":"Two"}');
  expect(canonicalJson({ b: "2", a: "1" })).toBe('{"a":"1","b":"2"}');
  expect(
    canonicalJson({
      auth: {
        success: true,
        mxid: "@john.doe:example.com",
        profile: { three_pids: [{ medium: "email", address: "x" }] },
      },
    }),
  ).toBe(
    '{"auth":{"mxid":"@john.doe:example.com","profile":{"three_pids":[{"address":"x","medium":"email"}]},"success":true}}',
  );
  expect(canonicalJson({ a: "\u65e5\u672c\u8a9e" })).toBe('{"a":"\u65e5\u672c\u8a9e"}');
  expect(canonicalJson({ "\u672c": 2, "\u65e5": 1 })).toBe('{"\u65e5":1,"\u672c":2}');
  expect(canonicalJson({ a: null, b: undefined })).toBe('{"a":null}');
});

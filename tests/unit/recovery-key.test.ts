import fc from "fast-check";
import {
  decodeRecoveryKey as sdkDecode,
  encodeRecoveryKey as sdkEncode,
} from "matrix-js-sdk/lib/crypto-api/recovery-key.js";
import { expect, test } from "vitest";
import { CoreError } from "../../main/core/errors.ts";
import { decodeRecoveryKey, encodeRecoveryKey } from "../../main/core/matrix/recovery-key.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
const fault = (typed: string): unknown => {
  try {
    decodeRecoveryKey(typed);
  } catch (error) {
    expect(error).toBeInstanceOf(CoreError);
    expect((error as CoreError).code).toBe("wrong-key");
    if (typed.length > 8) expect((error as CoreError).message).not.toContain(typed);
    return (error as CoreError).details;
  }
  return undefined;
};

test("the specification's form: matrix-js-sdk reads ours, and we read its", () => {
  fc.assert(
    fc.property(key, (bytes) => {
      expect(encodeRecoveryKey(bytes)).toBe(sdkEncode(bytes));
      expect(sdkDecode(encodeRecoveryKey(bytes))).toEqual(Uint8Array.from(bytes));
      expect(decodeRecoveryKey(sdkEncode(bytes) ?? "")).toEqual(Uint8Array.from(bytes));
    }),
  );
});

test("spaces, line breaks, dashes, groups of any size and full-width letters are no typos", () => {
  const bytes = new Uint8Array(32).map((_, index) => index * 7);
  const written = encodeRecoveryKey(bytes);
  const bare = written.replaceAll(" ", "");
  const wide = bare.replace(/[A-Za-z0-9]/g, (one) => String.fromCharCode(one.charCodeAt(0) + 0xfee0));
  for (const typed of [
    bare,
    `\t${written}\r\n`,
    written.replaceAll(" ", " \u2013 "),
    written.replaceAll(" ", "\u00a0"),
    bare.replace(/.{6}/g, "$&-"),
    `\u200b${written}\ufeff`,
    wide,
  ])
    expect(decodeRecoveryKey(typed)).toEqual(bytes);
});

test("characters that base58 leaves out are read as those that they look like", () => {
  fc.assert(
    fc.property(key, (bytes) => {
      const written = encodeRecoveryKey(bytes);
      expect(decodeRecoveryKey(written.replaceAll("o", "0"))).toEqual(Uint8Array.from(bytes));
      expect(decodeRecoveryKey(written.replaceAll("o", "O"))).toEqual(Uint8Array.from(bytes));
      const inner = written.slice(3);
      const one = /[1iL]/.exec(inner)?.index;
      if (one === undefined) return;
      const typed =
        written.slice(0, 3) +
        inner.slice(0, one) +
        (inner[one] === "L" ? "l" : inner[one] === "i" ? "I" : "l") +
        inner.slice(one + 1);
      // read in two ways, of which one in 256 pairs has both right: then nothing is guessed
      const read = fault(typed);
      if (read === undefined) expect(decodeRecoveryKey(typed)).toEqual(Uint8Array.from(bytes));
      else expect(read).toMatchObject({ kind: "malformed" });
    }),
  );
});

test("a wrong character is told, by the checksum or before it, and never read as another key in more than 1 of 256 cases", () => {
  const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  let read = 0;
  let all = 0;
  fc.assert(
    fc.property(key, fc.nat(47), fc.nat(57), (bytes, at, digit) => {
      const bare = encodeRecoveryKey(bytes).replaceAll(" ", "");
      const typed = bare.slice(0, at) + (alphabet[digit] ?? "1") + bare.slice(at + 1);
      if (typed === bare) return;
      all++;
      const found = fault(typed);
      if (found === undefined) read++;
      else expect(found).toMatchObject({ kind: "malformed" });
    }),
    { seed: 7, numRuns: 2000 },
  );
  expect(read / all).toBeLessThan(2 / 256);
});

test("what is wrong is said: characters, length, prefix or checksum", () => {
  const written = encodeRecoveryKey(new Uint8Array(32).fill(9));
  const bare = written.replaceAll(" ", "");
  expect(fault(`${bare}1`)).toEqual({ kind: "malformed", problem: "length" });
  expect(fault(bare.slice(1))).toEqual({ kind: "malformed", problem: "length" });
  expect(fault("")).toEqual({ kind: "malformed", problem: "length" });
  expect(fault(bare.replace(/.$/, "\u00e4"))).toEqual({ kind: "malformed", problem: "characters" });
  expect(fault("l".repeat(48))).toEqual({ kind: "malformed", problem: "characters" });
  expect(fault(`z${bare.slice(1)}`)).toEqual({ kind: "malformed", problem: "prefix" });
  expect(fault(bare.slice(0, -1) + (bare.endsWith("a") ? "b" : "a"))).toEqual({
    kind: "malformed",
    problem: "checksum",
  });
});

test("any text is answered, never anything thrown but wrong-key", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 512 }), (typed) => {
      expect(fault(typed)).toMatchObject({ kind: "malformed" });
    }),
  );
});

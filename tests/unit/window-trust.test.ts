import fc from "fast-check";
import { expect, test } from "vitest";
import type { LedgerEntry } from "../../preload/contract/trust.ts";
import { changeOf } from "../../renderer/src/features/trust/identity-change.ts";
import { grouped, keyForm, keyGroups, lastGroup } from "../../renderer/src/features/trust/recovery-key-form.ts";
import { authenticationOf } from "../../renderer/src/lib/authentication.ts";

const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** Another hand's encoder of recovery keys: client-server API, "Recovery key". */
function recoveryKeyOf(secret: Uint8Array): string {
  const bytes = [0x8b, 0x01, ...secret];
  bytes.push(bytes.reduce((parity, byte) => parity ^ byte, 0));
  const digits: number[] = [];
  for (const byte of bytes) {
    let carry = byte;
    for (let at = 0; at < digits.length; at += 1) {
      carry += (digits[at] ?? 0) * 256;
      digits[at] = carry % 58;
      carry = Math.floor(carry / 58);
    }
    for (; carry > 0; carry = Math.floor(carry / 58)) digits.push(carry % 58);
  }
  return digits
    .reverse()
    .map((digit) => alphabet[digit] ?? "")
    .join("");
}
const anyKey = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(recoveryKeyOf);

test("every recovery key is whole, however it is spaced", () => {
  fc.assert(
    fc.property(anyKey, (key) => {
      expect(key).toHaveLength(48);
      expect(keyForm(key)).toEqual({ at: "whole" });
      expect(keyForm(grouped(key))).toEqual({ at: "whole" });
      expect(keyForm(` ${keyGroups(key).join("\n")}\t`)).toEqual({ at: "whole" });
      expect(lastGroup(grouped(key))).toBe(key.slice(-4));
    }),
  );
});

test("one wrong letter is noticed, nearly always; a letter that no key has, always and where", () => {
  let unnoticed = 0;
  fc.assert(
    fc.property(anyKey, fc.nat(47), fc.nat(56), (key, at, other) => {
      const letters = Array.from(alphabet).filter((letter) => letter !== key[at]);
      const wrong = key.slice(0, at) + (letters[other] ?? "") + key.slice(at + 1);
      if (keyForm(wrong).at === "whole") unnoticed += 1;
      expect(keyForm(`${key.slice(0, at)}0${key.slice(at + 1)}`)).toEqual({
        ...{ at: "stray", letter: "0" },
        group: Math.floor(at / 4) + 1,
      });
    }),
    { numRuns: 400 },
  );
  // the checksum is a byte: about one in 256 passes it, fewer pass the prefix too
  expect(unnoticed).toBeLessThan(20);
});

test("what is not yet whole says how far it is", () => {
  const key = recoveryKeyOf(new Uint8Array(32).fill(7));
  expect(keyForm("")).toEqual({ at: "empty" });
  expect(keyForm(" \n")).toEqual({ at: "empty" });
  expect(keyForm(key.slice(0, 11))).toEqual({ at: "typing", groups: 2 });
  expect(keyForm(`${key}1`)).toEqual({ at: "too-long" });
  expect(keyForm("1".repeat(48))).toEqual({ at: "typo" });
});

test("what the server wants is told from other failures, and only a secure page is offered", () => {
  const failure = (code: "forbidden" | "authentication-required" | "unreachable", details?: unknown) => ({
    ...{ code, message: "", retryable: false },
    details,
  });
  expect(authenticationOf(failure("authentication-required"), false)).toEqual({ wrong: false });
  expect(authenticationOf(failure("forbidden"), true)).toEqual({ wrong: true });
  expect(authenticationOf(failure("forbidden"), false)).toBeUndefined();
  expect(authenticationOf(failure("unreachable"), true)).toBeUndefined();
  expect(authenticationOf(failure("authentication-required", { url: "https://a.example/x" }), false)).toEqual({
    ...{ url: "https://a.example/x", wrong: false },
  });
  for (const url of ["javascript:alert(1)", "http://a.example/", "file:///etc/passwd", 7])
    expect(authenticationOf(failure("authentication-required", { url }), false)).toEqual({ wrong: false });
});

test("a change tells when it was, and since when the identity before was known", () => {
  const entry = (atMs: number, kind: string): LedgerEntry => ({ atMs, kind, userId: "@a:x", detail: "" });
  expect(changeOf([])).toEqual({});
  expect(changeOf([entry(1, "first-seen")])).toEqual({});
  expect(changeOf([entry(9, "changed"), entry(5, "verified"), entry(1, "first-seen")])).toEqual({
    ...{ changedMs: 9, knownSinceMs: 1 },
  });
  // the newest change counts, whatever the order, and the one before it is what was known
  expect(changeOf([entry(1, "first-seen"), entry(4, "changed"), entry(5, "accepted"), entry(9, "changed")])).toEqual({
    ...{ changedMs: 9, knownSinceMs: 4 },
  });
});

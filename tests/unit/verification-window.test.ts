import fc from "fast-check";
import { expect, test } from "vitest";
import { codeKind } from "../../renderer/src/features/verification/code-kind.ts";
import { allEmojis, emojiIn } from "../../renderer/src/features/verification/emoji.ts";

const bytes = (text: string, ...more: number[]): Uint8Array => Uint8Array.from([...Buffer.from(text), ...more]);

test("there are 64 pictures, each with names of its own in both languages", () => {
  const all = allEmojis();
  expect(all).toHaveLength(64);
  for (const part of [all.map((one) => one.glyph), all.map((one) => one.names.en), all.map((one) => one.names.de)]) {
    expect(new Set(part).size).toBe(64);
    expect(part.every((text) => text !== "")).toBe(true);
  }
  // by number, from the specification's table
  expect([0, 17, 31, 34, 47, 63].map((number) => all[number]?.names.en)).toEqual([
    "Dog",
    "Cactus",
    "Robot",
    "Spanner",
    "Key",
    "Pin",
  ]);
});

test("a picture is known with and without the selector of its colourful form", () => {
  for (const { glyph, names } of allEmojis())
    for (const written of [glyph, glyph.replace("\ufe0f", ""), `${glyph.replace("\ufe0f", "")}\ufe0f`])
      expect(emojiIn("de", [written, "x"])).toEqual({ glyph, name: names.de });
  expect(emojiIn("en", ["?", "Question"])).toEqual({ glyph: "?", name: "Question" });
});

test("what a code is for is told by its first bytes", () => {
  for (const mode of [0, 1, 2]) expect(codeKind(bytes("MATRIX", 2, mode, 0, 24))).toBe("verification");
  for (const mode of [3, 4]) expect(codeKind(bytes("MATRIX", 2, mode))).toBe("sign-in");
  expect(codeKind(bytes("MATRIX", 2, 9))).toBe("newer-verification");
  expect(codeKind(bytes("MATRIX", 3, 0))).toBe("newer-verification");
  expect(codeKind(bytes("MATRIX"))).toBe("newer-verification");
  expect(codeKind(bytes("IO_ELEMENT_MSC4388", 2))).toBe("sign-in");
  expect(codeKind(bytes("https://matrix.to/#/@ana:example.org"))).toBe("link");
  expect(codeKind(bytes("WIFI:S:home;;"))).toBe("link");
  expect(codeKind(bytes("4006381333931"))).toBe("other");
  expect(codeKind(new Uint8Array())).toBe("other");
});

test("any bytes have a kind, and only those with the prefix are a verification", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (any) => {
      const prefixed = Buffer.from(any.subarray(0, 6)).equals(Buffer.from("MATRIX"));
      expect(codeKind(any) === "verification").toBe(prefixed && any[6] === 2 && (any[7] ?? 9) <= 2);
    }),
  );
});

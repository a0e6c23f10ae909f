import { expect, test } from "vitest";
import { onlyAsked } from "../../main/core/matrix/key-query.ts";

const ana = "@ana:tessera.test";
const question = { device_keys: { [ana]: [] } };
const good = { device_keys: { [ana]: { A: { odd: true } } }, master_keys: { [ana]: 5 }, failures: {} };
const cleaned = (answer: unknown) => JSON.parse(onlyAsked(question, JSON.stringify(answer))) as unknown;

test("an answer to what was asked stays as it is, byte for byte, odd keys included: those are for Rust crypto to judge", () => {
  const answer = ` ${JSON.stringify(good)}`;
  expect(onlyAsked(question, answer)).toBe(answer);
});

test.each(["@ben:tessera.test", "no user id", "", "__proto__", "@x:!!!"])(
  "a user that nobody asked for (%s) is left out everywhere",
  (other) => {
    const spoiled = JSON.parse(
      JSON.stringify({ device_keys: { OTHER: {}, [ana]: {} }, self_signing_keys: { OTHER: {} } }).replaceAll(
        "OTHER",
        other,
      ),
    ) as unknown;
    expect(cleaned(spoiled)).toEqual({ device_keys: { [ana]: {} }, self_signing_keys: {} });
  },
);

test.each([null, 5, "x", [], [1]])(
  "%j in the place of a user's devices, of a section or of the failures costs itself alone",
  (odd) => {
    expect(cleaned({ ...good, device_keys: { [ana]: odd } })).toEqual({ ...good, device_keys: {} });
    expect(cleaned({ ...good, device_keys: odd })).toEqual({ ...good, device_keys: {} });
    expect(cleaned({ ...good, failures: odd })).toEqual(good);
  },
);

test("what is no answer at all is passed on, for its reader to refuse", () => {
  for (const answer of ["", "<html>", "5", "null", "[]"]) expect(onlyAsked(question, answer)).toBe(answer);
});

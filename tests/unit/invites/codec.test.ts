import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromBase32, toBase32 } from "../../../main/core/features/invites/base32.ts";
import { encodeHeader, encodePayload, type InviteHeader } from "../../../main/core/features/invites/codec.ts";
import { inspect } from "../../../main/core/features/invites/inspect.ts";
import { idKey, open, rootKey, seal, stepKey, tokenTag } from "../../../main/core/features/invites/keys.ts";
import { inviteLink, parseText } from "../../../main/core/features/invites/link.ts";

const me = "@me:tessera.test";
const nowMs = 1_800_000_000_000;
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const label = fc
  .string({ unit: "grapheme", maxLength: 24 })
  .filter((text) => Buffer.byteLength(text) <= 24 && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text) && text.isWellFormed());
const localpart = fc.stringMatching(/^[!-9;-~]{1,40}$/);
const server = fc.oneof(fc.domain(), fc.constant("[2001:db8::1]:8448"), fc.constant("localhost:8008"));
const userId = fc.tuple(localpart, server).map(([name, domain]) => `@${name}:${domain}`);
const headers: fc.Arbitrary<InviteHeader> = fc.record({
  kind: fc.constantFrom("contact" as const, "group" as const),
  preset: fc.constantFrom("show" as const, "personal-link" as const, "card" as const, "public" as const),
  expiresAtMs: fc.nat({ max: 0xffff_ffff }).map((minutes) => minutes * 60_000),
  masterKey: bytes(32),
  label,
});
const flipped = (text: string, at: number, bit: number): string => {
  const raw = fromBase32(text);
  if (raw === undefined) throw new Error("not Base32");
  const index = at % raw.length;
  raw[index] = (raw[index] ?? 0) ^ (1 << bit);
  return toBase32(raw);
};

test("Base32 reads what it wrote, in either case, and nothing twice", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 90 }), (value) => {
      expect(fromBase32(toBase32(value))).toEqual(value);
      expect(fromBase32(toBase32(value).toLowerCase())).toEqual(value);
    }),
  );
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Z2-7]{0,40}$/), (text) => {
      const value = fromBase32(text);
      if (value !== undefined) expect(toBase32(value)).toBe(text);
    }),
  );
});

test("a code says after the way through a link what was put into it", () => {
  fc.assert(
    fc.property(userId, headers, bytes(16), (inviter, header, secret) => {
      const link = inviteLink(inviter, encodePayload(inviter, encodeHeader(header), secret));
      for (const text of [link, link.replace("matrix:", "tessera:"), `  ${link}\n`]) {
        const parsed = parseText(text);
        expect(parsed).toMatchObject({ kind: "invite", userId: inviter });
        if (parsed.kind === "invite") expect(parsed.code).toMatchObject({ ...header, secret });
      }
    }),
  );
});

test("any flipped bit is refused, or gives other keys", () => {
  fc.assert(
    fc.property(headers, bytes(16), fc.nat(), fc.nat({ max: 7 }), (header, secret, at, bit) => {
      const payload = flipped(encodePayload(me, encodeHeader(header), secret), at, bit);
      const parsed = parseText(inviteLink(me, payload));
      if (parsed.kind !== "invite") return;
      expect(rootKey(me, parsed.code.header, parsed.code.secret)).not.toEqual(
        rootKey(me, encodeHeader(header), secret),
      );
    }),
    { numRuns: 500 },
  );
});

test("a code shown under another's name is refused", () => {
  const payload = encodePayload(me, encodeHeader(sample()), Buffer.alloc(16, 7));
  expect(parseText(inviteLink("@other:tessera.test", payload))).toEqual({ kind: "unknown", reason: "corrupt" });
});

test("whatever text or bytes come, there is an answer and no exception", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" })), (text) => {
      expect(inspect({ text }, me, nowMs).kind).toBeTypeOf("string");
      expect(inspect({ text: `matrix:${text}` }, me, nowMs).kind).toBeTypeOf("string");
      expect(inspect({ text: `matrix:u/a:b.c?chat.tessera.sj=${text}` }, me, nowMs).kind).not.toBe("invite");
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (raw) => {
      expect(inspect({ bytes: raw }, me, nowMs).kind).toBeTypeOf("string");
    }),
  );
});

test("sealed messages open under their own key, nonce and data alone", () => {
  fc.assert(
    fc.property(bytes(32), bytes(12), fc.uint8Array({ maxLength: 900 }), fc.nat(), (key, nonce, clear, at) => {
      const aad = Buffer.from("about");
      const sealed = seal(key, nonce, aad, clear);
      expect(open(key, nonce, aad, sealed)).toEqual(Buffer.from(clear));
      sealed[at % sealed.length] = (sealed[at % sealed.length] ?? 0) ^ 1;
      expect(open(key, nonce, aad, sealed)).toBeUndefined();
    }),
  );
});

test("each joiner calls a code by another name, and each exchange has keys of its own", () => {
  const root = rootKey(me, encodeHeader(sample()), Buffer.alloc(16, 7));
  const tag = (joiner: string) => tokenTag(idKey(root), joiner, me).toString("hex");
  expect(tag("@a:x")).not.toBe(tag("@b:x"));
  const key = (byte: number) => stepKey(root, "hello", "@a:x", Buffer.alloc(16, byte)).toString("hex");
  expect(key(1)).not.toBe(key(2));
});

describe("what was scanned", () => {
  const code = (header: Partial<InviteHeader> = {}, inviter = me) =>
    inviteLink(inviter, encodePayload(inviter, encodeHeader({ ...sample(), ...header }), Buffer.alloc(16, 7)));
  const matrixBytes = (mode: number) =>
    Buffer.concat([Buffer.from("MATRIX\u0002", "latin1"), Buffer.from([mode, 0, 1])]);
  const cases: [string, Parameters<typeof inspect>[0], unknown][] = [
    ["one's own code", { text: code() }, { kind: "invite", userId: me, inviteKind: "contact", own: true }],
    [
      "another's group code with label and expiry",
      { text: code({ kind: "group", label: "Chess", expiresAtMs: nowMs + 60_000 }, "@a:b.c") },
      {
        kind: "invite",
        userId: "@a:b.c",
        inviteKind: "group",
        label: "Chess",
        expiresAtMs: nowMs + 60_000,
        own: false,
      },
    ],
    ["a code that has expired", { text: code({ expiresAtMs: nowMs }) }, { kind: "unknown", reason: "expired" }],
    [
      "a code as bytes",
      { bytes: Buffer.from(code()) },
      { kind: "invite", userId: me, inviteKind: "contact", own: true },
    ],
    ["a code without its payload", { text: code().replace(/&.*$/, "") }, { kind: "user", userId: me }],
    ["a code twice over", { text: `${code()}&${code().split("&")[1] ?? ""}` }, { kind: "unknown", reason: "corrupt" }],
    ["a plain link to a person", { text: "matrix:u/ana:tessera.test" }, { kind: "user", userId: "@ana:tessera.test" }],
    ["matrix.to, a person", { text: "https://matrix.to/#/@ana:t.est" }, { kind: "user", userId: "@ana:t.est" }],
    ["a typed address", { text: "@ana:t.est" }, { kind: "user", userId: "@ana:t.est" }],
    [
      "a room's link",
      { text: "matrix:roomid/abc:t.est?via=t.est&via=bad%20one" },
      { kind: "room", room: "!abc:t.est", via: ["t.est"] },
    ],
    [
      "matrix.to, a room",
      { text: "https://matrix.to/#/%23room%3At.est?via=t.est" },
      { kind: "room", room: "#room:t.est", via: ["t.est"] },
    ],
    ["a verification's code", { bytes: matrixBytes(0) }, { kind: "verification" }],
    ["a verification's code, own device", { bytes: matrixBytes(2) }, { kind: "verification" }],
    ["a sign-in code", { bytes: matrixBytes(3) }, { kind: "sign-in" }],
    ["a sign-in code of the other kind", { text: "IO_ELEMENT_MSC4388_x" }, { kind: "sign-in" }],
    ["a mode that nobody knows", { bytes: matrixBytes(9) }, { kind: "unknown", reason: "corrupt" }],
    ["a web page", { text: "https://example.org/" }, { kind: "unknown", reason: "not-a-code" }],
    ["nothing", { text: "" }, { kind: "unknown", reason: "not-a-code" }],
    ["bytes that are no text", { bytes: Buffer.from([0xff, 0xfe]) }, { kind: "unknown", reason: "not-a-code" }],
    ["far too much", { text: `matrix:u/${"a".repeat(5000)}:b.c` }, { kind: "unknown", reason: "too-long" }],
    ["an address that hides its true end", { text: "@ana:t.est\u202e" }, { kind: "unknown", reason: "not-a-code" }],
  ];
  test.each(cases)("%s", (_name, scanned, found) => {
    expect(inspect(scanned, me, nowMs)).toEqual(found);
  });
  test("a later version asks for a newer app", () => {
    const payload = encodePayload(me, encodeHeader(sample()), Buffer.alloc(16, 7));
    const raw = fromBase32(payload) ?? new Uint8Array(1);
    raw[0] = 2;
    expect(inspect({ text: inviteLink(me, toBase32(raw)) }, me, nowMs)).toEqual({
      kind: "unknown",
      reason: "newer-version",
    });
  });
});

function sample(): InviteHeader {
  return { kind: "contact", preset: "show", expiresAtMs: 0, masterKey: Buffer.alloc(32, 3), label: "" };
}

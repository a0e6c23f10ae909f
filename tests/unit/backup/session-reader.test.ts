import fc from "fast-check";
import { expect, test } from "vitest";
import { toFailure } from "../../../main/core/errors.ts";
import { parseSessions, type Fetched } from "../../../main/core/matrix/backup-fetch.ts";

type Session = Record<string, unknown>;
type Rooms = Record<string, { sessions: Record<string, unknown> }>;

async function* inPieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) {
    yield bytes.subarray(at, at + size);
    await Promise.resolve();
  }
}
async function read(json: string | Uint8Array, { roomId, size = 7 }: { roomId?: string; size?: number } = {}) {
  const all: Fetched[] = [];
  const bytes = typeof json === "string" ? Buffer.from(json) : json;
  for await (const found of parseSessions(inPieces(bytes, size), roomId)) all.push(...found);
  return all;
}
const refusal = (json: string, roomId?: string) =>
  read(json, roomId === undefined ? {} : { roomId }).then(
    (sessions) => sessions.length,
    (error: unknown) => toFailure(error),
  );
const brokeOff = { code: "unreachable", details: { kind: "bad-answer" } };
const plainData = (session: unknown) => {
  const { session_data } = (session ?? {}) as Session;
  const { ephemeral, mac, ciphertext } = (session_data ?? {}) as Session;
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  return JSON.stringify({ ephemeral: text(ephemeral), mac: text(mac), ciphertext: text(ciphertext) });
};
const sound = (n: number): Session => ({
  first_message_index: n,
  is_verified: false,
  session_data: { ephemeral: `e${n}`, ciphertext: `c${n}`, mac: `m${n}` },
});

const anyText = fc.string({ unit: "binary" });
const session = fc.oneof(
  fc.record({
    first_message_index: fc.nat(),
    session_data: fc.oneof(fc.record({ ephemeral: anyText, ciphertext: anyText, mac: anyText }), fc.jsonValue()),
    more: fc.jsonValue(),
  }),
  fc.jsonValue(),
);
const rooms = fc.dictionary(anyText, fc.record({ sessions: fc.dictionary(anyText, session), more: fc.jsonValue() }), {
  maxKeys: 5,
});

test("whatever the names, the values, the spaces and the pieces, it reads what JSON.parse reads", async () => {
  await fc.assert(
    fc.asyncProperty(rooms, fc.integer({ min: 1, max: 40 }), fc.constantFrom(0, 1, 2), async (all, size, spaces) => {
      const json = JSON.stringify({ etag: "1", rooms: all, count: 3 }, null, spaces);
      // as the text says it: names that look like numbers come first, and "__proto__" is a name like any other
      const wanted = Object.entries((JSON.parse(json) as { rooms: Rooms }).rooms).flatMap(([roomId, room]) =>
        Object.entries(room.sessions).map(([sessionId, one]) => ({ roomId, sessionId, data: plainData(one) })),
      );
      expect(await read(json, { size })).toEqual(wanted);
    }),
    { numRuns: 150 },
  );
});

test("a room's own answer, with other parts around its sessions", async () => {
  const sessions = { one: sound(1), two: sound(2) };
  const json = JSON.stringify({ a: [1, { sessions: { no: sound(9) } }], sessions, b: { sessions: { no: sound(8) } } });
  expect(await read(json, { roomId: "!room:x.test" })).toEqual(
    Object.entries(sessions).map(([sessionId, one]) => ({ roomId: "!room:x.test", sessionId, data: plainData(one) })),
  );
  expect(await read("{}", { roomId: "!room:x.test" })).toEqual([]);
  expect(await read(' { "sessions" : { } } \n', { roomId: "!room:x.test" })).toEqual([]);
});

test("a value beyond all measure, or a name, costs itself and not the rest, in whatever pieces it comes", async () => {
  const huge = "x".repeat(3_000_000);
  const sessions = {
    before: sound(1),
    text: { session_data: { ...(sound(2)["session_data"] as object), ciphertext: huge } },
    fields: { session_data: Object.fromEntries(Array.from({ length: 50_000 }, (_, n) => [`field ${n}`, n])) },
    after: sound(3),
    [huge]: sound(4),
    last: sound(5),
  };
  for (const size of [1000, 64 * 1024, 10_000_000]) {
    const found = await read(JSON.stringify({ sessions }), { roomId: "!room:x.test", size });
    expect(found.map(({ sessionId, data }) => [sessionId, data === ""])).toEqual([
      ["before", false],
      ["text", true],
      ["fields", true],
      ["after", false],
      ["", true],
      ["last", false],
    ]);
  }
});

test("a value that is nested a hundred thousand times is malformed, and ends nothing", async () => {
  const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
  const json = `{"sessions":{"deep":{"session_data":{"ephemeral":${deep}}},"sound":${JSON.stringify(sound(1))}}}`;
  const found = await read(json, { roomId: "!room:x.test", size: 4096 });
  expect(found.map((one) => one.data)).toEqual(["{}", plainData(sound(1))]);
});

test("values that are no JSON are malformed sessions, one each", async () => {
  const found = await read(`{"sessions":{"a":{nonsense},"b":17,"c":"text","d":null,"e":[{}]}}`, {
    roomId: "!r:x.test",
  });
  expect(found.map((one) => [one.sessionId, one.data])).toEqual(["a", "b", "c", "d", "e"].map((name) => [name, "{}"]));
});

test("an answer that ends anywhere before its end is told as broken off, after what came whole", async () => {
  const json = JSON.stringify({ rooms: { "!a:x.test": { sessions: { one: sound(1), two: sound(2) } } } });
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: json.length - 1 }), async (length) => {
      expect(await refusal(json.slice(0, length))).toMatchObject(brokeOff);
    }),
  );
});

test.each(["<!doctype html><p>502</p>", "[]", "7", '"text"', "", '{"rooms":{}} more', '{"rooms":{}}{"rooms":{}}'])(
  "what is no such answer is told: %s",
  async (json) => {
    expect(await refusal(json)).toMatchObject(brokeOff);
  },
);

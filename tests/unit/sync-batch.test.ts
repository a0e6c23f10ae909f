import fc from "fast-check";
import { expect, test } from "vitest";
import { CoreError } from "../../main/core/errors.ts";
import { isTooDeep } from "../../main/core/json.ts";
import { roomEvent, stateEvent } from "../../main/core/sync/batch.ts";
import { batchFrom } from "../../main/core/sync/v2.ts";

const full = process.env["TESSERA_FULL"] === "1";

const event = fc.record(
  {
    event_id: fc.oneof(fc.string(), fc.constant("$good"), fc.anything()),
    type: fc.oneof(fc.constant("m.room.message"), fc.string(), fc.anything()),
    sender: fc.oneof(fc.constant("@ben:tessera.test"), fc.string(), fc.anything()),
    state_key: fc.oneof(fc.constant(""), fc.string(), fc.anything()),
    origin_server_ts: fc.oneof(fc.integer(), fc.double(), fc.anything()),
    content: fc.oneof(fc.object(), fc.anything()),
    unsigned: fc.anything(),
    redacts: fc.anything(),
  },
  { requiredKeys: [] },
);
const some = <T>(value: fc.Arbitrary<T>) => fc.oneof(value, fc.anything());
const part = fc.record(
  { events: some(fc.array(some(event))), limited: fc.anything(), prev_batch: fc.anything() },
  { requiredKeys: [] },
);
const joined = fc.record(
  {
    timeline: some(part),
    state: some(part),
    state_after: some(part),
    invite_state: some(part),
    ephemeral: some(part),
    account_data: some(part),
    summary: fc.anything(),
    unread_notifications: fc.anything(),
  },
  { requiredKeys: [] },
);
const rooms = some(fc.dictionary(fc.oneof(fc.constant("!a:b"), fc.string()), some(joined)));
const answer = fc.record(
  {
    next_batch: fc.oneof({ weight: 5, arbitrary: fc.constant("t1") }, { weight: 1, arbitrary: fc.anything() }),
    rooms: some(fc.record({ join: rooms, invite: rooms, knock: rooms, leave: rooms }, { requiredKeys: [] })),
    to_device: some(part),
    account_data: some(part),
    device_lists: fc.anything(),
    device_one_time_keys_count: fc.anything(),
    device_unused_fallback_key_types: fc.anything(),
  },
  { requiredKeys: [] },
);

test("whatever a server answers, a batch comes of it or a failure that is known", () => {
  fc.assert(
    fc.property(fc.oneof(answer, fc.anything()), (body) => {
      try {
        const batch = batchFrom(body);
        expect(typeof batch.nextBatch).toBe("string");
        for (const room of batch.rooms) {
          expect(room.roomId.startsWith("!")).toBe(true);
          for (const one of room.timeline) {
            expect(one.event_id).toMatch(/^\$\S+$/);
            expect(Number.isSafeInteger(one.origin_server_ts) && one.origin_server_ts >= 0).toBe(true);
          }
          for (const count of [room.joined, room.invited, room.unread, room.mentions])
            if (count !== undefined) expect(Number.isSafeInteger(count)).toBe(true);
        }
        for (const count of Object.values(batch.counts)) expect(count >= 0 && Number.isSafeInteger(count)).toBe(true);
      } catch (error) {
        if (!(error instanceof CoreError)) throw error;
        expect(error.code).toBe("unreachable");
      }
    }),
    { numRuns: full ? 2000 : 500 },
  );
});

test("an event is read or left out, whatever it is", () => {
  fc.assert(
    fc.property(fc.oneof(event, fc.anything()), (value) => {
      const room = roomEvent(value);
      if (room !== undefined) expect(JSON.parse(JSON.stringify(room))).toMatchObject({ event_id: room.event_id });
      stateEvent(value);
    }),
    { numRuns: full ? 5000 : 1000 },
  );
});

const message = (more: object = {}) => ({
  event_id: "$e",
  type: "m.room.message",
  sender: "@a:b",
  origin_server_ts: 5,
  content: { body: "hi" },
  ...more,
});

test("a state event whose key cannot be used is no message instead", () => {
  expect(roomEvent(message({ state_key: "k".repeat(256) }))).toBeUndefined();
  expect(roomEvent(message({ state_key: 5 }))).toBeUndefined();
  expect(roomEvent(message({ state_key: "" }))?.state_key).toBe("");
});

test("times of wrong kind sort as the beginning of time", () => {
  for (const time of [undefined, "5", -1, 1.5, 1e300, NaN])
    expect(roomEvent(message({ origin_server_ts: time }))?.origin_server_ts).toBe(0);
});

test("what nests 20,000 deep is left out and counted, and what stands beside it arrives", () => {
  const deep = JSON.parse(`${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`) as unknown;
  expect(isTooDeep(deep)).toBe(true);
  expect(isTooDeep({ a: [{ b: 1 }] })).toBe(false);
  const batch = batchFrom({
    next_batch: "t",
    to_device: { events: [{ type: "x", sender: "@a:b", content: { deep } }] },
    account_data: { events: [{ type: "x", content: { deep } }] },
    rooms: {
      join: {
        "!a:b": {
          timeline: { events: [message({ content: { deep } }), message()] },
          state: { events: [{ ...message({ content: { deep } }), state_key: "" }] },
        },
      },
    },
  });
  expect(batch.rooms[0]?.timeline).toHaveLength(1);
  expect(batch.rooms[0]?.state).toEqual([]);
  expect(batch.toDevice).toEqual([]);
  expect(batch.accountData).toEqual([]);
  expect(batch.malformed).toBe(3);
});

test("an unstable name of the fallback key report is read where the stable one is absent", () => {
  const read = (more: object) => batchFrom({ next_batch: "t", ...more }).unusedFallbackKeys;
  expect(read({})).toBeUndefined();
  expect(read({ "org.matrix.msc2732.device_unused_fallback_key_types": ["signed_curve25519"] })).toEqual([
    "signed_curve25519",
  ]);
  expect(
    read({ device_unused_fallback_key_types: [], "org.matrix.msc2732.device_unused_fallback_key_types": ["x"] }),
  ).toEqual([]);
});

test("an m.room.encryption that is malformed still says that the room is encrypted", () => {
  let deep: unknown = "bottom";
  for (let level = 0; level < 500; level++) deep = { deep };
  const mark = { type: "m.room.encryption", state_key: "", sender: "@ben:tessera.test", event_id: "$e" };
  for (const broken of [{}, { content: 7 }, { content: deep }, { content: {}, sender: 5 }, { sender: "@".repeat(300) }])
    expect(stateEvent({ ...mark, ...broken })).toMatchObject({ type: "m.room.encryption", state_key: "", content: {} });
  expect(roomEvent({ ...mark, content: deep })).toMatchObject({ type: "m.room.encryption", content: {} });
  expect(stateEvent({ ...mark, state_key: "other", content: deep })).toBeUndefined();
});

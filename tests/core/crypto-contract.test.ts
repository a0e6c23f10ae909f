import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { RoomId, RoomKeyInfo } from "@matrix-org/matrix-sdk-crypto-wasm";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createHttp } from "../../main/core/matrix/http.ts";
import { startCrypto } from "../../main/core/matrix/client.ts";
import { megolm, messageIndexOf, type Crypto, type Sharing } from "../../main/core/matrix/crypto.ts";
import { createDeviceList } from "../../main/core/matrix/device-list.ts";
import { createSharing } from "../../main/core/matrix/recipients.ts";
import { importSessions } from "../../main/core/matrix/room-key-export.ts";
import { openCryptoStore, type CryptoStore } from "../../main/core/storage/crypto-store/index.ts";
import { madeUpKeys } from "../bench/made-up-keys.ts";
import { eventually } from "../eventually.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";

/** What matrix/crypto.ts uses of the SDK's inside, each call on the pinned versions. When one drifts, this fails first. */
let homeserver: Homeserver;
let folder: string;
let store: CryptoStore;
let alice: Crypto;
let aliceId: string;
let token: string;
const roomId = "!contract:tessera.test";
const encryption = { algorithm: megolm };

beforeAll(async () => {
  homeserver = await startHomeserver();
  folder = await mkdtemp(path.join(tmpdir(), "tessera-contract-"));
  store = openCryptoStore({ file: path.join(folder, "crypto.db"), key: new Uint8Array(32).fill(7) });
  const account = await homeserver.register("alice");
  aliceId = account.userId;
  token = account.accessToken;
  const http = createHttp({ homeserver: homeserver.url, accessToken: account.accessToken, proxy: {} });
  alice = await startCrypto(
    {
      userId: account.userId,
      deviceId: account.deviceId,
      homeserver: homeserver.url,
      accessToken: account.accessToken,
    },
    http,
    store,
  );
});
afterAll(async () => {
  store.close();
  await homeserver.stop();
  await rm(folder, { recursive: true, force: true });
});

/** With everybody who is a member. */
const sharing = (): Sharing => ({
  check: () => Promise.resolve(),
  share: (settings, room) =>
    createSharing(alice, createDeviceList(alice))(settings, {
      ...room,
      decide: () => Promise.resolve({ strategy: "all", marks: [], allows: () => true }),
    }),
  shared: () => undefined,
});
const encrypt = (body: string) =>
  alice.encrypt({
    roomId,
    members: [aliceId],
    encryption,
    historyVisibility: "shared",
    sharing: sharing(),
    type: "m.room.message",
    content: { msgtype: "m.text", body },
  });
const asEvent = (content: Record<string, unknown>, eventId: string) => ({
  event_id: eventId,
  type: "m.room.encrypted",
  sender: aliceId,
  origin_server_ts: Date.now() + 1000,
  content,
  unsigned: {},
});

test("the versions are those that the internals were read from", () => {
  const version = (name: string) =>
    (JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")) as { version: string }).version;
  expect(version("matrix-js-sdk")).toBe("43.0.0");
  expect(version("@matrix-org/matrix-sdk-crypto-wasm")).toBe("18.9.0");
});

test("processOutgoing uploads the device's keys before any sync", async () => {
  await alice.processOutgoing();
  const answer = await homeserver.api<{
    device_keys: Record<string, Record<string, { keys: Record<string, string> }>>;
  }>("POST", "v3/keys/query", {
    token,
    body: { device_keys: { [aliceId]: [] } },
  });
  const keys = Object.values(answer.device_keys[aliceId] ?? {}).flatMap((device) => Object.values(device.keys));
  expect(keys).toContain(alice.fingerprint);
});

test("processSyncChanges takes counts and an empty to-device list", async () => {
  await expect(
    alice.receive({
      toDevice: [],
      changed: [],
      left: [],
      counts: { signed_curve25519: 50 },
      unusedFallbackKeys: ["signed_curve25519"],
    }),
  ).resolves.toBeUndefined();
});

test("encrypt gives Megolm ciphertext that decrypt reads, with the sending device named", async () => {
  const wire = await encrypt("first");
  expect(wire["algorithm"]).toBe(megolm);
  expect(JSON.stringify(wire)).not.toContain("first");
  const read = await alice.decrypt(roomId, asEvent(wire, "$one"));
  expect(read).toMatchObject({
    ok: true,
    type: "m.room.message",
    content: { body: "first" },
    trust: { shield: expect.any(String) as string },
  });
});

test("the message index counts up within a session and is read from the wire", async () => {
  const [first, second] = [await encrypt("a"), await encrypt("b")];
  expect(second["session_id"]).toBe(first["session_id"]);
  const indexes = [first, second].map((wire) => messageIndexOf(String(wire["ciphertext"])));
  expect(indexes[1]).toBe((indexes[0] ?? Number.NaN) + 1);
});

test("rotate makes the next message begin a new session at index 0", async () => {
  const before = await encrypt("before");
  await alice.rotate(roomId);
  const after = await encrypt("after");
  expect(after["session_id"]).not.toBe(before["session_id"]);
  expect(messageIndexOf(String(after["ciphertext"]))).toBe(0);
});

test("a rotation period of one message makes every message a session of its own", async () => {
  const once = () =>
    alice.encrypt({
      roomId: "!short:tessera.test",
      members: [aliceId],
      encryption: { algorithm: megolm, rotationPeriodMessages: 1 },
      historyVisibility: "shared",
      sharing: sharing(),
      type: "m.room.message",
      content: { body: "x" },
    });
  expect((await once())["session_id"]).not.toBe((await once())["session_id"]);
});

test("an event of an unknown session is undecryptable for a missing key, and a malformed one is malformed", async () => {
  const wire = { ...(await encrypt("x")), session_id: "A".repeat(43) };
  expect(await alice.decrypt(roomId, asEvent(wire, "$unknown"))).toEqual({ ok: false, reason: "missing-key" });
  expect(await alice.decrypt(roomId, asEvent({ algorithm: megolm }, "$broken"))).toEqual({
    ok: false,
    reason: "malformed",
  });
});

test("an event of before this device says that no backup has it", async () => {
  const wire = { ...(await encrypt("x")), session_id: "B".repeat(43) };
  expect(await alice.decrypt(roomId, { ...asEvent(wire, "$old"), origin_server_ts: 1 })).toEqual({
    ok: false,
    reason: "no-backup",
  });
});

test("an algorithm that is not Megolm is refused before anything is encrypted", async () => {
  await expect(
    alice.encrypt({
      roomId,
      members: [aliceId],
      encryption: { algorithm: "m.unknown" },
      historyVisibility: "shared",
      sharing: sharing(),
      type: "m.room.message",
      content: {},
    }),
  ).rejects.toMatchObject({ code: "unsupported" });
});

test("keys that came are told by name, and nothing of them stays in Rust's memory", async () => {
  const told: { roomId: string; sessionId: string }[] = [];
  const stop = alice.onKeys((keys) => {
    told.push(...keys);
  });
  const freed = vi.spyOn(RoomKeyInfo.prototype, "free");
  const freedRooms = vi.spyOn(RoomId.prototype, "free");
  const readRooms = vi.spyOn(RoomKeyInfo.prototype, "roomId", "get");
  const readSenders = vi.spyOn(RoomKeyInfo.prototype, "senderKey", "get");
  try {
    const sessions = JSON.parse(madeUpKeys(20, 4)) as { room_id: string; session_id: string }[];
    expect(await importSessions(alice, sessions)).toMatchObject({ imported: 20 });
    await eventually(
      () => told.length,
      (count) => count >= 20,
    );
    const name = (key: { roomId: string; sessionId: string }) => `${key.roomId} ${key.sessionId}`;
    const wanted = sessions.map((one) => name({ roomId: one.room_id, sessionId: one.session_id }));
    expect(told.map(name).sort()).toEqual(wanted.sort());
    expect(freed).toHaveBeenCalledTimes(20);
    // each reading makes an object of its own in Rust's memory
    expect(readRooms).toHaveBeenCalledTimes(freedRooms.mock.calls.length);
    expect(readSenders).not.toHaveBeenCalled();
  } finally {
    stop();
    vi.restoreAllMocks();
  }
});

test("session counts come from the store", async () => {
  expect(await alice.sessionCount()).toMatchObject({ total: expect.any(Number) as number, backedUp: 0 });
});

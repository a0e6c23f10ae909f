import { mkdtemp, rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { canJudgeFallbackKeys, withFallbackKeyAge } from "../../../main/core/matrix/crypto-clock.ts";
import { startCrypto } from "../../../main/core/matrix/client.ts";
import { megolm, type Crypto } from "../../../main/core/matrix/crypto.ts";
import { createHttp } from "../../../main/core/matrix/http.ts";
import { openCryptoStore, type CryptoStore } from "../../../main/core/storage/crypto-store/index.ts";
import { EncryptionAlgorithm, EncryptionSettings, KeysUploadRequest, RoomId } from "@matrix-org/matrix-sdk-crypto-wasm";

/** What the clock seam relies on, on the pinned versions: the feature says `unsupported` where the import is another. */
let folder: string;
let store: CryptoStore;
let crypto: Crypto;
const me = "@ana:tessera.test";
const roomId = "!clock:tessera.test";

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "tessera-clock-"));
  store = openCryptoStore({ file: path.join(folder, "crypto.db"), key: new Uint8Array(32).fill(5) });
  // nothing listens there: what is to leave is taken from the machine
  const homeserver = "http://127.0.0.1:1";
  const http = createHttp({ homeserver, accessToken: "none", proxy: {} });
  crypto = await startCrypto({ userId: me, deviceId: "CLOCK", homeserver, accessToken: "none" }, http, store);
});
afterAll(async () => {
  store.close();
  await rm(folder, { recursive: true, force: true });
});

const report = () =>
  crypto.receive({ toDevice: [], changed: [], left: [], counts: { signed_curve25519: 50 }, unusedFallbackKeys: [] });
/** The fallback key that is to be uploaded, which is thereby taken for published. */
const uploaded = async () => {
  const { machine } = crypto.inner;
  const request = (await machine.outgoingRequests()).find((one) => one instanceof KeysUploadRequest);
  if (request === undefined) return undefined;
  await machine.markRequestAsSent(
    request.id,
    request.type,
    JSON.stringify({ one_time_key_counts: { signed_curve25519: 50 } }),
  );
  const body = JSON.parse(request.body) as { fallback_keys?: Record<string, unknown> };
  return Object.keys(body.fallback_keys ?? {})[0];
};
const encrypt = (body: string) =>
  crypto.inner.machine
    .encryptRoomEvent(new RoomId(roomId), "m.room.message", JSON.stringify({ msgtype: "m.text", body }))
    .then((wire) => JSON.parse(wire) as Record<string, unknown>);

test("the module reads the time of day through one import, and that is ours", () => {
  const { version } = JSON.parse(
    readFileSync("node_modules/@matrix-org/matrix-sdk-crypto-wasm/package.json", "utf8"),
  ) as { version: string };
  expect(version).toBe("18.9.0");
  expect(canJudgeFallbackKeys()).toBe(true);
});

test("one rotation, its creation time true, and none at the next report", async () => {
  await report();
  const first = await uploaded();
  expect(first).toBeDefined();
  await report();
  expect(await uploaded()).toBeUndefined();

  const fromMs = Date.now();
  const { asked, madeAtMs } = await withFallbackKeyAge({ kind: "expired" }, report);
  expect(asked).toBe(1);
  expect(madeAtMs).toBeGreaterThanOrEqual(fromMs);
  expect(madeAtMs).toBeLessThanOrEqual(Date.now());
  const second = await uploaded();
  expect(second).toBeDefined();
  expect(second).not.toBe(first);

  await report();
  expect(await uploaded()).toBeUndefined();
});

test("a key that is to look new stays, and one that is to look old goes, once a call", async () => {
  const { madeAtMs } = await withFallbackKeyAge({ kind: "expired" }, report);
  await uploaded();
  await withFallbackKeyAge({ kind: "new", madeAtMs: madeAtMs ?? 0 }, report);
  expect(await uploaded()).toBeUndefined();
  await withFallbackKeyAge({ kind: "expired" }, async () => {
    await report();
    await report();
  });
  expect(await uploaded()).toBeDefined();
  expect(await uploaded()).toBeUndefined();
});

test("50 encryptions and decryptions beside rotations take no wrong reading", async () => {
  const settings = new EncryptionSettings();
  settings.algorithm = EncryptionAlgorithm.MegolmV1AesSha2;
  // a reading eight days ahead would end the session: "Session expired"
  settings.rotationPeriod = BigInt(7 * 24 * 3_600_000) * 1000n;
  await crypto.inner.machine.shareRoomKey(new RoomId(roomId), [], settings);
  const [before] = [await encrypt("before")];
  const sessions = new Set<unknown>([before["session_id"]]);
  let rotations = 0;
  const work = Array.from({ length: 50 }, async (_, index) => {
    const wire = await encrypt(`message ${index}`);
    sessions.add(wire["session_id"]);
    const event = {
      event_id: `$${index}`,
      type: "m.room.encrypted",
      sender: me,
      origin_server_ts: Date.now(),
      content: wire,
    };
    const read = await crypto.decrypt(roomId, { ...event, unsigned: {} });
    expect(read).toMatchObject({ ok: true, content: { body: `message ${index}` } });
  });
  const rotating = (async () => {
    for (let index = 0; index < 10; index++) {
      rotations += (await withFallbackKeyAge({ kind: "expired" }, report)).asked;
      expect(await uploaded()).toBeDefined();
    }
  })();
  await Promise.all([...work, rotating]);
  expect(rotations).toBe(10);
  expect(sessions.size).toBe(1);
  // and it can go on: no session was made that begins in the future
  expect((await encrypt("after"))["algorithm"]).toBe(megolm);
});

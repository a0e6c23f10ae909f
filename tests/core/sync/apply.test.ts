import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createIngest } from "../../../main/core/features/timeline/ingest.ts";
import { createHttp } from "../../../main/core/matrix/http.ts";
import type { Crypto } from "../../../main/core/matrix/crypto.ts";
import { createAccountStore } from "../../../main/core/storage/account-store.ts";
import { openAccountDatabase } from "../../../main/core/storage/database.ts";
import type { AccountDatabase } from "../../../main/core/storage/database.ts";
import { createQueueStore } from "../../../main/core/storage/queue-store.ts";
import { createRoomStore } from "../../../main/core/storage/room-store.ts";
import { createTimelineStore } from "../../../main/core/storage/timeline-store.ts";
import { applyBatch } from "../../../main/core/sync/apply.ts";
import { createSyncLoop } from "../../../main/core/sync/loop.ts";
import { batchFrom } from "../../../main/core/sync/v2.ts";

// Rule 1 on its parts: a real account.db, and a crypto that fails where the test wants it to.
const me = "@ana:tessera.test";
const roomId = "!room:tessera.test";
const folder = mkdtempSync(path.join(tmpdir(), "tessera-apply-"));
let opened: AccountDatabase[] = [];
let count = 0;

afterEach(() => {
  for (const db of opened) db.close();
  opened = [];
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** What the steps leave behind, in their order. */
let steps: string[] = [];
beforeEach(() => {
  steps = [];
});

function makeParts(crypto: Partial<Crypto> = {}) {
  const db = openAccountDatabase(path.join(folder, `${++count}.db`), new Uint8Array(32).fill(1), false);
  opened.push(db);
  const account = createAccountStore(db);
  const rooms = createRoomStore(db, me);
  const timeline = createTimelineStore(db);
  const queue = createQueueStore(db);
  const done = () => Promise.resolve();
  const note = (step: string) => {
    steps.push(`${step}, token ${account.syncToken() ?? "none"}`);
    return Promise.resolve();
  };
  const whole = {
    receive: () => note("crypto"),
    track: done,
    processOutgoing: done,
    decrypt: async () => {
      await note("decrypt");
      return { ok: false, reason: "missing-key" } as const;
    },
    ...crypto,
  };
  const ingest = createIngest({
    db,
    timeline,
    queue,
    me,
    nowMs: () => 1000,
    evaluate: () => 1,
    undecryptable: { asksOwnDevices: () => false, failed: () => undefined },
  });
  // the parts of Crypto that a sync uses
  const parts = {
    db,
    account,
    rooms,
    timeline,
    ingest,
    crypto: whole as Crypto,
    receive: (given: Crypto, batch: Parameters<Crypto["receive"]>[0]) => given.receive(batch),
    cryptoBarrier: () => note("barrier"),
    me,
    accepted: () => undefined,
  };
  return { parts, account, rooms, timeline };
}

let events = 0;
const encrypted = () => ({
  event_id: `$e${++events}`,
  type: "m.room.encrypted",
  sender: "@ben:tessera.test",
  origin_server_ts: 5,
  content: { algorithm: "m.megolm.v1.aes-sha2", session_id: "s", ciphertext: "AwgA" },
});
const sync = (token: string, timeline: unknown[] = [encrypted()]) => ({
  next_batch: token,
  rooms: { join: { [roomId]: { timeline: { events: timeline } } } },
});

test("crypto, then the barrier, then one transaction with the token, then decryption", async () => {
  const { parts } = makeParts();
  await applyBatch(batchFrom(sync("t1")), parts);
  expect(steps).toEqual(["crypto, token none", "barrier, token none", "decrypt, token t1"]);
});

test("where crypto throws nothing is saved", async () => {
  const { parts, account, rooms, timeline } = makeParts({
    receive: () => Promise.reject(new Error("no room left in wasm")),
  });
  await expect(applyBatch(batchFrom(sync("t1")), parts)).rejects.toThrow();
  expect(account.syncToken()).toBeUndefined();
  expect(rooms.list(undefined)).toEqual([]);
  expect(timeline.newestSegment(roomId)).toBeUndefined();
  expect(steps).toEqual([]);
});

test("where the barrier fails nothing is saved", async () => {
  const { parts, account } = makeParts();
  parts.cryptoBarrier = () => Promise.reject(Object.assign(new Error("disk"), { code: "ENOSPC" }));
  await expect(applyBatch(batchFrom(sync("t1")), parts)).rejects.toThrow();
  expect(account.syncToken()).toBeUndefined();
});

test("the same token is asked again until crypto takes what came with it", async () => {
  let failures = 3;
  const { parts, account } = makeParts({
    receive: () => (failures-- > 0 ? Promise.reject(new Error("not now")) : Promise.resolve()),
  });
  const asked: (string | undefined)[] = [];
  let answers = 0;
  const taken = Promise.withResolvers<undefined>();
  account.setSyncToken("t0");
  const loop = createSyncLoop({
    nowMs: () => Date.now(),
    poll: (_timeoutMs, signal) => {
      asked.push(account.syncToken());
      if (asked.length <= 4) return Promise.resolve(batchFrom(sync(`t${++answers}`)));
      taken.resolve(undefined);
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          reject(new Error("ended"));
        });
      });
    },
    apply: (batch) => applyBatch(batch, parts),
    applied: () => undefined,
    isSendingMuch: () => false,
    stateChanged: (state) => {
      if (state.at === "offline") setTimeout(loop.hurry);
    },
  });
  loop.start();
  await taken.promise;
  await loop.stop();
  expect(asked).toEqual(["t0", "t0", "t0", "t0", "t4"]);
});

test("a message that cannot be tried after the commit is there, waits for its key, and the sync counts", async () => {
  const { parts, account, timeline } = makeParts({ track: () => Promise.reject(new Error("wasm")) });
  const batch = batchFrom(sync("t1"));
  const applied = await applyBatch(batch, parts);
  expect(account.syncToken()).toBe("t1");
  expect(timeline.waiting(10)).toHaveLength(1);
  expect(applied.events.get(roomId)?.events.size).toBe(1);
});

test("encrypted is never unset", async () => {
  const { parts, rooms } = makeParts();
  const state = (content: unknown) => ({ ...encrypted(), type: "m.room.encryption", state_key: "", content });
  await applyBatch(
    batchFrom(sync("t1", [state({ algorithm: "m.megolm.v1.aes-sha2", rotation_period_msgs: 7 })])),
    parts,
  );
  const first = rooms.room(roomId)?.encryption;
  for (const content of [{}, { algorithm: "org.example.rot13" }, { algorithm: 5 }, { algorithm: "" }, "none"])
    await applyBatch(batchFrom(sync("t2", [state(content)])), parts);
  expect(rooms.room(roomId)?.encryption).toBe(first);
  expect(JSON.parse(first ?? "{}")).toEqual({ algorithm: "m.megolm.v1.aes-sha2", rotationPeriodMessages: 7 });
});

const queued = (transactionId: string) => ({
  item_id: "~own",
  transaction_id: transactionId,
  room_id: roomId,
  type: "m.room.message",
  content: "{}",
  encrypted: 1 as const,
  queued_at_ms: 1,
});

test("an own message comes back under the item id that it had", async () => {
  const { parts, timeline } = makeParts();
  const queue = createQueueStore(parts.db);
  queue.add(queued("txn"));
  queue.setState("~own", "sending");
  const event = { ...encrypted(), sender: me, unsigned: { transaction_id: "txn" } };
  await applyBatch(batchFrom(sync("t1", [event])), parts);
  expect(timeline.eventByItem("~own")?.event_id).toBe(event.event_id);
  expect(queue.ofRoom(roomId)).toEqual([]);
});

test("an event with the transaction id of a message that was never sent does not pass for it", async () => {
  const { parts, timeline } = makeParts();
  const queue = createQueueStore(parts.db);
  queue.add(queued("txn"));
  const event = { ...encrypted(), sender: me, unsigned: { transaction_id: "txn" } };
  await applyBatch(batchFrom(sync("t1", [event])), parts);
  expect(timeline.eventByItem("~own")).toBeUndefined();
  expect(queue.ofRoom(roomId).map((row) => row.item_id)).toEqual(["~own"]);
});

test("no request that carries ciphertext or keys overtakes the barrier; others do not wait for it", async () => {
  const arrived: string[] = [];
  const server: Server = createServer((request, response) => {
    arrived.push(String(request.url));
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  let open: () => void = () => undefined;
  let barriers = 0;
  const barrier = () =>
    new Promise<void>((resolve) => {
      barriers++;
      open = resolve;
    });
  const http = createHttp({ homeserver: url, proxy: {}, barrier });
  const secret = [
    "/_matrix/client/v3/rooms/!a%3Ab/send/m.room.encrypted/t1",
    "/_matrix/client/v3/sendToDevice/m.room.encrypted/t1",
    "/_matrix/client/v3/keys/upload",
    "/_matrix/client/v3/keys/claim",
    "/_matrix/client/v3/keys/signatures/upload",
    "/_matrix/client/v3/keys/device_signing/upload",
    "/_matrix/client/v3/room_keys/keys",
  ];
  for (const target of secret)
    for (const send of [
      () => http.request("PUT", target, { body: {} }),
      () => http.fetchFn(url + target, { method: "PUT", body: "{}" }),
    ]) {
      const before = arrived.length;
      const sent = send();
      const plain = barriers;
      await http.request("GET", "/_matrix/client/v3/sync");
      expect(arrived.slice(before)).toEqual(["/_matrix/client/v3/sync"]);
      expect(barriers).toBe(plain);
      open();
      await sent;
      expect(arrived.slice(before)).toEqual(["/_matrix/client/v3/sync", target]);
    }
  expect(barriers).toBe(secret.length * 2);
  await http.close();
  await new Promise((resolve) => server.close(resolve));
});

import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { madeUpKeys } from "../../bench/made-up-keys.ts";
import { DeviceOnDisk, startRustCrypto } from "./store-on-disk.ts";
import { decryptEvent, encryptEvent, encryptIn, introduce, Transport } from "./transport.ts";

const directory = mkdtempSync(join(tmpdir(), "tessera-rust-crypto-"));
const room = "!room:tessera.example";
const open: DeviceOnDisk[] = [];
let files = 0;

async function device(user: string, name: string): Promise<DeviceOnDisk> {
  const opened = await DeviceOnDisk.open(user, name, join(directory, `${files++}.db`));
  open.push(opened);
  return opened;
}

const alice = (): Promise<DeviceOnDisk> => device("@alice:tessera.example", "ALICE");
const bob = (): Promise<DeviceOnDisk> => device("@bob:tessera.example", "BOB");

async function reopen(transport: Transport, ...devices: DeviceOnDisk[]): Promise<void> {
  for (const each of devices) {
    await each.reopen();
    transport.attach(each.machine);
  }
}

const exportAll = (from: DeviceOnDisk): Promise<string> => from.machine.exportRoomKeys(() => true);
const noProgress = (): undefined => undefined;

beforeAll(async () => {
  await startRustCrypto();
  const probe = await device("@probe:tessera.example", "PROBE");
  console.log(`[real] Rust crypto ${sdk.getVersions().matrix_sdk_crypto} on ${probe.store.describe()}`);
});

afterEach(() => {
  for (const each of open.splice(0)) {
    expect(each.store.integrityCheck()).toBe(true);
    each.close();
  }
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

test("share, encrypt and decrypt both ways, reopening both after every step", async () => {
  const [a, b] = [await alice(), await bob()];
  const transport = new Transport();
  await introduce(transport, a.machine, b.machine);
  const identity = a.machine.identityKeys.ed25519.toBase64();
  await reopen(transport, a, b);
  expect(a.machine.identityKeys.ed25519.toBase64()).toBe(identity);
  const first = await encryptIn(a.machine, transport, room, [a.user, b.user], "first");
  await reopen(transport, a, b);
  await transport.deliver(b.machine);
  await reopen(transport, b);
  expect(await decryptEvent(b.machine, room, first)).toBe("first");
  const answer = await encryptIn(b.machine, transport, room, [a.user, b.user], "answer");
  await transport.deliver(a.machine);
  await reopen(transport, a, b);
  expect(await decryptEvent(a.machine, room, answer)).toBe("answer");
  expect(await decryptEvent(a.machine, room, first)).toBe("first");
  for (let index = 0; index < 5; index++) {
    const event = await encryptEvent(a.machine, room, `message ${index}`);
    await reopen(transport, a, b);
    expect(await decryptEvent(b.machine, room, event)).toBe(`message ${index}`);
  }
});

test("many decryptions at once", async () => {
  const [a, b] = [await alice(), await bob()];
  const transport = new Transport();
  await introduce(transport, a.machine, b.machine);
  const events = [await encryptIn(a.machine, transport, room, [b.user], "0")];
  for (let index = 1; index < 200; index++) events.push(await encryptEvent(a.machine, room, String(index)));
  await transport.deliver(b.machine);
  const bodies = await Promise.all(events.map((event) => decryptEvent(b.machine, room, event)));
  expect(bodies).toEqual(events.map((_, index) => String(index)));
});

test("import, export and import again count the same", async () => {
  const a = await alice();
  const transport = new Transport();
  const made = await a.machine.importExportedRoomKeys(madeUpKeys(1200, 10), noProgress);
  expect([made.importedCount, made.totalCount]).toEqual([1200, 1200]);
  await reopen(transport, a);
  const exported = await exportAll(a);
  expect((JSON.parse(exported) as unknown[]).length).toBe(1200);
  expect((await a.machine.roomKeyCounts()).total).toBe(1200);
  const fileOfKeys = sdk.OlmMachine.encryptExportedRoomKeys(exported, "a passphrase", 1000);
  const b = await bob();
  const opened = sdk.OlmMachine.decryptExportedRoomKeys(fileOfKeys, "a passphrase");
  expect((await b.machine.importExportedRoomKeys(opened, noProgress)).importedCount).toBe(1200);
  await reopen(transport, b);
  expect((await b.machine.importExportedRoomKeys(opened, noProgress)).importedCount).toBe(0);
  expect(sorted(await exportAll(b))).toEqual(sorted(exported));
});

test("a backup takes every key once and opens on a new device", async () => {
  const a = await alice();
  const transport = new Transport();
  transport.attach(a.machine);
  await a.machine.importExportedRoomKeys(madeUpKeys(250, 3), noProgress);
  const key = sdk.BackupDecryptionKey.createRandomKey();
  await a.machine.enableBackupV1(key.megolmV1PublicKey.publicKeyBase64, "1");
  await a.machine.saveBackupDecryptionKey(key, "1");
  const rooms = new Map<sdk.RoomId, Map<string, unknown>>();
  let backedUp = 0;
  for (;;) {
    const request = await a.machine.backupRoomKeys();
    if (!request) break;
    backedUp += decryptBackup(request.body, key, rooms);
    await transport.send(a.machine, request);
    await reopen(transport, a);
    const { backupVersion } = await a.machine.getBackupKeys();
    expect(backupVersion).toBe("1");
    await a.machine.enableBackupV1(key.megolmV1PublicKey.publicKeyBase64, "1");
  }
  expect(backedUp).toBe(250);
  expect((await a.machine.roomKeyCounts()).backedUp).toBe(250);
  const b = await device(a.user, "NEW");
  const restored = await b.machine.importBackedUpRoomKeys(rooms, noProgress, "1");
  expect(restored.importedCount).toBe(250);
  await reopen(transport, b);
  expect(sorted(await exportAll(b)).map(({ session_id }) => session_id)).toEqual(
    sorted(await exportAll(a)).map(({ session_id }) => session_id),
  );
});

test("two people verify each other by emoji, and it holds after a reopen", async () => {
  const [a, b] = [await alice(), await bob()];
  const transport = new Transport();
  await introduce(transport, a.machine, b.machine);
  for (const each of [a, b]) await bootstrap(transport, each);
  for (const each of [a, b]) await refresh(transport, each, [a, b]);
  await reopen(transport, a, b);
  await verifyBySas(transport, a, b);
  for (const each of [a, b]) await refresh(transport, each, [a, b]);
  await reopen(transport, a, b);
  for (const [own, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const identity = await own.machine.getIdentity(new sdk.UserId(other.user));
    expect(identity?.isVerified()).toBe(true);
    const known = await own.machine.getDevice(new sdk.UserId(other.user), new sdk.DeviceId(other.device));
    expect(known?.isVerified()).toBe(true);
  }
});

function sorted(exported: string): { session_id: string }[] {
  const keys = JSON.parse(exported) as { session_id: string }[];
  return keys.sort((x, y) => (x.session_id < y.session_id ? -1 : 1));
}

interface BackupBody {
  rooms: Record<
    string,
    { sessions: Record<string, { session_data: { ephemeral: string; mac: string; ciphertext: string } }> }
  >;
}

function decryptBackup(
  body: string,
  key: sdk.BackupDecryptionKey,
  into: Map<sdk.RoomId, Map<string, unknown>>,
): number {
  let count = 0;
  for (const [roomId, { sessions }] of Object.entries((JSON.parse(body) as BackupBody).rooms)) {
    const decrypted = new Map<string, unknown>();
    for (const [id, { session_data }] of Object.entries(sessions)) {
      const text = key.decryptV1(session_data.ephemeral, session_data.mac, session_data.ciphertext);
      decrypted.set(id, JSON.parse(text) as unknown);
      count++;
    }
    into.set(new sdk.RoomId(roomId), decrypted);
  }
  return count;
}

async function bootstrap(transport: Transport, { machine, user }: DeviceOnDisk): Promise<void> {
  const requests = await machine.bootstrapCrossSigning(true);
  const uploadKeys = requests.uploadKeysRequest as sdk.KeysUploadRequest | undefined;
  if (uploadKeys) await transport.send(machine, uploadKeys);
  const keys = JSON.parse(requests.uploadSigningKeysRequest.body) as Record<string, unknown>;
  transport.publishCrossSigning(user, keys);
  await transport.send(machine, requests.uploadSignaturesRequest);
}

async function refresh(transport: Transport, { machine }: DeviceOnDisk, devices: DeviceOnDisk[]): Promise<void> {
  await transport.deliver(
    machine,
    devices.map((each) => each.user),
  );
  await transport.drain(machine);
}

async function verifyBySas(transport: Transport, a: DeviceOnDisk, b: DeviceOnDisk): Promise<void> {
  const bobsDevice = await a.machine.getDevice(new sdk.UserId(b.user), new sdk.DeviceId(b.device));
  if (!bobsDevice) throw new Error("the other device is unknown");
  const [request, toDevice] = bobsDevice.requestVerification([sdk.VerificationMethod.SasV1]);
  await transport.send(a.machine, toDevice);
  await transport.deliver(b.machine);
  const theirs = b.machine.getVerificationRequest(new sdk.UserId(a.user), request.flowId);
  const accept = theirs?.acceptWithMethods([sdk.VerificationMethod.SasV1]);
  if (!theirs || !accept) throw new Error("the request did not arrive");
  await transport.send(b.machine, accept);
  await transport.deliver(a.machine);
  const started = await request.startSas();
  if (!started) throw new Error("the verification did not start");
  const [sasOfAlice, start] = started;
  await transport.send(a.machine, start);
  await transport.deliver(b.machine);
  const sasOfBob = theirs.getVerification();
  if (!(sasOfBob instanceof sdk.Sas)) throw new Error("no emoji verification");
  const acceptSas = sasOfBob.accept();
  if (!acceptSas) throw new Error("the verification cannot be accepted");
  await transport.send(b.machine, acceptSas);
  await transport.settle(a.machine, b.machine);
  expect(sasOfAlice.emojiIndex()).toEqual(sasOfBob.emojiIndex());
  for (const [device, sas] of [
    [a, sasOfAlice],
    [b, sasOfBob],
  ] as const) {
    for (const outgoing of await sas.confirm()) await transport.send(device.machine, outgoing);
    await transport.settle(a.machine, b.machine);
  }
  await transport.settle(a.machine, b.machine);
  expect([sasOfAlice.isDone(), sasOfBob.isDone()]).toEqual([true, true]);
}

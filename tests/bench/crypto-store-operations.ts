import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { decryptEvent, encryptEvent, introduce, shareIn, Transport } from "../core/crypto-store/transport.ts";

export interface OperationCounts {
  importedKeys: number;
  messages: number;
  rooms: number;
  backedUpKeys: number;
}

export interface Measured {
  ms: Record<string, number>;
  imported: number;
  exported: number;
  counted: number;
}

/** Lets what a store does in the background end before the next measurement, for all stores alike. */
const restMs = 300;

const alice = "@alice:tessera.example";
const bob = "@bob:tessera.example";

/**
 * The ten operations, in Node and in a page alike. `storeName` undefined is Rust's memory store. `afterOperation` runs
 * between measurements.
 */
export async function runOperations(
  storeName: string | undefined,
  exportedKeys: string,
  counts: OperationCounts,
  afterOperation: () => Promise<void> = () => Promise.resolve(),
): Promise<Measured> {
  const ms: Record<string, number> = {};
  const measure = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const startMs = performance.now();
    const result = await work();
    ms[name] = performance.now() - startMs;
    await afterOperation();
    await new Promise((resolve) => setTimeout(resolve, restMs));
    return result;
  };
  const machineOf = (user: string, device: string): Promise<sdk.OlmMachine> => {
    const store = storeName === undefined ? undefined : `${storeName}-${device}`;
    return sdk.OlmMachine.initialize(new sdk.UserId(user), new sdk.DeviceId(device), store);
  };
  const sender = await machineOf(alice, "SENDER");
  const receiver = await machineOf(bob, "RECEIVER");
  const transport = new Transport();
  await introduce(transport, sender, receiver);
  const ignore = (): undefined => undefined;

  const first = await measure("import keys", () => sender.importExportedRoomKeys(exportedKeys, ignore));
  await measure("import the same again", () => sender.importExportedRoomKeys(exportedKeys, ignore));
  const exported = await measure("export keys", () => sender.exportRoomKeys(() => true));
  const roomKeyCounts = await measure("roomKeyCounts", () => sender.roomKeyCounts());

  const room = "!bench:tessera.example";
  await shareIn(sender, transport, room, [alice, bob]);
  const events: string[] = [];
  await measure("encrypt", async () => {
    for (let index = 0; index < counts.messages; index++) events.push(await encryptEvent(sender, room, `m${index}`));
  });
  await transport.deliver(receiver);
  await measure("decrypt, one session", async () => {
    for (const event of events) await decryptEvent(receiver, room, event);
  });

  const rotated: [room: string, event: string][] = [];
  await measure("rotate, share and encrypt", async () => {
    for (let index = 0; index < counts.rooms; index++) {
      const roomId = `!rotated${index % 10}:tessera.example`;
      await sender.invalidateGroupSession(new sdk.RoomId(roomId));
      await shareIn(sender, transport, roomId, [bob]);
      rotated.push([roomId, await encryptEvent(sender, roomId, `r${index}`)]);
    }
  });
  await measure("room keys in one sync", () => transport.deliver(receiver));
  await measure("decrypt, many sessions", async () => {
    for (const [roomId, event] of rotated) await decryptEvent(receiver, roomId, event);
  });

  const backupKey = sdk.BackupDecryptionKey.createRandomKey();
  await sender.enableBackupV1(backupKey.megolmV1PublicKey.publicKeyBase64, "1");
  await measure("back up keys", async () => {
    for (let backedUp = 0; backedUp < counts.backedUpKeys; backedUp += 100) {
      const request = await sender.backupRoomKeys();
      if (!request) throw new Error("nothing is left to back up");
      await transport.send(sender, request);
    }
  });
  sender.close();
  receiver.close();
  const exportedCount = (JSON.parse(exported) as unknown[]).length;
  return { ms, imported: first.importedCount, exported: exportedCount, counted: roomKeyCounts.total };
}

/** The same in a page, whose IndexedDB is global. */
export async function runOperationsInPage(
  _page: unknown,
  storeName: string,
  exportedKeys: string,
  counts: OperationCounts,
): Promise<Measured> {
  await sdk.initAsync();
  new sdk.Tracing(sdk.LoggerLevel.Error).turnOn();
  return runOperations(storeName, exportedKeys, counts);
}

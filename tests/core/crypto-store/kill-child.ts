/* Runs until it is killed: encrypts, passes the barrier, and only then says so on stdout. */
import { writeSync } from "node:fs";
import { DeviceOnDisk, startRustCrypto } from "./store-on-disk.ts";
import { encryptEvent, introduce, shareIn, Transport } from "./transport.ts";
import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { madeUpKeys } from "../../bench/made-up-keys.ts";

const [file = "", roomCount = "3"] = process.argv.slice(2);
const say = (line: object): void => {
  writeSync(1, `${JSON.stringify(line)}\n`);
};

await startRustCrypto();
say({ kind: "started" });
const device = await DeviceOnDisk.open("@alice:tessera.example", "ALICE", file);
const { machine, store } = device;
const transport = new Transport();
await introduce(transport, machine);
await store.sync();
say({
  kind: "identity",
  key: machine.identityKeys.ed25519.toBase64(),
  sessions: (await machine.roomKeyCounts()).total,
});

for (let step = 0; ; step++) {
  const room = `!room${step % Number(roomCount)}:tessera.example`;
  if (step % 17 === 16) await machine.invalidateGroupSession(new sdk.RoomId(room));
  await shareIn(machine, transport, room, [device.user]);
  const event = JSON.parse(await encryptEvent(machine, room, `step ${step}`)) as {
    content: { session_id: string; ciphertext: string };
  };
  if (step % 10 === 9) {
    const { importedCount } = await machine.importExportedRoomKeys(madeUpKeys(20, 2), () => undefined);
    await store.sync();
    say({ kind: "imported", count: importedCount });
  }
  await store.sync();
  say({ kind: "sent", room, sessionId: event.content.session_id, ciphertext: event.content.ciphertext });
}

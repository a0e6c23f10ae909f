import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { writeKeyFile } from "../../main/core/features/backup/key-file/write.ts";
import { openCryptoStore } from "../../main/core/storage/crypto-store/index.ts";
import { endCores } from "../core/core.ts";
import { madeUpBackup, strangersKey, type Rooms } from "../core/backup/made-up-backup.ts";
import { startFaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { backupAccount } from "./backup-account.ts";
import { madeUpKeys } from "./made-up-keys.ts";
import { atLeast, atMost, quantile, rounded, type BenchResult } from "./result.ts";

const rounds = 3;
const passphrase = "a passphrase of the file";
const median = (values: number[]) => quantile(values, 0.5);
const isUpload = { method: "PUT", path: /\/room_keys\/keys$/ };
type Body = { rooms: Rooms };
const keysIn = ({ rooms }: Body) =>
  Object.values(rooms).reduce((sum, room) => sum + Object.keys(room.sessions).length, 0);

/** What the server takes, from bodies that are ready. */
async function serverAlone(homeserver: Homeserver, atOnce: number, size: number): Promise<number> {
  const { accessToken: token } = await homeserver.register(`alone-${atOnce}`);
  const publicKey = strangersKey();
  const { version } = await homeserver.api<{ version: string }>("POST", "v3/room_keys/version", {
    token,
    body: { algorithm: "m.megolm_backup.v1.curve25519-aes-sha2", auth_data: { public_key: publicKey, signatures: {} } },
  });
  const roomIds = Array.from({ length: Math.ceil(atOnce / 50) }, (_, n) => `!room${n}:x.test`);
  const bodies: Body[] = [];
  for (let made = 0; made < size; made += atOnce)
    bodies.push({ rooms: madeUpBackup(publicKey, roomIds, Math.min(atOnce, size - made)) });
  const fromMs = performance.now();
  for (const body of bodies) await homeserver.api("PUT", "v3/room_keys/keys", { token, query: { version }, body });
  return (size / (performance.now() - fromMs)) * 1000;
}

/** Rust crypto making the requests and taking their answers over our store, with nobody to send them to. */
async function machineAlone(size: number): Promise<number> {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-bench-"));
  const store = openCryptoStore({ file: path.join(folder, "crypto.db"), key: Buffer.alloc(32, 7) });
  try {
    Object.assign(globalThis, store.globals);
    await sdk.initAsync();
    const machine = await sdk.OlmMachine.initialize(
      new sdk.UserId("@bench:x.test"),
      new sdk.DeviceId("UPLOAD"),
      "upload",
    );
    const all = JSON.parse(madeUpKeys(size, Math.ceil(size / 50))) as unknown[];
    for (let at = 0; at < size; at += 500)
      await machine.importExportedRoomKeys(JSON.stringify(all.slice(at, at + 500)), () => undefined);
    await machine.enableBackupV1(strangersKey(), "1");
    const fromMs = performance.now();
    for (;;) {
      const request = await machine.backupRoomKeys();
      if (request === undefined) break;
      await machine.markRequestAsSent(request.id, sdk.RequestType.KeysBackup, '{"etag":"1","count":1}');
    }
    const tookMs = performance.now() - fromMs;
    machine.close();
    return (size / tookMs) * 1000;
  } finally {
    store.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Keys of an imported file go up to an empty backup, in a process of its own on loopback. */
export async function bench({ size = 100_000 }: { size?: number } = {}): Promise<BenchResult> {
  const homeserver = await startHomeserver();
  const proxy = await startFaultProxy(homeserver.url, { recordBytes: 16 * 2 ** 20 });
  try {
    const imports = async (name: string, count: number, via?: string) => {
      const account = await backupAccount(homeserver, name);
      try {
        const file = path.join(account.home, "keys.txt");
        async function* sessions() {
          yield (JSON.parse(madeUpKeys(count, Math.ceil(count / 50))) as unknown[]).map((one) => JSON.stringify(one));
          await Promise.resolve();
        }
        const signal = new AbortController().signal;
        await writeKeyFile({
          path: file,
          passphrase,
          sessions: sessions(),
          signal,
          wrote: () => undefined,
          rounds: 1000,
        });
        return await account.measure(account.folderWith(0, []), {
          call: { name: "backup.importKeys", input: { path: file, passphrase, operationId: randomUUID() } },
          backedUp: count,
          ...(via === undefined ? {} : { via }),
        });
      } finally {
        account.remove();
      }
    };
    const uploadMs: number[] = [];
    for (let round = 0; round < rounds; round++) uploadMs.push((await imports(`ana-${round}`, size)).uploadMs);
    await imports("counted", Math.min(size, 3000), proxy.url);
    const bodies = proxy.seen(isUpload).map((one) => JSON.parse(one.requestBody.toString()) as Body);
    const rate = (size / median(uploadMs)) * 1000;
    const perSecond = (what: string, value: number) => ({ what, "keys a second": Math.round(value) });
    const small = Math.min(size, 20_000);
    return {
      name: "backup-upload",
      rows: [
        perSecond(`${size} keys, from the first request to the last answer`, rate),
        perSecond("making requests and taking answers alone (Rust crypto over our store)", await machineAlone(small)),
        perSecond("Synapse alone, 100 keys a request", await serverAlone(homeserver, 100, small)),
        perSecond("Synapse alone, 500 keys a request", await serverAlone(homeserver, 500, small)),
        { what: "keys in a request, median", value: rounded(median(bodies.map(keysIn))) },
        { what: "requests that carried 3,000 keys or fewer", value: bodies.length },
      ],
      targets: [
        atLeast("end to end", rate, 5000, "keys/s"),
        atMost("rooms in a request", Math.max(...bodies.map(({ rooms }) => Object.keys(rooms).length)), 900, "rooms"),
        atLeast("keys in a request", median(bodies.map(keysIn)), 500, "keys"),
      ],
    };
  } finally {
    await endCores();
    await proxy.stop();
    await homeserver.stop();
  }
}

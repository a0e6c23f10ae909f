import { parentPort, workerData } from "node:worker_threads";
import { BackupDecryptionKey, initAsync } from "@matrix-org/matrix-sdk-crypto-wasm";
import type { DecryptAnswer, DecryptRequest } from "./backup-decrypt.ts";
import { keyFromBackup } from "./backed-up-key.ts";

/** Decrypts what a backup holds, off the thread that syncs and sends. It lives as long as one restore does. */
const port = parentPort;
if (port === null) throw new Error("this file is a worker's");
const { key } = workerData as { key: string };

await initAsync();
const decryption = BackupDecryptionKey.fromBase64(key);
const decrypt = (ephemeral: string, mac: string, ciphertext: string) =>
  decryption.decryptV1(ephemeral, mac, ciphertext);

port.on("message", ({ id, sessions }: DecryptRequest) => {
  const answer: DecryptAnswer = { id, keys: sessions.map((session) => keyFromBackup(session, decrypt)) };
  port.postMessage(answer);
});

import { RequestType } from "@matrix-org/matrix-sdk-crypto-wasm";
import type { Crypto } from "./crypto.ts";

/** One batch of the machine's own making (100 keys); undefined where nothing is left. Throws what the server answered. */
export async function uploadNextKeys(crypto: Crypto): Promise<{ version: string } | undefined> {
  const { machine, http } = crypto.inner;
  const request = await machine.backupRoomKeys();
  if (request === undefined) return undefined;
  const { id, body, version } = request;
  const answer = await http.request("PUT", "/_matrix/client/v3/room_keys/keys", {
    query: { version },
    body: JSON.parse(body) as unknown,
    timeoutMs: 60_000,
  });
  await machine.markRequestAsSent(id, RequestType.KeysBackup, JSON.stringify(answer));
  return { version };
}

import { DeviceId, initAsync, OlmMachine, UserId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { publicHalf } from "./identity-keys.ts";
import { useIndexedDb, type CryptoStoreGlobals } from "./indexed-db.ts";
import { exportSessions, type InPieces } from "./room-key-export.ts";

/** What of a device is no ratchet: the keys it was given to read with, the identity it holds, the key of the backup. */
const rescued = ["inbound_group_sessions3", "backup_keys"] as const;
const identityRecord = "private_identity";
const prefix = "workshop";

type Workshop = {
  me: string;
  store: CryptoStoreGlobals;
  inPieces: InPieces;
  /** Puts what was rescued of the old store into this one: all of a store, or those records of it. */
  fill: (database: string, store: string, wanted?: (key: string) => boolean) => Promise<void>;
};
export type RescuedSecrets = { master?: string; selfSigning?: string; userSigning?: string; backup?: string };

/**
 * Reads what was rescued of a damaged crypto store by Rust crypto's own code, in a machine of its own with an account of its own: the
 * old device's account, its Olm sessions and its outbound ratchets are not taken along, so nothing of them can ever run again. `take`
 * gets the room keys as JSON of the export format, in pieces.
 */
export async function rescueKeys(
  { me, store, inPieces, fill }: Workshop,
  take: (sessions: string[]) => void,
): Promise<RescuedSecrets> {
  useIndexedDb(store);
  await initAsync();
  const open = () => OlmMachine.initialize(new UserId(me), new DeviceId("WORKSHOP"), prefix);
  // its migrations make the stores
  (await open()).close();
  const database = `${prefix}::matrix-sdk-crypto`;
  for (const name of rescued) await fill(database, name);
  await fill(database, "core", (key) => key === identityRecord);
  const machine = await open();
  try {
    const crypto = { inner: { machine, inTurn: <T>(work: () => Promise<T>) => work() } };
    for await (const sessions of exportSessions(crypto, inPieces)) take(sessions);
    return await secretsOf(machine);
  } finally {
    machine.close();
  }
}

async function secretsOf(machine: OlmMachine): Promise<RescuedSecrets> {
  const exported = await machine.exportCrossSigningKeys();
  const keys = await machine.getBackupKeys();
  const backup = keys.decryptionKey?.toBase64();
  const found = {
    master: exported?.masterKey,
    selfSigning: exported?.self_signing_key,
    userSigning: exported?.userSigningKey,
  };
  exported?.free();
  keys.free();
  const secrets: RescuedSecrets = backup === undefined ? {} : { backup };
  for (const name of ["master", "selfSigning", "userSigning"] as const) {
    const seed = found[name];
    if (seed !== undefined && publicHalf(seed) !== undefined) secrets[name] = seed;
  }
  return secrets;
}

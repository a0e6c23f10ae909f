import {
  createCipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from "node:crypto";

/**
 * A backup as another implementation would write it: m.megolm_backup.v1.curve25519-aes-sha2 by node:crypto alone.
 * Source: client-server API, "Backup algorithm: m.megolm_backup.v1.curve25519-aes-sha2".
 */
export type BackedUp = {
  first_message_index: number;
  forwarded_count: number;
  is_verified: boolean;
  session_data: Record<string, unknown>;
};
export type Rooms = Record<string, { sessions: Record<string, BackedUp> }>;

const unpadded = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64").replaceAll("=", "");
const x25519Header = Buffer.from("302a300506032b656e032100", "hex");
const rawPublic = (key: KeyObject) => key.export({ format: "der", type: "spki" }).subarray(-32);

export function sealFor(publicKey: string, clear: string): Record<string, unknown> {
  const ephemeral = generateKeyPairSync("x25519");
  const recipient = createPublicKey({
    key: Buffer.concat([x25519Header, Buffer.from(publicKey, "base64")]),
    format: "der",
    type: "spki",
  });
  const secret = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: recipient });
  const keys = Buffer.from(hkdfSync("sha256", secret, Buffer.alloc(32), Buffer.alloc(0), 80));
  const cipher = createCipheriv("aes-256-cbc", keys.subarray(0, 32), keys.subarray(64));
  const ciphertext = Buffer.concat([cipher.update(clear), cipher.final()]);
  // the algorithm's MAC covers nothing, as libolm wrote it and everybody since
  const mac = createHmac("sha256", keys.subarray(32, 64)).digest().subarray(0, 8);
  return { ephemeral: unpadded(rawPublic(ephemeral.publicKey)), ciphertext: unpadded(ciphertext), mac: unpadded(mac) };
}

/** A session that nobody made: its id is its key's own public half, as in life. */
export function madeUpSession(): { sessionId: string; sessionKey: string } {
  const signing = rawPublic(generateKeyPairSync("ed25519").publicKey);
  const key = Buffer.concat([Buffer.from([1, 0, 0, 0, 0]), randomBytes(128), signing]);
  return { sessionId: unpadded(signing), sessionKey: unpadded(key) };
}

export const clearSession = (sessionKey: string, more: Record<string, unknown> = {}): string =>
  JSON.stringify({
    algorithm: "m.megolm.v1.aes-sha2",
    sender_key: unpadded(rawPublic(generateKeyPairSync("x25519").publicKey)),
    sender_claimed_keys: { ed25519: unpadded(rawPublic(generateKeyPairSync("ed25519").publicKey)) },
    forwarding_curve25519_key_chain: [],
    session_key: sessionKey,
    ...more,
  });

export const backedUp = (sessionData: Record<string, unknown>): BackedUp => ({
  first_message_index: 0,
  forwarded_count: 0,
  is_verified: false,
  session_data: sessionData,
});

/** The public half of a key that nobody has. */
export const strangersKey = (): string => unpadded(rawPublic(generateKeyPairSync("x25519").publicKey));

/** A backup's key as another client makes it. */
export function backupKeyPair(): { publicKey: string; privateKey: Buffer } {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  return {
    publicKey: unpadded(rawPublic(publicKey)),
    privateKey: privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32),
  };
}

/** So many sound sessions, spread over these rooms. */
export function madeUpBackup(publicKey: string, roomIds: string[], count: number): Rooms {
  const rooms: Rooms = Object.fromEntries(roomIds.map((roomId) => [roomId, { sessions: {} }]));
  for (let made = 0; made < count; made++) {
    const { sessionId, sessionKey } = madeUpSession();
    const room = rooms[roomIds[made % roomIds.length] ?? ""];
    if (room !== undefined) room.sessions[sessionId] = backedUp(sealFor(publicKey, clearSession(sessionKey)));
  }
  return rooms;
}

import { generateKeyPairSync, randomBytes } from "node:crypto";

const unpadded = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

function publicKey(kind: "ed25519" | "x25519"): Buffer {
  const { publicKey: key } = kind === "ed25519" ? generateKeyPairSync("ed25519") : generateKeyPairSync("x25519");
  return key.export({ format: "der", type: "spki" }).subarray(-32);
}

/** A key file's plain JSON with sessions that nobody made: version 1, index 0, a random ratchet, a real public key. */
export function madeUpKeys(sessions: number, rooms: number): string {
  const senderKey = unpadded(publicKey("x25519"));
  const senderSigningKey = unpadded(publicKey("ed25519"));
  const keys = Array.from({ length: sessions }, (_, index) => {
    const signingKey = publicKey("ed25519");
    const sessionKey = Buffer.concat([Buffer.from([1, 0, 0, 0, 0]), randomBytes(128), signingKey]);
    return {
      algorithm: "m.megolm.v1.aes-sha2",
      room_id: `!room${index % rooms}:tessera.example`,
      sender_key: senderKey,
      session_id: unpadded(signingKey),
      session_key: unpadded(sessionKey),
      sender_claimed_keys: { ed25519: senderSigningKey },
      forwarding_curve25519_key_chain: [],
    };
  });
  return JSON.stringify(keys);
}

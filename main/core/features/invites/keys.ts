import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual, type KeyObject } from "node:crypto";
import { lp, sha256 } from "./codec.ts";

/** SJM1's key schedule: HKDF-SHA-256 (RFC 5869), HMAC-SHA-256, AES-256-GCM. docs/invite-protocol.md, "Keys". */
export type Step = "hello" | "reply" | "proof" | "confirm";
/** Raw bytes: 32 each. */
export type DeviceKeys = { deviceId: string; ed25519: Uint8Array; curve25519: Uint8Array };

const hmac = (key: Uint8Array | KeyObject, ...parts: Uint8Array[]): Buffer => {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return mac.digest();
};
/** One block of HKDF-Expand: 32 bytes are all that is ever taken. */
const expand = (prk: Uint8Array, ...info: Uint8Array[]): Buffer => hmac(prk, ...info, Uint8Array.of(1));

/** Everything about a code depends on its inviter and on each byte of its header. */
export const rootKey = (inviter: string, header: Uint8Array, secret: Uint8Array): Buffer =>
  hmac(sha256(lp("SJM1/qr"), lp(inviter), lp(header)), secret);
export const idKey = (root: Uint8Array): Buffer => expand(root, lp("SJM1/id"));
/** What a joiner calls the code by: 16 bytes, others for each joiner, so that a server cannot tell one code's joiners from those of many. */
export const tokenTag = (id: Uint8Array, joiner: string, inviter: string): Buffer => tagsFor(joiner, inviter)(id);
/** The same for many codes of one inviter. A `KeyObject` saves five sixths of the time. */
export const tagsFor = (joiner: string, inviter: string): ((id: Uint8Array | KeyObject) => Buffer) => {
  const message = Buffer.concat([lp("tid"), lp(joiner), lp(inviter)]);
  return (id) => hmac(id, message).subarray(0, 16);
};
export const stepKey = (root: Uint8Array, step: Step, joiner: string, transaction: Uint8Array): Buffer =>
  expand(root, lp(`SJM1/${step}`), lp(joiner), lp(transaction));

export type Envelope = { sender: string; recipient: string; tag: Uint8Array; transaction: Uint8Array };
export const associatedData = (step: Step, { sender, recipient, tag, transaction }: Envelope): Buffer =>
  Buffer.concat([lp("SJM1"), lp(step), lp(sender), lp(recipient), lp(tag), lp(transaction)]);

const tagBytes = 16;
/** Ciphertext and GCM's tag behind it. The nonce has 12 bytes and is never used twice with one key. */
export function seal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, clear: Uint8Array): Buffer {
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
  cipher.setAAD(aad);
  return Buffer.concat([cipher.update(clear), cipher.final(), cipher.getAuthTag()]);
}
/** Undefined where a single bit of key, nonce, additional data or ciphertext differs. */
export function open(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length < tagBytes || nonce.length !== 12) return undefined;
  const cipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
  cipher.setAAD(aad);
  cipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
  try {
    return Buffer.concat([cipher.update(sealed.subarray(0, sealed.length - tagBytes)), cipher.final()]);
  } catch {
    return undefined; // not sealed by whoever holds this code, or altered on the way
  }
}

export type Transcript = {
  header: Uint8Array;
  inviter: string;
  inviterKey: Uint8Array;
  inviterDevice: DeviceKeys;
  joiner: string;
  joinerKey: Uint8Array;
  joinerDevice: DeviceKeys;
  transaction: Uint8Array;
  inviterNonce: Uint8Array;
  joinerNonce: Uint8Array;
  /** The direct chat that PROOF names; empty for groups. */
  room: string;
};
const deviceBytes = (device: DeviceKeys): Buffer =>
  Buffer.concat([lp(device.deviceId), lp(device.ed25519), lp(device.curve25519)]);
/** Both identities, both devices and the whole exchange in one hash: what the proofs speak of. */
export const transcriptHash = (t: Transcript): Buffer =>
  sha256(
    lp("SJM1/transcript"),
    lp(t.header),
    lp(t.inviter),
    lp(t.inviterKey),
    deviceBytes(t.inviterDevice),
    lp(t.joiner),
    lp(t.joinerKey),
    deviceBytes(t.joinerDevice),
    lp(t.transaction),
    lp(t.inviterNonce),
    lp(t.joinerNonce),
    lp(t.room),
  );
export const proofMac = (key: Uint8Array, transcript: Uint8Array): Buffer => hmac(key, transcript);
export const confirmMac = (
  key: Uint8Array,
  transcript: Uint8Array,
  { result, verified, room }: { result: string; verified: boolean; room: string },
): Buffer => hmac(key, transcript, lp(result), Uint8Array.of(verified ? 1 : 0), lp(room));
/** How long it takes tells only whether the lengths differ. */
export const sameBytes = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && timingSafeEqual(one, other);
/** Six digits that both ends may compare: the first four bytes, big-endian, modulo a million. */
export const sixDigits = (transcript: Uint8Array): string =>
  String(sha256(lp("SJM1/sas"), transcript).readUInt32BE(0) % 1_000_000).padStart(6, "0");

import { createPrivateKey, createPublicKey } from "node:crypto";
import { object, type Json } from "../json.ts";
import { bytesOf, unpadded } from "./secret-cipher.ts";

export const identityKeys = ["master", "selfSigning", "userSigning"] as const;
export type IdentityKey = (typeof identityKeys)[number];
/** Seeds, unpadded base64: what secret storage holds. */
export type Seeds = Record<IdentityKey, string>;
/** Public halves, unpadded base64. */
export type PublicKeys = Record<IdentityKey, string>;
/** A fresh identity: its seeds, and what the server gets of it. */
export type NewIdentity = { seeds: Seeds; upload: Record<IdentityKey, Json> };
/** The one key of a cross-signing key object, whose name is `ed25519:` and itself. */
export function publicKeyIn(key: Json | undefined): string | undefined {
  const [entry, ...more] = Object.entries(object(key?.["keys"]) ?? {});
  const bytes = bytesOf(entry?.[1], 32);
  return more.length === 0 && bytes !== undefined ? unpadded(bytes) : undefined;
}

/** The beginning of a PKCS #8 structure with an Ed25519 seed (RFC 8410, section 7). */
const pkcs8 = Buffer.from("302e020100300506032b657004220420", "hex");

/** The public key of an Ed25519 seed, both unpadded base64; `undefined` for what is no seed. */
export function publicHalf(seed: string | undefined): string | undefined {
  const bytes = bytesOf(seed, 32);
  if (bytes === undefined) return undefined;
  const key = createPrivateKey({ key: Buffer.concat([pkcs8, bytes]), format: "der", type: "pkcs8" });
  const { x } = createPublicKey(key).export({ format: "jwk" });
  return x === undefined ? undefined : unpadded(Buffer.from(x, "base64url"));
}

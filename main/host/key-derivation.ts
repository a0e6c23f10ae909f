import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

export const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** HKDF-SHA-256 of the root key; `salt` is the profile's id, so that two profiles share no key. 32 bytes. */
export function deriveKey(rootKey: Uint8Array, profileId: string, purpose: readonly string[]): Uint8Array {
  const info = ["tessera", "1", ...purpose].join("\0");
  return new Uint8Array(
    hkdfSync("sha256", rootKey, Buffer.from(profileId, "utf8"), Buffer.from(info, "utf8"), keyBytes),
  );
}

/** The key of one file of one account. */
export const deriveFileKey = (
  rootKey: Uint8Array,
  profileId: string,
  accountFolder: string,
  file: string,
): Uint8Array => deriveKey(rootKey, profileId, ["file", accountFolder, file]);

/** Nonce, ciphertext, tag in one: AES-256-GCM. `bound` is authenticated and not stored. */
export function seal(key: Uint8Array, plain: Uint8Array, bound: string): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(Buffer.from(bound, "utf8"));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** `undefined` where key, bytes or `bound` are not those it was sealed with. */
export function unseal(key: Uint8Array, sealed: Uint8Array, bound: string): Buffer | undefined {
  if (sealed.length < nonceBytes + tagBytes) return undefined;
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, nonceBytes), { authTagLength: tagBytes });
  decipher.setAAD(Buffer.from(bound, "utf8"));
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
  const plain = decipher.update(sealed.subarray(nonceBytes, sealed.length - tagBytes));
  try {
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    // the tag does not fit: the one thing that final() throws for
    plain.fill(0);
    return undefined;
  }
}

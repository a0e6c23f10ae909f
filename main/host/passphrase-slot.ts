import { randomBytes, scrypt } from "node:crypto";
import * as v from "valibot";
import { keyBytes, seal, unseal } from "./key-derivation.ts";

const base64url = (minBytes: number, maxBytes: number) =>
  v.pipe(
    v.string(),
    v.regex(/^[A-Za-z0-9_-]+$/),
    v.minLength(Math.ceil((minBytes * 4) / 3)),
    v.maxLength(Math.ceil((maxBytes * 4) / 3)),
  );

/** Bounds hold on reading: a damaged or planted file can neither weaken the derivation nor make it eat the machine. */
export const passphraseSlotSchema = v.strictObject({
  version: v.literal(1),
  kdf: v.literal("scrypt"),
  cost: v.pipe(
    v.number(),
    v.integer(),
    v.minValue(2 ** 15),
    v.maxValue(2 ** 20),
    v.check((n) => Number.isInteger(Math.log2(n)), "a power of two"),
  ),
  blockSize: v.pipe(v.number(), v.integer(), v.minValue(8), v.maxValue(16)),
  parallelization: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4)),
  salt: base64url(16, 64),
  wrapped: base64url(60, 60),
});
/** The root key under a passphrase. `wrapped`: nonce, ciphertext and tag of AES-256-GCM. */
export type PassphraseSlot = v.InferOutput<typeof passphraseSlotSchema>;

/** All of the slot but the wrapped key, and the profile it belongs to: authenticated with the key. */
const headerOf = (slot: Omit<PassphraseSlot, "wrapped">, profileId: string): string =>
  JSON.stringify([
    "tessera passphrase slot",
    slot.version,
    profileId,
    slot.kdf,
    slot.cost,
    slot.blockSize,
    slot.parallelization,
    slot.salt,
  ]);

function wrappingKey(passphrase: string, slot: Omit<PassphraseSlot, "wrapped">): Promise<Buffer> {
  const { cost, blockSize, parallelization } = slot;
  // scrypt wants 128·N·r bytes, and node refuses at exactly its limit
  const maxmem = 128 * cost * blockSize + 128 * blockSize * parallelization + 1024 * 1024;
  return new Promise((resolve, reject) => {
    scrypt(
      passphrase.normalize("NFC"),
      Buffer.from(slot.salt, "base64url"),
      keyBytes,
      { cost, blockSize, parallelization, maxmem },
      (error, key) => {
        if (error === null) resolve(key);
        else reject(error);
      },
    );
  });
}

/** Takes about 0.3 s and 128 MiB, off the thread. */
export async function wrapWithPassphrase(
  rootKey: Uint8Array,
  passphrase: string,
  profileId: string,
): Promise<PassphraseSlot> {
  const header = {
    version: 1,
    kdf: "scrypt",
    cost: 2 ** 17,
    blockSize: 8,
    parallelization: 1,
    salt: randomBytes(32).toString("base64url"),
  } as const;
  const key = await wrappingKey(passphrase, header);
  const wrapped = seal(key, rootKey, headerOf(header, profileId)).toString("base64url");
  key.fill(0);
  return { ...header, wrapped };
}

/** The root key; `undefined` where the passphrase is not the slot's. */
export async function unwrapWithPassphrase(
  slot: PassphraseSlot,
  passphrase: string,
  profileId: string,
): Promise<Buffer | undefined> {
  const key = await wrappingKey(passphrase, slot);
  const rootKey = unseal(key, Buffer.from(slot.wrapped, "base64url"), headerOf(slot, profileId));
  key.fill(0);
  return rootKey;
}

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import path from "node:path";
import * as v from "valibot";
import { deriveKey } from "./key-derivation.ts";
import { passphraseSlotSchema } from "./passphrase-slot.ts";
import { readTwin, writeTwin } from "./twin-file.ts";

const vaultSchema = v.strictObject({
  version: v.literal(1),
  profileId: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{22}$/)),
  /** Derived from the root key: tells a wrong key from a damaged file, and tells nothing about the key. */
  keyCheck: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/)),
  keychain: v.boolean(),
  passphrase: v.optional(passphraseSlotSchema),
});
/** `vault.json`: which ways to the root key there are. */
export type VaultFile = v.InferOutput<typeof vaultSchema>;

export const newProfileId = (): string => randomBytes(16).toString("base64url");

export const keyCheckOf = (rootKey: Uint8Array, profileId: string): string =>
  Buffer.from(deriveKey(rootKey, profileId, ["key check"])).toString("base64url");

export function fits(rootKey: Uint8Array, vault: VaultFile): boolean {
  return timingSafeEqual(Buffer.from(keyCheckOf(rootKey, vault.profileId)), Buffer.from(vault.keyCheck));
}

const fileIn = (folder: string): string => path.join(folder, "vault.json");

/** The checksum is against damage, not against malice: without it a flipped bit of the salt would look like a wrong passphrase. */
const checksumOf = (vault: VaultFile): string => createHash("sha256").update(JSON.stringify(vault)).digest("base64url");

function parse(bytes: Buffer): VaultFile | undefined {
  if (bytes.length > 64 * 1024) return undefined;
  let content: unknown;
  try {
    content = JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
  const parsed = v.safeParse(v.strictObject({ vault: vaultSchema, checksum: v.string() }), content);
  return parsed.success && checksumOf(parsed.output.vault) === parsed.output.checksum ? parsed.output.vault : undefined;
}

/** `"corrupt"`: there is a file, and neither it nor its copy is whole. `undefined`: there is none. */
export const readVaultFile = (folder: string): VaultFile | "corrupt" | undefined => readTwin(fileIn(folder), parse);

export function writeVaultFile(folder: string, vault: VaultFile): void {
  // through the schema, so that the order of the fields is the one the checksum is taken over when it is read
  const ordered = v.parse(vaultSchema, vault);
  const content = { vault: ordered, checksum: checksumOf(ordered) };
  writeTwin(fileIn(folder), Buffer.from(`${JSON.stringify(content, null, 2)}\n`));
}

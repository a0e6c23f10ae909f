import { keyBytes } from "./key-derivation.ts";
import { KeychainError, type Keychain } from "./keychain.ts";
import { fits, type VaultFile } from "./vault-file.ts";

/** The state that a keychain's trouble leaves the vault in: a person can open the one, and must bring back the other. */
export function stateAfter({ trouble }: KeychainError): "locked" | "missing" {
  return trouble === "refused" || trouble === "timeout" ? "locked" : "missing";
}

/** The keychain's entry where it is this profile's key; else the state that says what it is. `asking` runs the exchange. */
export async function readRootKey(
  vault: VaultFile,
  keychain: Keychain,
  asking: <T>(ask: () => Promise<T>) => Promise<T>,
): Promise<Buffer | "locked" | "missing" | "changed"> {
  try {
    const entry = await asking(() => keychain.read(vault.profileId));
    if (entry === undefined) return "missing";
    const key = Buffer.from(entry, "base64url");
    // decoding skips what it does not know: only what encodes to the very same text is an entry of ours
    if (key.length === keyBytes && key.toString("base64url") === entry && fits(key, vault)) return key;
    key.fill(0);
    return "changed";
  } catch (error) {
    if (!(error instanceof KeychainError)) throw error;
    return stateAfter(error);
  }
}

import * as v from "valibot";
import { command } from "./define.ts";
import { empty, passphrase } from "./ids.ts";

/** new: nothing made yet · locked: a passphrase or the keyring's own password is wanted · missing: no keychain answers, or it lacks our entry ·
 *  changed: the keychain's entry is not this profile's key · corrupt: the vault's own file is damaged. */
export type VaultAt = "new" | "ready" | "locked" | "missing" | "changed" | "corrupt";
/**
 * `waiting`: the keychain was asked and has not answered (it may be showing a prompt of its own). `unused`: the key is not in it, the
 * passphrase alone opens; `vault.retryKeychain` puts it there.
 */
export type VaultStatus = {
  at: VaultAt;
  keychain: { backend: string; ok: boolean; waiting?: boolean; unused?: true };
  passphrase: boolean;
};

export const vaultCommands = {
  "vault.status": command<VaultStatus>()(empty),
  "vault.unlock": command<Record<string, never>>()(v.strictObject({ passphrase })),
  /** Needs the current passphrase, or a fresh read of the keychain; never removes the last slot. */
  "vault.setPassphrase": command<Record<string, never>>()(
    v.strictObject({ passphrase: v.nullable(passphrase), current: v.optional(passphrase) }),
  ),
  "vault.retryKeychain": command<{ at: VaultAt }>()(empty),
  "vault.lock": command<Record<string, never>>()(empty),
};

export type VaultEvents = { "vault.changed": { at: VaultAt } };

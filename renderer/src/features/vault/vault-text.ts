/** What each state of the vault says, and which ways on it offers. Deletion is none of them. */
import type { VaultStatus } from "../../../../preload/contract/vault.ts";
import { m } from "../../paraglide/messages.js";

export type VaultText = {
  title: string;
  sentences: string[];
  waiting: boolean;
  /** `unlock` asks for the passphrase, `create` for a new one. */
  form: "none" | "unlock" | "create";
  submit: string;
  /** The label of asking the keychain again, where that may help. */
  retry?: string;
  help: string[];
  /** Somebody may fear for their messages, so the page says that they are there. */
  alarming: boolean;
};

/** Nothing to show for `ready`, nor for a `new` profile with a keychain that works: the sign-in follows at once. */
export function vaultText({ at, keychain, passphrase }: VaultStatus): VaultText | undefined {
  const waiting = keychain.waiting === true;
  const unlock = passphrase ? ("unlock" as const) : ("none" as const);
  const base = {
    waiting,
    submit: m.vault_unlock(),
    help: [] as string[],
    alarming: waiting || ["missing", "changed", "corrupt"].includes(at),
  };
  if (waiting) {
    const sentences = [m.vault_waiting_sentence()];
    return {
      ...base,
      title: m.vault_waiting_title(),
      sentences,
      form: unlock,
      help: [m.vault_help_prompt(), m.vault_help_session()],
    };
  }
  switch (at) {
    case "ready":
      return undefined;
    case "new":
      if (keychain.ok) return undefined;
      return {
        ...base,
        title: m.vault_new_title(),
        sentences: [m.vault_new_sentence()],
        form: "create",
        submit: m.vault_protect(),
        retry: m.vault_ask_keyring_again(),
        help: [m.vault_help_service(), m.vault_help_write_down()],
      };
    case "locked":
      return {
        ...base,
        title: m.vault_locked_title(),
        sentences: [passphrase ? m.vault_locked_passphrase() : m.vault_locked_keyring()],
        form: unlock,
        retry: m.vault_ask_keyring(),
        help: passphrase ? [m.vault_help_passphrase()] : [m.vault_help_prompt(), m.vault_help_session()],
      };
    case "missing":
      return {
        ...base,
        title: m.vault_missing_title(),
        sentences: [m.vault_missing_sentence(), ...(passphrase ? [m.vault_passphrase_opens()] : [])],
        form: unlock,
        retry: m.vault_ask_keyring_again(),
        help: [m.vault_help_service(), m.vault_help_backend(), m.vault_help_other_devices()],
      };
    case "changed":
      return {
        ...base,
        title: m.vault_changed_title(),
        sentences: [m.vault_changed_sentence(), ...(passphrase ? [m.vault_passphrase_opens()] : [])],
        form: unlock,
        retry: m.vault_ask_keyring_again(),
        help: [m.vault_help_backend(), m.vault_help_restore_keyring(), m.vault_help_other_devices()],
      };
    case "corrupt":
      return {
        ...base,
        title: m.vault_corrupt_title(),
        sentences: [m.vault_corrupt_sentence()],
        form: "none",
        retry: m.try_again(),
        help: [m.vault_help_copy_back(), m.vault_help_disk(), m.vault_help_other_devices()],
      };
  }
}

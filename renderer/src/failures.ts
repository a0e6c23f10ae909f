/** The one table from a failure's code to what a person is told. */
import type { Failure, FailureCode } from "../../preload/contract/define.ts";
import { m } from "./paraglide/messages.js";

/** `info`: a person's own doing, or nothing to worry about · `warn`: passes or can be mended here · `danger`: something may be lost. */
export type Severity = "info" | "warn" | "danger";
export type FailureAction = "retry" | "sign-in" | "unlock" | "none";
type Entry = { severity: Severity; sentence: () => string; action: FailureAction };

const table: Record<FailureCode, Entry> = {
  "bad-request": { severity: "warn", sentence: m.failure_bad_request, action: "none" },
  "not-signed-in": { severity: "warn", sentence: m.failure_not_signed_in, action: "sign-in" },
  "already-signed-in": { severity: "info", sentence: m.failure_already_signed_in, action: "none" },
  forbidden: { severity: "warn", sentence: m.failure_forbidden, action: "none" },
  "authentication-required": { severity: "warn", sentence: m.failure_authentication_required, action: "none" },
  "rate-limited": { severity: "info", sentence: m.failure_rate_limited, action: "retry" },
  unreachable: { severity: "warn", sentence: m.failure_unreachable, action: "retry" },
  "not-a-homeserver": { severity: "warn", sentence: m.failure_not_a_homeserver, action: "none" },
  unsupported: { severity: "warn", sentence: m.failure_unsupported, action: "none" },
  timeout: { severity: "warn", sentence: m.failure_timeout, action: "retry" },
  conflict: { severity: "warn", sentence: m.failure_conflict, action: "none" },
  "not-found": { severity: "warn", sentence: m.failure_not_found, action: "none" },
  "too-large": { severity: "warn", sentence: m.failure_too_large, action: "none" },
  locked: { severity: "warn", sentence: m.failure_locked, action: "unlock" },
  "keychain-missing": { severity: "danger", sentence: m.failure_keychain_missing, action: "retry" },
  "keychain-changed": { severity: "danger", sentence: m.failure_keychain_changed, action: "retry" },
  "database-corrupt": { severity: "danger", sentence: m.failure_database_corrupt, action: "retry" },
  "disk-full": { severity: "danger", sentence: m.failure_disk_full, action: "retry" },
  "wrong-key": { severity: "warn", sentence: m.failure_wrong_key, action: "none" },
  "wrong-file": { severity: "warn", sentence: m.failure_wrong_file, action: "none" },
  "history-at-risk": { severity: "danger", sentence: m.failure_history_at_risk, action: "none" },
  "identity-changed": { severity: "danger", sentence: m.failure_identity_changed, action: "none" },
  "recipients-blocked": { severity: "warn", sentence: m.failure_recipients_blocked, action: "none" },
  cancelled: { severity: "info", sentence: m.failure_cancelled, action: "none" },
  unexpected: { severity: "warn", sentence: m.failure_unexpected, action: "retry" },
};

/** What the failure means here, where the general sentence would miss it (a `forbidden` at sign-in is a wrong password). */
export type Situation = "sign-in" | "register" | "passphrase" | "message";

const inSituation: Partial<Record<Situation, Partial<Record<FailureCode, () => string>>>> = {
  "sign-in": {
    forbidden: m.failure_sign_in_forbidden,
    unsupported: m.failure_sign_in_unsupported,
    "not-found": m.failure_sign_in_not_found,
  },
  register: { conflict: m.failure_register_conflict, forbidden: m.failure_register_forbidden },
  passphrase: { "wrong-key": m.failure_passphrase_wrong },
  message: {
    "too-large": m.failure_message_too_large,
    forbidden: m.failure_message_forbidden,
    unreachable: m.failure_message_unreachable,
  },
};

export function failureText(failure: Failure, situation?: Situation): string {
  const special = situation === undefined ? undefined : inSituation[situation]?.[failure.code];
  return (special ?? entry(failure.code).sentence)();
}

export const failureSeverity = (failure: Failure): Severity => entry(failure.code).severity;

export function failureAction(failure: Failure): FailureAction {
  const { action } = entry(failure.code);
  return action === "retry" && !failure.retryable ? "none" : action;
}

// A newer host may name a code that this window does not know.
const entry = (code: FailureCode): Entry => (Object.hasOwn(table, code) ? table[code] : table.unexpected);

/** The own identity's state in sentences, with the one thing to do about it. */
import type { Secret, TrustStatus } from "../../../../preload/contract/trust.ts";
import { m } from "../../paraglide/messages.js";

export type TrustAction = "set-up" | "confirm" | "reset";
export type TrustWords = { at: "good" | "warn" | "danger"; lead: string; rest: string; action?: TrustAction };

export function identityText(status: TrustStatus): TrustWords {
  if (status.identity === "none")
    return { at: "warn", lead: m.identity_none(), rest: m.identity_none_rest(), action: "set-up" };
  if (status.identity === "this-device-unverified")
    return { at: "warn", lead: m.identity_unconfirmed(), rest: m.identity_unconfirmed_rest(), action: "confirm" };
  const missing = missingSecrets(status);
  if (missing.length > 0)
    return { at: "warn", lead: m.identity_verified(), rest: m.identity_missing(), action: "confirm" };
  return { at: "good", lead: m.identity_verified(), rest: m.identity_verified_rest() };
}

export function recoveryText(status: TrustStatus): TrustWords {
  if (status.recovery === "ready") return { at: "good", lead: m.recovery_ready(), rest: m.recovery_ready_rest() };
  if (status.identity === "this-device-unverified")
    return { at: "warn", lead: m.recovery_elsewhere(), rest: m.recovery_elsewhere_rest(), action: "confirm" };
  return status.recovery === "none"
    ? { at: "warn", lead: m.recovery_none(), rest: m.recovery_none_rest(), action: "set-up" }
    : { at: "warn", lead: m.recovery_incomplete(), rest: m.recovery_incomplete_rest(), action: "set-up" };
}

export const secrets = ["master", "selfSigning", "userSigning", "backup"] as const;
const secretTexts: Record<Secret, () => string> = {
  master: m.secret_master,
  selfSigning: m.secret_self_signing,
  userSigning: m.secret_user_signing,
  backup: m.secret_backup,
};
export const secretText = (secret: Secret): string => secretTexts[secret]();

export const missingSecrets = (status: TrustStatus): Secret[] => secrets.filter((secret) => !status.secrets[secret]);

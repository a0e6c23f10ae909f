/** Why a device is left out, in words. */
import type { WithheldReason } from "../../../../preload/contract/trust.ts";
import { m } from "../../paraglide/messages.js";

const texts: Record<WithheldReason, () => string> = {
  "unsigned-device": m.withheld_unsigned,
  "unverified-user": m.withheld_unverified,
  "identity-changed": m.withheld_changed,
  blocked: m.withheld_blocked,
  "no-keys": m.withheld_no_keys,
  "keys-unreachable": m.withheld_unreachable,
};
export const withheldText = (reason: WithheldReason): string =>
  (Object.hasOwn(texts, reason) ? texts[reason] : m.withheld_other)();

const causes: Record<WithheldReason, () => string> = {
  "unsigned-device": m.because_unsigned,
  "unverified-user": m.because_unverified,
  "identity-changed": m.because_changed,
  blocked: m.because_blocked,
  "no-keys": m.because_no_keys,
  "keys-unreachable": m.because_unreachable,
};

/** "2 left out, because their owners have not confirmed them": the causes of a list, each once. */
export function becauseText(reasons: readonly WithheldReason[]): string {
  const once = [...new Set(reasons)].map((reason) =>
    (Object.hasOwn(causes, reason) ? causes[reason] : m.because_other)(),
  );
  return once.length > 2 ? m.because_several() : once.join(m.because_and());
}

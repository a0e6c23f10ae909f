/** What lies behind an undecryptable message, and what one can do about it, for whoever looks closer. */
import type { UndecryptableReason } from "../../../../preload/contract/timeline.ts";
import { m } from "../../paraglide/messages.js";

/** `confirm`: this device is not yet one's own · `set-up`: there is no way back · `person`: the sender has to be looked at. */
export type HelpAction = "confirm" | "set-up" | "person";
export type Help = { cause: string; cure: string; action?: HelpAction };

export function undecryptableHelp(reason: UndecryptableReason, name: string): Help {
  switch (reason) {
    case "missing-key":
      return { cause: m.cause_missing(), cure: m.cure_missing({ name }) };
    case "withheld":
      return { cause: m.cause_withheld({ name }), cure: m.cure_withheld({ name }) };
    case "withheld-unverified":
      return { cause: m.cause_unverified({ name }), cure: m.cure_unverified({ name }), action: "person" };
    case "withheld-unsigned":
      return { cause: m.cause_unsigned({ name }), cure: m.cure_unsigned({ name }), action: "confirm" };
    case "key-too-late":
      return { cause: m.cause_too_late(), cure: m.cure_too_late() };
    case "no-backup":
      return { cause: m.cause_no_backup(), cure: m.cure_no_backup(), action: "set-up" };
    case "backup-locked":
      return { cause: m.cause_backup_locked(), cure: m.cure_backup_locked(), action: "confirm" };
    case "not-a-member-then":
      return { cause: m.cause_before_you(), cure: m.cure_before_you({ name }) };
    case "sender-identity-changed":
      return { cause: m.cause_changed({ name }), cure: m.cure_changed({ name }), action: "person" };
    case "sender-unsigned":
      return { cause: m.cause_sender_unsigned({ name }), cure: m.cure_sender_unsigned({ name }), action: "person" };
    case "sender-unknown-device":
      return { cause: m.cause_unknown_device({ name }), cure: m.cure_unknown_device({ name }), action: "person" };
    case "malformed":
      return { cause: m.cause_malformed(), cure: m.cure_malformed({ name }) };
    case "other":
      return { cause: m.cause_other(), cure: m.cure_other({ name }) };
  }
}

/** Why a message cannot be read, and what happens next, in sentences. */
import type { Item, UndecryptableReason } from "../../../../preload/contract/timeline.ts";
import { m } from "../../paraglide/messages.js";
import { spanText } from "../../lib/time.ts";

type Words = { lead: string; rest: string; mayComeLater: boolean };

export function undecryptableText(reason: UndecryptableReason, name: string): Words {
  switch (reason) {
    case "missing-key":
      return { lead: m.unreadable_waiting(), rest: m.unreadable_waiting_rest({ name }), mayComeLater: true };
    case "withheld":
      return { lead: m.unreadable(), rest: m.unreadable_withheld({ name }), mayComeLater: true };
    case "withheld-unverified":
      return { lead: m.unreadable(), rest: m.unreadable_withheld_unverified({ name }), mayComeLater: true };
    case "withheld-unsigned":
      return { lead: m.unreadable(), rest: m.unreadable_withheld_unsigned({ name }), mayComeLater: true };
    case "key-too-late":
      return { lead: m.unreadable(), rest: m.unreadable_too_late(), mayComeLater: true };
    case "no-backup":
      return { lead: m.unreadable(), rest: m.unreadable_no_backup(), mayComeLater: true };
    case "backup-locked":
      return { lead: m.unreadable(), rest: m.unreadable_backup_locked(), mayComeLater: true };
    case "not-a-member-then":
      return { lead: m.unreadable(), rest: m.unreadable_before_you(), mayComeLater: false };
    case "sender-identity-changed":
      return { lead: m.unreadable_held(), rest: m.unreadable_identity_changed({ name }), mayComeLater: true };
    case "sender-unsigned":
      return { lead: m.unreadable_held(), rest: m.unreadable_sender_unsigned({ name }), mayComeLater: true };
    case "sender-unknown-device":
      return { lead: m.unreadable_held(), rest: m.unreadable_unknown_device({ name }), mayComeLater: true };
    case "malformed":
      return { lead: m.unreadable(), rest: m.unreadable_malformed(), mayComeLater: false };
    case "other":
      return { lead: m.unreadable(), rest: m.unreadable_other(), mayComeLater: true };
  }
}

/** "Next try in 20 s.", where there is a next try. */
export function nextTryText(undecryptable: NonNullable<Item["undecryptable"]>, nowMs: number): string {
  const { nextTryMs } = undecryptable;
  if (nextTryMs === undefined) return "";
  return nextTryMs <= nowMs ? m.unreadable_trying() : m.unreadable_next_try({ span: spanText(nextTryMs - nowMs) });
}

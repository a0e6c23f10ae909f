/** The entries of the ledger in words. */
import type { LedgerEntry } from "../../../../preload/contract/trust.ts";
import { legibleLine } from "../../lib/legible.ts";
import { m } from "../../paraglide/messages.js";

const texts: Record<string, () => string> = {
  "first-seen": m.ledger_first_seen,
  changed: m.ledger_changed,
  "verification-violated": m.ledger_changed_verified,
  verified: m.ledger_verified,
  "verification-lost": m.ledger_lost,
  "send-blocked": m.ledger_send_blocked,
  "send-unblocked": m.ledger_send_unblocked,
  withdrawn: m.ledger_withdrawn,
  accepted: m.ledger_accepted,
  "device-added": m.ledger_device_added,
  "device-removed": m.ledger_device_removed,
  blocked: m.ledger_blocked,
  unblocked: m.ledger_unblocked,
  policy: m.ledger_policy,
};

export function ledgerText(entry: LedgerEntry): string {
  const text = Object.hasOwn(texts, entry.kind) ? texts[entry.kind]?.() : undefined;
  return text ?? m.ledger_other({ kind: legibleLine(entry.kind, 40) });
}

import type { LedgerEntry } from "../../../../preload/contract/trust.ts";

const changes = new Set(["changed", "verification-violated"]);

/** When the identity changed last, and since when the one before was known, as far as the ledger goes back. */
export function changeOf(ledger: readonly LedgerEntry[]): { changedMs?: number; knownSinceMs?: number } {
  const newestFirst = [...ledger].sort((a, b) => b.atMs - a.atMs);
  const at = newestFirst.findIndex((entry) => changes.has(entry.kind));
  const changed = newestFirst[at];
  if (changed === undefined) return {};
  const before = newestFirst.slice(at + 1).find((entry) => entry.kind === "first-seen" || changes.has(entry.kind));
  return { changedMs: changed.atMs, ...(before === undefined ? {} : { knownSinceMs: before.atMs }) };
}

/** What is wrong with the own identity or its way back, and what to do, by the core's codes (docs/contract.md). */
import { m } from "../../paraglide/messages.js";

export type Problem = { kind: string; what: string; todo: string };

/** Codes that come to the same for a person are told once. */
const kinds: { kind: string; codes: RegExp; what: () => string; todo: () => string }[] = [
  { kind: "away", codes: /^server-not-asked$/, what: m.problem_away, todo: m.problem_away_todo },
  { kind: "changed", codes: /^identity-changed$/, what: m.problem_changed, todo: m.problem_changed_todo },
  { kind: "gone", codes: /^identity-missing-on-server$/, what: m.problem_gone, todo: m.problem_gone_todo },
  {
    kind: "half",
    codes: /^(?:self|user)-signing-key-missing-on-server$/,
    what: m.problem_half,
    todo: m.problem_half_todo,
  },
  { kind: "unsigned", codes: /^device-not-signed$/, what: m.problem_unsigned, todo: m.problem_unsigned_todo },
  { kind: "begun", codes: /^(?:set-up|reset)-unfinished$/, what: m.problem_begun, todo: m.problem_begun_todo },
  { kind: "unseen", codes: /^recovery-key-not-seen$/, what: m.problem_unseen, todo: m.problem_unseen_todo },
  {
    kind: "storage",
    codes: /-missing-in-storage$|^recovery-missing$/,
    what: m.problem_storage,
    todo: m.problem_storage_todo,
  },
  { kind: "foreign", codes: /^storage-/, what: m.problem_foreign, todo: m.problem_foreign_todo },
  { kind: "here", codes: /-missing-here$/, what: m.problem_here, todo: m.problem_here_todo },
  { kind: "no-backup", codes: /^backup-missing$/, what: m.problem_no_backup, todo: m.problem_no_backup_todo },
  { kind: "backup", codes: /^backup-/, what: m.problem_backup, todo: m.problem_backup_todo },
];

/** Whether `trust.repair` can do something about one of them; a set-up or reset that was begun is finished where it began. */
export const reparable = (codes: readonly string[]): boolean =>
  codes.some((code) => !/^server-not-asked$|-unfinished$|^recovery-key-not-seen$/.test(code));

/** A newer core may name what this window does not know. */
export function problemsOf(codes: readonly string[]): Problem[] {
  const found = new Map<string, Problem>();
  for (const code of codes) {
    const known = kinds.find((one) => one.codes.test(code));
    const kind = known?.kind ?? "other";
    found.set(kind, {
      kind,
      what: (known?.what ?? m.problem_other)(),
      todo: (known?.todo ?? m.problem_other_todo)(),
    });
  }
  return [...found.values()];
}

/** What the state of a device's keys means to the person, in sentences. */
import type { DeviceKeysLogEntry, DeviceKeysStatus } from "../../../../preload/contract/device-keys.ts";
import { agoText } from "../../lib/time.ts";
import { m } from "../../paraglide/messages.js";

/** What holds, and one sentence more about how lately. */
export function reachable(status: DeviceKeysStatus, nowMs: number): { lead: string; rest: string; good: boolean } {
  const { fallback, oneTime, problems } = status;
  const said = (lead: string, rest: string, good: boolean) => ({ lead, rest, good });
  if (fallback.support === "unknown") return said(m.keys_unknown(), m.keys_unknown_rest(), true);
  if (fallback.support === "unsupported") {
    return oneTime.onServer === 0
      ? said(m.keys_unreachable(), m.keys_unreachable_rest(), false)
      : said(m.keys_unsupported(), m.keys_unsupported_rest(), false);
  }
  const { current } = fallback;
  if (current === undefined) return said(m.keys_none_yet(), m.keys_unknown_rest(), problems.length === 0);
  const replaced = m.keys_replaced({ ago: agoText(current.uploadedAtMs, nowMs) });
  if (problems.some((one) => one.code === "server-drops-fallback-keys"))
    return said(m.keys_while_online(), replaced, false);
  if (fallback.unusedOnServer === false) return said(m.keys_reachable(), m.keys_being_replaced(), true);
  return said(m.keys_reachable(), replaced, true);
}

const problemTexts: Record<string, { what: () => string; todo: () => string }> = {
  "server-drops-fallback-keys": { what: m.keys_problem_drops, todo: m.keys_problem_drops_todo },
  "one-time-key-conflict": { what: m.keys_problem_conflict, todo: m.keys_problem_conflict_todo },
  "upload-failing": { what: m.keys_problem_upload, todo: m.keys_problem_upload_todo },
  "clock-skew": { what: m.keys_problem_clock, todo: m.keys_problem_clock_todo },
  "cloned-profile": { what: m.keys_problem_clone, todo: m.keys_problem_clone_todo },
};

/** A newer core may name what this window does not know. */
export function problemText(code: string): { what: string; todo: string } {
  const known = Object.hasOwn(problemTexts, code) ? problemTexts[code] : undefined;
  return { what: (known?.what ?? m.keys_problem_other)(), todo: (known?.todo ?? m.keys_problem_other_todo)() };
}

const logTexts: Record<DeviceKeysLogEntry["kind"], () => string> = {
  uploaded: m.keys_log_uploaded,
  "reported-used": m.keys_log_used,
  rotated: m.keys_log_rotated,
  forgotten: m.keys_log_forgotten,
  rejected: m.keys_log_rejected,
  recovered: m.keys_log_recovered,
};

export const logText = (kind: DeviceKeysLogEntry["kind"]): string =>
  (Object.hasOwn(logTexts, kind) ? logTexts[kind] : m.keys_log_other)();

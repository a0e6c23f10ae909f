/** Codes of one's own in words: what each kind is for, how long it lasts, what became of it. */
import type { Alarm, Invite, InviteDigits, InvitePreset } from "../../../../preload/contract/invites.ts";
import type { Failure } from "../../../../preload/contract/define.ts";
import { legibleLine } from "../../lib/legible.ts";
import { fullTime, plainDate, spanText } from "../../lib/time.ts";
import { m } from "../../paraglide/messages.js";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

export const presets: readonly InvitePreset[] = ["show", "personal-link", "card", "public"];
const presetNames: Record<InvitePreset, () => string> = {
  show: m.invites_preset_show,
  "personal-link": m.invites_preset_link,
  card: m.invites_preset_card,
  public: m.invites_preset_public,
};
const presetMeanings: Record<InvitePreset, () => string> = {
  show: m.invites_preset_show_means,
  "personal-link": m.invites_preset_link_means,
  card: m.invites_preset_card_means,
  public: m.invites_preset_public_means,
};
export const presetName = (preset: InvitePreset): string => presetNames[preset]();
export const presetMeans = (preset: InvitePreset): string => presetMeanings[preset]();

/** A code by its label, or by what it is for. */
export const codeName = ({ label, preset }: Pick<Invite, "label" | "preset">): string =>
  legibleLine(label ?? "", 24) || presetName(preset);

/** "23 h 59 min", "9 min 40 s", "6 days": two units, so that one sees it run. */
export function countdownText(ms: number): string {
  const left = Math.max(0, ms);
  if (left >= 2 * dayMs) return m.invites_days({ count: Math.floor(left / dayMs) });
  if (left >= hourMs) {
    const minutes = Math.floor((left % hourMs) / minuteMs);
    const hours = m.span_hours({ count: Math.floor(left / hourMs) });
    return minutes === 0 ? hours : `${hours} ${m.span_minutes({ count: minutes })}`;
  }
  if (left < minuteMs) return spanText(left);
  const seconds = Math.floor((left % minuteMs) / 1000);
  return `${m.span_minutes({ count: Math.floor(left / minuteMs) })} ${m.span_seconds({ count: seconds })}`;
}

export const expiryText = (expiresAtMs: number | undefined, nowMs: number): string => {
  if (expiresAtMs === undefined) return m.invites_no_expiry();
  return expiresAtMs <= nowMs
    ? m.invites_expired_on({ date: plainDate(expiresAtMs) })
    : m.invites_expires_in({ span: countdownText(expiresAtMs - nowMs) });
};

/** What happens to whoever scans it now. */
export function verifyText(invite: Invite, nowMs: number): string {
  if (invite.preset === "public") return m.invites_verifies_never();
  if (invite.preset !== "show") return m.invites_verifies_one();
  if (invite.uses.length > 0) return m.invites_verifies_asks();
  return (invite.verifyUntilMs ?? 0) > nowMs ? m.invites_verifies_open() : m.invites_verifies_asks();
}

const stateNames: Record<Invite["state"], () => string> = {
  active: m.invites_state_active,
  withdrawn: m.invites_state_withdrawn,
  expired: m.invites_state_expired,
  used: m.invites_state_used,
};
export const stateName = ({ state }: Invite): string => stateNames[state]();

const kindOf = ({ details }: Failure): unknown =>
  typeof details === "object" && details !== null ? (details as { kind?: unknown }).kind : undefined;

/** The own account has nothing yet by which a code could name it. */
export const needsSetUp = (failure: Failure): boolean => kindOf(failure) === "setup-needed";

/** Why a code could not be made, where more is known than the failure's general sentence. */
export function notMadeText(failure: Failure): string | undefined {
  if (kindOf(failure) === "too-many-codes") return m.invites_too_many();
  return failure.code === "forbidden" ? m.invites_may_not() : undefined;
}

export type Digits = Pick<InviteDigits, "digits" | "refused">;
/** "123 456": as one reads them to somebody. */
export const groupedDigits = (digits: string): string => `${digits.slice(0, 3)} ${digits.slice(3)}`;

/** `code`: its name here. */
export function alarmText(alarm: Alarm, code: string): { title: string; means: string } {
  const [first = "", second = ""] = alarm.userIds;
  switch (alarm.kind) {
    case "second-key":
      return { title: m.invites_alarm_key({ user: first }), means: m.invites_alarm_key_means({ code }) };
    case "two-users":
      return {
        title: m.invites_alarm_two(),
        means: m.invites_alarm_two_means({ code, first, second }),
      };
    case "withdrawn-but-used":
      return {
        title: m.invites_alarm_withdrawn({ user: first }),
        means: m.invites_alarm_withdrawn_means({ code, time: fullTime(alarm.atMs) }),
      };
    case "flood":
      return { title: m.invites_alarm_flood(), means: m.invites_alarm_flood_means({ code }) };
  }
}

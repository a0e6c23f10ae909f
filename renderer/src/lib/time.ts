/** Times as people say them, in the window's language. Formatters are costly to make and kept. */
import { m } from "../paraglide/messages.js";
import { currentLocale } from "./language.svelte.ts";

/** "4 May" or "May 4" is a matter of the region, which the system names. */
function region(): string {
  const locale = currentLocale();
  return (
    navigator.languages.find((tag) => tag.toLowerCase().startsWith(`${locale}-`)) ??
    (locale === "en" ? "en-GB" : locale)
  );
}

const kept = new Map<string, Intl.DateTimeFormat>();

function format(ms: number, name: string, options: Intl.DateTimeFormatOptions): string {
  const key = `${currentLocale()} ${name}`;
  let formatter = kept.get(key);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat(region(), options);
    kept.set(key, formatter);
  }
  return formatter.format(ms);
}

/** Days between two moments by the calendar of this computer. */
export function daysBetween(earlierMs: number, laterMs: number): number {
  const midnight = (ms: number): number => new Date(ms).setHours(0, 0, 0, 0);
  return Math.round((midnight(laterMs) - midnight(earlierMs)) / 86_400_000);
}

export const clockTime = (ms: number): string =>
  format(ms, "time", { hour: "2-digit", minute: "2-digit", hour12: false });

export const fullTime = (ms: number): string => format(ms, "full", { dateStyle: "full", timeStyle: "short" });

/** For the room list: 09:41, yesterday, Tue, 3 May, 03/05/24. */
export function briefTime(ms: number, nowMs: number): string {
  const days = daysBetween(ms, nowMs);
  if (days <= 0) return clockTime(ms);
  if (days === 1) return m.time_yesterday();
  if (days < 7) return format(ms, "weekday", { weekday: "short" });
  if (days < 300) return format(ms, "day", { day: "numeric", month: "short" });
  return format(ms, "date", { day: "2-digit", month: "2-digit", year: "2-digit" });
}

/** For the separators of the timeline. */
export function dayName(ms: number, nowMs: number): string {
  const days = daysBetween(ms, nowMs);
  if (days === 0) return m.time_today();
  if (days === 1) return m.time_yesterday_long();
  if (days > 0 && days < 7) return format(ms, "weekday-long", { weekday: "long" });
  if (Math.abs(days) < 300) return format(ms, "day-long", { weekday: "long", day: "numeric", month: "long" });
  return format(ms, "date-long", { day: "numeric", month: "long", year: "numeric" });
}

/** "20 s", "3 min", "2 h": how long until something, rounded up so that it never says 0 while it waits. */
export function spanText(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  if (seconds < 60) return m.span_seconds({ count: seconds });
  if (seconds < 3600) return m.span_minutes({ count: Math.ceil(seconds / 60) });
  return m.span_hours({ count: Math.ceil(seconds / 3600) });
}

const relative = new Map<string, Intl.RelativeTimeFormat>();

/** "just now", "5 minutes ago", "yesterday", "3 weeks ago". */
export function agoText(ms: number, nowMs: number): string {
  const minutes = Math.floor((nowMs - ms) / 60_000);
  if (minutes < 1) return m.time_just_now();
  const locale = currentLocale();
  const formatter = relative.get(locale) ?? new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  relative.set(locale, formatter);
  if (minutes < 60) return formatter.format(-minutes, "minute");
  const days = daysBetween(ms, nowMs);
  if (days < 1) return formatter.format(-Math.floor(minutes / 60), "hour");
  if (days < 14) return formatter.format(-days, "day");
  if (days < 61) return formatter.format(-Math.round(days / 7), "week");
  return days < 700
    ? formatter.format(-Math.round(days / 30.4), "month")
    : formatter.format(-Math.round(days / 365), "year");
}

/** "3 May 2026", for what is told in a sentence. */
export const plainDate = (ms: number): string =>
  format(ms, "plain-date", { day: "numeric", month: "long", year: "numeric" });

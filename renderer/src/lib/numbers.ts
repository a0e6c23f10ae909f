/** Numbers as people of the window's language write them. Formatters are costly to make and kept. */
import { currentLocale } from "./language.svelte.ts";

const kept = new Map<string, Intl.NumberFormat>();

function formatter(name: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = `${currentLocale()} ${name}`;
  const known = kept.get(key) ?? new Intl.NumberFormat(currentLocale(), options);
  kept.set(key, known);
  return known;
}

/** "64,210" */
export const numberText = (value: number): string => formatter("plain", { maximumFractionDigits: 0 }).format(value);

/** "64 %", and never all of it while something is left. */
export function percentText(done: number, total: number): string {
  const share = total <= 0 ? 0 : Math.floor((100 * Math.min(done, total)) / total) / 100;
  return formatter("percent", { style: "percent", maximumFractionDigits: 0 }).format(share);
}

/** "1.2 MB" */
export function sizeText(bytes: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;
  const step = Math.min(units.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const unit = units[step] ?? "byte";
  return formatter(unit, {
    ...{ style: "unit", unit, unitDisplay: "short" },
    maximumFractionDigits: step > 1 ? 1 : 0,
  }).format(bytes / 1000 ** step);
}

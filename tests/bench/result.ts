/** What every bench answers: rows for the table, and what was to be reached with what was. */
export type BenchResult = {
  name: string;
  rows: Record<string, string | number>[];
  targets: { name: string; wanted: string; got: string; met: boolean }[];
};

/** The value below which the given share (0 to 1) lies, by nearest rank. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

export const rounded = (value: number, digits = 1): number => Number(value.toFixed(digits));

/** Of times in milliseconds: the middle one and the slow ones. */
export const spread = (what: string, values: readonly number[]) => ({
  what,
  "p50 ms": rounded(quantile(values, 0.5)),
  "p95 ms": rounded(quantile(values, 0.95)),
});

export const atMost = (name: string, got: number, limit: number, unit: string): BenchResult["targets"][number] => ({
  name,
  wanted: `≤ ${limit} ${unit}`,
  got: `${rounded(got, 2)} ${unit}`,
  met: got <= limit,
});
export const atLeast = (name: string, got: number, limit: number, unit: string): BenchResult["targets"][number] => ({
  name,
  wanted: `≥ ${limit} ${unit}`,
  got: `${rounded(got, 2)} ${unit}`,
  met: got >= limit,
});

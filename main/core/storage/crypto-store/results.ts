import { decodeKey } from "./key-encoding.ts";
import { decodeValue, type StoredValue } from "./value-encoding.ts";

/** The bound of `getAll` and `getAllKeys`; 0 and nothing mean all. */
export function toLimit(count: number | undefined): number {
  if (count === undefined || count === 0) return -1;
  if (!Number.isFinite(count) || count < 0 || count > 0xffffffff) throw new TypeError("count is not an unsigned long");
  return Math.trunc(count);
}

export const decodeValues = (stored: unknown[]): unknown[] => stored.map((value) => decodeValue(value as StoredValue));
export const decodeKeys = (stored: unknown[]): unknown[] => stored.map((key) => decodeKey(key as string));

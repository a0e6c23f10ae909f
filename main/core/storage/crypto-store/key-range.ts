import { idbError } from "./errors.ts";
import { decodeKey, encodeKey, type Key } from "./key-encoding.ts";

/** IDBKeyRange (IndexedDB 3.0, section 2.9). The encoded bounds are what SQLite compares. */
export class IDBKeyRange {
  readonly encodedLower: string | undefined;
  readonly encodedUpper: string | undefined;
  readonly lowerOpen: boolean;
  readonly upperOpen: boolean;

  constructor(lower: string | undefined, upper: string | undefined, lowerOpen: boolean, upperOpen: boolean) {
    this.encodedLower = lower;
    this.encodedUpper = upper;
    this.lowerOpen = lowerOpen;
    this.upperOpen = upperOpen;
  }

  static only(value: unknown): IDBKeyRange {
    const key = encodeKey(value);
    return new IDBKeyRange(key, key, false, false);
  }

  static lowerBound(lower: unknown, open = false): IDBKeyRange {
    return new IDBKeyRange(encodeKey(lower), undefined, open, true);
  }

  static upperBound(upper: unknown, open = false): IDBKeyRange {
    return new IDBKeyRange(undefined, encodeKey(upper), true, open);
  }

  static bound(lower: unknown, upper: unknown, lowerOpen = false, upperOpen = false): IDBKeyRange {
    const from = encodeKey(lower);
    const to = encodeKey(upper);
    if (from > to || (from === to && (lowerOpen || upperOpen))) {
      throw idbError("DataError", "the lower key is greater than the upper key, or the range is empty");
    }
    return new IDBKeyRange(from, to, lowerOpen, upperOpen);
  }

  get lower(): Key | undefined {
    return this.encodedLower === undefined ? undefined : decodeKey(this.encodedLower);
  }

  get upper(): Key | undefined {
    return this.encodedUpper === undefined ? undefined : decodeKey(this.encodedUpper);
  }

  includes(value: unknown): boolean {
    const key = encodeKey(value);
    const { encodedLower, encodedUpper, lowerOpen, upperOpen } = this;
    if (encodedLower !== undefined && (lowerOpen ? key <= encodedLower : key < encodedLower)) return false;
    return encodedUpper === undefined || (upperOpen ? key < encodedUpper : key <= encodedUpper);
  }
}

/** The range that holds every key. */
export const everything = new IDBKeyRange(undefined, undefined, true, true);

/** Reads a `query` argument: a range, a key, or nothing (everything, unless a key is required). */
export function toRange(query: unknown, required = false): IDBKeyRange {
  if (query instanceof IDBKeyRange) return query;
  if (query === undefined || query === null) {
    if (required) throw idbError("DataError", "no key or key range specified");
    return everything;
  }
  return IDBKeyRange.only(query);
}

import { types } from "node:util";
import { idbError } from "./errors.ts";

/** A valid IndexedDB key (IndexedDB 3.0, section 2.4). */
export type Key = number | string | Date | ArrayBuffer | Key[];

/*
 * Keys become text whose order by UTF-8 bytes (SQLite) and by UTF-16 units (`<` here) is the order of IndexedDB:
 * a tag by type, then the key. Units from U+D7FF on would sort differently in UTF-8, so they are written in two.
 */
const numberTag = "1";
const dateTag = "2";
const stringTag = "3";
const binaryTag = "4";
const arrayTag = "5";
const escapeUnit = 0xe000;
const escapeMark = String.fromCharCode(escapeUnit);
const firstEscaped = 0xd7ff;
const escapedBase = 0x100;
const needsEscape = /[\uD7FF-\uFFFF]/;

const doubleView = new DataView(new ArrayBuffer(8));

function encodeNumber(value: number): string {
  doubleView.setFloat64(0, value === 0 ? 0 : value);
  const bits = doubleView.getBigUint64(0);
  const sortable = bits >> 63n === 1n ? ~bits & 0xffffffffffffffffn : bits | 0x8000000000000000n;
  return sortable.toString(16).padStart(16, "0");
}

function decodeNumber(text: string): number {
  const sortable = BigInt(`0x${text}`);
  const bits = sortable >> 63n === 1n ? sortable & 0x7fffffffffffffffn : ~sortable & 0xffffffffffffffffn;
  doubleView.setBigUint64(0, bits);
  return doubleView.getFloat64(0);
}

function escapeString(value: string): string {
  if (!needsEscape.test(value)) return value;
  let escaped = "";
  for (let index = 0; index < value.length; index++) {
    const unit = value.charCodeAt(index);
    escaped +=
      unit < firstEscaped ? value.charAt(index) : escapeMark + String.fromCharCode(escapedBase + unit - firstEscaped);
  }
  return escaped;
}

function unescapeString(text: string): string {
  if (!text.includes(escapeMark)) return text;
  let value = "";
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    value +=
      unit === escapeUnit
        ? String.fromCharCode(text.charCodeAt(++index) - escapedBase + firstEscaped)
        : text.charAt(index);
  }
  return value;
}

/** The bytes of a buffer source, or `undefined` for anything else. */
function bytesOf(value: unknown): Uint8Array | undefined {
  if (types.isArrayBuffer(value)) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

function encodeBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

/** The encoded key, or `undefined` where the value is no valid key. */
export function tryEncodeKey(value: unknown, ancestors?: unknown[]): string | undefined {
  if (typeof value === "string") return stringTag + escapeString(value);
  if (typeof value === "number") return Number.isNaN(value) ? undefined : numberTag + encodeNumber(value);
  if (Array.isArray(value)) return encodeArray(value, ancestors ?? []);
  if (types.isDate(value)) {
    return Number.isNaN(value.getTime()) ? undefined : dateTag + encodeNumber(value.getTime());
  }
  const bytes = bytesOf(value);
  return bytes === undefined ? undefined : binaryTag + encodeBytes(bytes);
}

function encodeArray(value: unknown[], ancestors: unknown[]): string | undefined {
  if (ancestors.includes(value)) return undefined;
  ancestors.push(value);
  let encoded = arrayTag;
  for (const element of value) {
    const part = tryEncodeKey(element, ancestors);
    if (part === undefined) return undefined;
    encoded += `${part.replaceAll("\x01", "\x01\x02").replaceAll("\0", "\x01\x01")}\0`;
  }
  ancestors.pop();
  return encoded;
}

/** Encodes a key. Throws `DataError` where the value is no valid key. */
export function encodeKey(value: unknown): string {
  const encoded = tryEncodeKey(value);
  if (encoded === undefined) throw idbError("DataError", "the parameter is not a valid key");
  return encoded;
}

export function decodeKey(encoded: string): Key {
  const text = encoded.slice(1);
  switch (encoded[0]) {
    case stringTag:
      return unescapeString(text);
    case numberTag:
      return decodeNumber(text);
    case dateTag:
      return new Date(decodeNumber(text));
    case binaryTag:
      return new Uint8Array(Buffer.from(text, "latin1")).buffer;
    case arrayTag:
      return text
        .split("\0")
        .slice(0, -1)
        .map((part) => decodeKey(part.replaceAll("\x01\x01", "\0").replaceAll("\x01\x02", "\x01")));
    default:
      throw idbError("UnknownError", "a stored key is unreadable");
  }
}

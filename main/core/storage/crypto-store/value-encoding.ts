import { deserialize, serialize } from "node:v8";
import { idbError } from "./errors.ts";

/** What a value column holds: JSON text, or V8's serialisation where JSON would lose something. */
export type StoredValue = string | Buffer;

const maxJsonDepth = 64;

/** True where `JSON.parse(JSON.stringify(value))` is the structured clone of the value. */
function survivesJson(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth === maxJsonDepth) return false;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) if (!survivesJson(value[index], depth + 1)) return false;
    return true;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const member of Object.values(value)) if (!survivesJson(member, depth + 1)) return false;
  return true;
}

/** Takes the structured clone of a value, as stored. Throws `DataCloneError`. JSON where it loses nothing. */
export function encodeValue(value: unknown): StoredValue {
  if (survivesJson(value, 0)) return JSON.stringify(value);
  try {
    return serialize(structuredClone(value));
  } catch (error) {
    if (error instanceof DOMException && error.name === "DataCloneError") throw error;
    throw idbError("DataCloneError", "the value could not be cloned", error);
  }
}

export function decodeValue(stored: StoredValue): unknown {
  return typeof stored === "string" ? JSON.parse(stored) : deserialize(stored);
}

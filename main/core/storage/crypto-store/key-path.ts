import { tryEncodeKey } from "./key-encoding.ts";

export type KeyPath = string | string[];

export interface IndexSchema {
  id: number;
  name: string;
  keyPath: KeyPath;
  isUnique: boolean;
}

const identifierPath = /^[\p{ID_Start}$_][\p{ID_Continue}$]*(\.[\p{ID_Start}$_][\p{ID_Continue}$]*)*$/u;

export function isKeyPath(keyPath: unknown): keyPath is KeyPath {
  if (typeof keyPath === "string") return keyPath === "" || identifierPath.test(keyPath);
  return (
    Array.isArray(keyPath) && keyPath.length > 0 && keyPath.every((part) => typeof part === "string" && isKeyPath(part))
  );
}

function evaluate(value: unknown, path: string): unknown {
  let current = value;
  for (const part of path === "" ? [] : path.split(".")) {
    if (current === null || typeof current !== "object" || !Object.hasOwn(current, part)) return undefined;
    current = (current as Record<string, unknown>)[part];
  }
  return current;
}

/** The encoded key of a record in an index, or `null` where the record has none there (indexes are sparse). */
export function indexKey(value: unknown, keyPath: KeyPath): string | null {
  if (typeof keyPath === "string") return tryEncodeKey(evaluate(value, keyPath)) ?? null;
  return tryEncodeKey(keyPath.map((path) => evaluate(value, path))) ?? null;
}

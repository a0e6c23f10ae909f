/** Reading of untrusted JSON: every accessor answers `undefined` where the type is not the wanted one. */
export type Json = Record<string, unknown>;

export const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const object = (value: unknown): Json | undefined => (isObject(value) ? value : undefined);
export const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
export const integer = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) ? value : undefined;
export const list = (value: unknown): unknown[] => (Array.isArray(value) ? (value as unknown[]) : []);
export const texts = (value: unknown): string[] => list(value).filter((x) => typeof x === "string");

const deepest = 100;
/** Whether a value nests deeper than any client's does. Writing such a value out again would end the stack, and the sync with it. */
export function isTooDeep(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > deepest) return true;
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? (Object.values(one) as unknown[]) : []));
  }
  return false;
}

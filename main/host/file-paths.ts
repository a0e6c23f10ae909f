import * as v from "valibot";
import type { Schema } from "../../preload/contract/define.ts";
import type { FilePurpose } from "./grants.ts";

/** A field of a command's input that holds the path of a file. */
export type FilePathField = { at: readonly string[]; purpose: FilePurpose };

type AnySchema = Schema & {
  entries?: Record<string, AnySchema>;
  wrapped?: AnySchema;
  item?: AnySchema;
  options?: AnySchema[];
};

/** The fields that `filePath(purpose)` of the contract has marked. Throws at start where one stands inside an array or a union. */
export function filePathFields(schema: Schema): FilePathField[] {
  return collect(schema, []);
}

function collect(schema: AnySchema, at: readonly string[]): FilePathField[] {
  const { filePath } = v.getMetadata(schema) as { filePath?: FilePurpose };
  if (filePath !== undefined) return [{ at, purpose: filePath }];
  if (schema.wrapped !== undefined) return collect(schema.wrapped, at);
  const hidden = [
    ...(schema.item === undefined ? [] : [schema.item]),
    ...(schema.type === "union" ? (schema.options ?? []) : []),
  ];
  if (hidden.some((part) => collect(part, at).length > 0)) throw new Error("A file path must be a field of an object.");
  return Object.entries(schema.entries ?? {}).flatMap(([name, entry]) => collect(entry, [...at, name]));
}

/** The input with each path that is there replaced; a copy along the way. */
export function replacePaths(
  input: unknown,
  fields: readonly FilePathField[],
  replace: (value: string, purpose: FilePurpose) => string,
): unknown {
  return fields.reduce<unknown>(
    (whole, { at, purpose }) => replaceAt(whole, at, (value) => replace(value, purpose)),
    input,
  );
}

function replaceAt(value: unknown, at: readonly string[], replace: (value: string) => string): unknown {
  const [name, ...rest] = at;
  if (name === undefined) return typeof value === "string" ? replace(value) : value;
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return value;
  return { ...value, [name]: replaceAt(Reflect.get(value, name), rest, replace) };
}

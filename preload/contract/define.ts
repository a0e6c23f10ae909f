import type * as v from "valibot";

/** What a command's schema may be: any synchronous valibot schema. */
export type Schema = v.GenericSchema;

/** One command: the schema of what it takes, and (in the type alone) what it answers. */
export type Command<S extends Schema, Output> = { readonly input: S; readonly output?: Output };

/** `command<Output>()(schema)`: two calls, so that the output is named and the schema is inferred. */
export const command =
  <Output>() =>
  <S extends Schema>(input: S): Command<S, Output> => ({ input });

/** Closed list; a code outside of it cannot be told to a person. Meanings: see docs/contract.md. */
export const failureCodes = [
  "bad-request",
  "not-signed-in",
  "already-signed-in",
  "forbidden",
  "authentication-required",
  "rate-limited",
  "unreachable",
  "not-a-homeserver",
  "unsupported",
  "timeout",
  "conflict",
  "not-found",
  "too-large",
  "locked",
  "keychain-missing",
  "keychain-changed",
  "database-corrupt",
  "disk-full",
  "wrong-key",
  "wrong-file",
  "history-at-risk",
  "identity-changed",
  "recipients-blocked",
  "cancelled",
  "unexpected",
] as const;
export type FailureCode = (typeof failureCodes)[number];

/** Errors lose their fields when they cross a message port, so a failure is data. Holds no value of the input. */
export type Failure = {
  code: FailureCode;
  message: string;
  retryable: boolean;
  retryAfterMs?: number;
  details?: unknown;
};

export type Answer<T> = { ok: true; value: T } | { ok: false; error: Failure };

export type RequestId = number | string;
export type Request = { id: RequestId; name: string; input: unknown; account?: string };
/** `id` is null where the request's own could not be read. */
export type Response =
  { id: RequestId; ok: true; value: unknown } | { id: RequestId | null; ok: false; error: Failure };
export type EventMessage = { event: string; payload: unknown; account?: string };

/** A request larger than this is refused unread. */
export const maxRequestBytes = 1024 * 1024;

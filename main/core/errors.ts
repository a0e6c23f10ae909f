import type { Failure, FailureCode } from "../../preload/contract/define.ts";

type More = { cause?: unknown; retryable?: boolean; retryAfterMs?: number; details?: unknown; message?: string };

const sentences: Partial<Record<FailureCode, string>> = {
  "bad-request": "The request does not have the shape of this command.",
  "not-signed-in": "No account is signed in.",
  "already-signed-in": "This account is signed in already.",
  forbidden: "The server refused this.",
  "rate-limited": "The server asks to wait.",
  unreachable: "The server cannot be reached.",
  "not-a-homeserver": "There is no Matrix homeserver at this address.",
  unsupported: "This is not supported.",
  timeout: "This took too long.",
  conflict: "This contradicts what is there already.",
  "not-found": "There is nothing of this name.",
  "too-large": "This is too large.",
  "database-corrupt": "The account's database is damaged.",
  "disk-full": "The disk is full.",
  "identity-changed": "The identity of a recipient changed since it was verified.",
  "recipients-blocked": "Some recipients must not receive this as things stand.",
  cancelled: "This was cancelled.",
  unexpected: "Something went wrong that should not.",
};

const passing = new Set<FailureCode>(["rate-limited", "unreachable", "timeout", "disk-full"]);

/** What core throws on purpose. Holds no value of the input, no key, no token. `dispatch` turns it into a `Failure`. */
export class CoreError extends Error {
  readonly code: FailureCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly details: unknown;

  constructor(code: FailureCode, more: More = {}) {
    super(more.message ?? sentences[code] ?? code, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "CoreError";
    this.code = code;
    this.retryable = more.retryable ?? passing.has(code);
    this.retryAfterMs = more.retryAfterMs;
    this.details = more.details;
  }
}

/** The data form of an error; what is no `CoreError` becomes `unexpected`. */
export function toFailure(error: unknown): Failure {
  const known = asCoreError(error);
  return {
    code: known.code,
    message: known.message,
    retryable: known.retryable,
    ...(known.retryAfterMs === undefined ? {} : { retryAfterMs: known.retryAfterMs }),
    ...(known.details === undefined ? {} : { details: known.details }),
  };
}

/** SQLite tells a full disk by code, wherever in a chain of causes it was met. */
export function asCoreError(error: unknown): CoreError {
  for (let link: unknown = error, depth = 0; link instanceof Error && depth < 8; link = link.cause, depth++) {
    if (link instanceof CoreError) return link;
    const code = "code" in link ? link.code : undefined;
    // what went through Rust crypto keeps the name of the error in its sentence alone
    if (
      code === "SQLITE_FULL" ||
      code === "ENOSPC" ||
      link.name === "QuotaExceededError" ||
      /\bQuotaExceededError\b/.test(link.message)
    )
      return new CoreError("disk-full", { cause: error });
    if (code === "SQLITE_CORRUPT" || code === "SQLITE_NOTADB")
      return new CoreError("database-corrupt", { cause: error });
  }
  return new CoreError("unexpected", { cause: error });
}

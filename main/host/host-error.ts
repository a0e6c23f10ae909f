import type { Failure, FailureCode } from "../../preload/contract/define.ts";

/** One sentence a code, for scripts and logs; the window has its own words. No value of an input ever goes in here. */
const sentences: Record<FailureCode, string> = {
  "bad-request": "The request has a field that is wrong.",
  "not-signed-in": "No such account is signed in.",
  "already-signed-in": "This account is signed in already.",
  forbidden: "That is not allowed.",
  "authentication-required": "The server wants a further proof of who is asking.",
  "rate-limited": "The server asks to wait.",
  unreachable: "The server cannot be reached.",
  "not-a-homeserver": "There is no Matrix homeserver at this address.",
  unsupported: "That is not supported here.",
  timeout: "It took too long.",
  conflict: "That conflicts with what is there already.",
  "not-found": "There is no such thing.",
  "too-large": "That is too large.",
  locked: "The vault is locked.",
  "keychain-missing": "The keychain does not answer, or does not have this profile's key.",
  "keychain-changed": "The keychain's entry is not this profile's key.",
  "database-corrupt": "A file of this profile is damaged.",
  "disk-full": "The disk is full.",
  "wrong-key": "The key or passphrase does not fit.",
  "wrong-file": "That is not a file of the expected kind.",
  "history-at-risk": "Signing out now would lose messages that are not backed up.",
  "identity-changed": "The identity of a recipient has changed.",
  "recipients-blocked": "The message would reach nobody under the present policy.",
  cancelled: "It was cancelled.",
  unexpected: "Something unexpected happened.",
};

const retryableCodes = new Set<FailureCode>(["rate-limited", "unreachable", "timeout", "disk-full"]);

type More = { message?: string; retryable?: boolean; details?: unknown; cause?: unknown };

/** Thrown by the host and turned into a {@link Failure} by the router alone. */
export class HostError extends Error {
  readonly failure: Failure;

  constructor(code: FailureCode, more: More = {}) {
    super(more.message ?? sentences[code], { cause: more.cause });
    this.name = "HostError";
    this.failure = {
      code,
      message: this.message,
      retryable: more.retryable ?? retryableCodes.has(code),
      ...(more.details === undefined ? {} : { details: more.details }),
    };
  }
}

/** A failure that came over a worker's port as data goes on to the caller as it is. */
export class WorkerFailure extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.name = "WorkerFailure";
    this.failure = failure;
  }
}

/** The failure in what was thrown; `undefined` where it is none of ours. */
export function failureOf(error: unknown): Failure | undefined {
  if (error instanceof HostError || error instanceof WorkerFailure) return error.failure;
  const code = systemCode(error);
  if (code === "ENOSPC" || code === "EDQUOT") return new HostError("disk-full").failure;
  return undefined;
}

/** The code of an error of the operating system: `ENOENT`, `EACCES`, … */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  return /^[A-Z0-9_]{2,40}$/.test(error.code) ? error.code : undefined;
}

import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import path from "node:path";
import { systemCode } from "./host-error.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type Log = {
  write: (level: LogLevel, text: string) => void;
  /** For what was thrown and is none of ours: name, system code and stack; the message may hold a value and stays out. */
  error: (what: string, error: unknown) => void;
  close: () => void;
};

const rotateAtBytes = 5 * 1024 * 1024;
const longestLine = 4000;

/**
 * A second line of defence, behind the rule that no secret is handed to the log: takes out what looks like one.
 * Matrix access tokens, bearer headers, and any run of 32 or more characters of base64 (keys, tokens, ciphertext).
 */
export function redact(text: string): string {
  return text
    .replace(/\b(?:syt|syr|mct|mat|mcr)_[\w.~+/=-]+/g, "[token]")
    .replace(/(bearer\s+|access_token["'=:\s]+|password["'=:\s]+|passphrase["'=:\s]+)[^\s&"',;]+/gi, "$1[secret]")
    .replace(/(?<![\w+/=-])(?=[\w+/-]*[A-Z0-9])[\w+-]{32,}={0,2}/g, "[long]")
    .replace(/\b(?:[A-HJ-NP-Za-km-z1-9]{4} ){5,}[A-HJ-NP-Za-km-z1-9]{1,4}\b/g, "[key]");
}

/** Name, code and frames of an error, without its message. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `a thrown ${typeof error}`;
  const frames = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  const cause = error.cause === undefined ? "" : ` caused by ${describeError(error.cause)}`;
  const code = systemCode(error);
  return `${error.name}${code === undefined ? "" : ` ${code}`} ${frames.map((line) => line.trim()).join(" | ")}${cause}`;
}

/** `PROFILE/logs/tessera.log`, mode 0600, one older file kept. `copyTo` gets each line too (`--verbose`). */
export function openLog(profile: string, copyTo?: (line: string) => void): Log {
  const folder = path.join(profile, "logs");
  const file = path.join(folder, "tessera.log");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  let descriptor: number | undefined = openSync(file, "a", 0o600);
  let sizeBytes = fstatSync(descriptor).size;
  let unwritten = 0;

  function append(line: string): void {
    if (descriptor === undefined) return;
    try {
      if (sizeBytes > rotateAtBytes) {
        closeSync(descriptor);
        descriptor = undefined;
        renameSync(file, path.join(folder, "tessera.old.log"));
        descriptor = openSync(file, "a", 0o600);
        sizeBytes = 0;
      }
      sizeBytes += writeSync(descriptor, unwritten > 0 ? `(${unwritten} lines could not be written)\n${line}` : line);
      unwritten = 0;
    } catch {
      // a full disk must not end the app through its log; the next line that fits says how many are missing
      unwritten += 1;
    }
  }

  function write(level: LogLevel, text: string): void {
    const oneLine = redact(text)
      .replace(/[\p{Cc}\u2028\u2029]+/gu, " ")
      .slice(0, longestLine);
    const line = `${new Date().toISOString()} ${level} ${oneLine}\n`;
    if (level !== "debug" || copyTo !== undefined) append(line);
    copyTo?.(line);
  }

  return {
    write,
    error: (what, error) => {
      write("error", `${what}: ${describeError(error)}`);
    },
    close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}

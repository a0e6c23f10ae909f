import { CoreError } from "../errors.ts";

const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const prefix = [0x8b, 0x01] as const;
const keyBytes = 32;
const wholeBytes = prefix.length + keyBytes + 1;
/** 35 bytes that begin with the prefix are 48 digits, never more or fewer. */
const digits = 48;
/** A key with more doubtful characters than this is no slip of the pen. */
const mostDoubts = 10;

/** What the alphabet leaves out, since it looks like something else, and what it may have been. */
const lookAlikes: Record<string, string[]> = { "0": ["o"], O: ["o"], I: ["i", "1"], l: ["L", "1"] };

export type KeyFault = "characters" | "length" | "prefix" | "checksum";

/** Groups of four, as people write them down. Source: appendices, "Cryptographic key representation". */
export function encodeRecoveryKey(key: Uint8Array): string {
  if (key.length !== keyBytes) throw new CoreError("unexpected", { message: "A recovery key has 32 bytes." });
  const bytes = [...prefix, ...key];
  bytes.push(bytes.reduce((parity, byte) => parity ^ byte, 0));
  return (toBase58(bytes).match(/.{1,4}/g) ?? []).join(" ");
}

/**
 * The key's 32 bytes. Spaces, line breaks, dashes and full-width forms are taken out, and characters that base58 does not have are
 * read as those they look like; any other typo breaks the checksum. Throws `wrong-key` with `details.kind` `malformed` and what
 * was wrong, before anything was asked of anybody. Source: appendices, "Cryptographic key representation".
 */
export function decodeRecoveryKey(typed: string): Uint8Array<ArrayBuffer> {
  const plain = typed.normalize("NFKC").replace(/[\s\p{Cf}\p{Pd}_.,;:"'`|]/gu, "");
  if (/[^A-Za-z0-9]/.test(plain)) throw malformed("characters");
  if (plain.length !== digits) throw malformed("length");
  const readings = readingsOf(plain);
  if (readings === undefined) throw malformed("characters");
  const keys = readings.map(check);
  const whole = keys.filter((key) => typeof key !== "string");
  // two readings that both fit (1 in 256 a doubt) leave open which was meant
  const [only] = whole;
  if (only !== undefined && whole.length === 1) return only;
  throw malformed(keys.includes("checksum") ? "checksum" : "prefix");
}

/** Every way to read the doubtful characters. */
function readingsOf(plain: string): string[] | undefined {
  const doubts = plain.match(/[0OIl]/g)?.length ?? 0;
  if (doubts > mostDoubts) return undefined;
  let readings = [""];
  for (const one of plain)
    readings = readings.flatMap((begun) => (lookAlikes[one] ?? [one]).map((read) => begun + read));
  return readings;
}

function check(reading: string): Uint8Array<ArrayBuffer> | KeyFault {
  const bytes = fromBase58(reading);
  if (bytes?.length !== wholeBytes || bytes[0] !== prefix[0] || bytes[1] !== prefix[1]) return "prefix";
  if (bytes.reduce((parity, byte) => parity ^ byte, 0) !== 0) return "checksum";
  return Uint8Array.from(bytes.slice(prefix.length, -1));
}

const sentences: Record<KeyFault, string> = {
  characters: "The recovery key holds characters that no recovery key has.",
  length: `A recovery key has ${digits} characters.`,
  prefix: "This is not a recovery key.",
  checksum: "There is a typing mistake in the recovery key.",
};
const malformed = (problem: KeyFault) =>
  new CoreError("wrong-key", { message: sentences[problem], details: { kind: "malformed", problem } });

function toBase58(bytes: number[]): string {
  let number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  let out = "";
  for (; number > 0n; number /= 58n) out = `${alphabet[Number(number % 58n)] ?? ""}${out}`;
  return out;
}

function fromBase58(text: string): number[] | undefined {
  let number = 0n;
  for (const one of text) {
    const digit = alphabet.indexOf(one);
    if (digit < 0) return undefined;
    number = number * 58n + BigInt(digit);
  }
  const bytes: number[] = [];
  for (; number > 0n; number /= 256n) bytes.unshift(Number(number % 256n));
  return bytes;
}

import { pbkdf2 } from "node:crypto";
import { promisify } from "node:util";
import { CoreError } from "../../../errors.ts";
import { leastRounds, mostRounds } from "../../../matrix/secret-cipher.ts";

/** Source: client-server API, "Key exports". */
export const header = "-----BEGIN MEGOLM SESSION DATA-----";
export const footer = "-----END MEGOLM SESSION DATA-----";
export const formatVersion = 1;
export const saltBytes = 16;
export const ivBytes = 16;
export const macBytes = 32;
/** version, salt, IV, rounds. */
export const headBytes = 1 + saltBytes + ivBytes + 4;

export type FileFault =
  "not-a-key-file" | "truncated" | "damaged" | "unsupported-version" | "too-few-rounds" | "too-many-rounds";
const sentences: Record<FileFault, string> = {
  "not-a-key-file": "This is not a file of exported keys.",
  truncated: "The file ends before its last line: it was not copied whole.",
  damaged: "The file was altered or damaged.",
  "unsupported-version": "The file is of a version that is not known here.",
  "too-few-rounds": "The file's passphrase is hardly protected: its keys are not taken from it.",
  "too-many-rounds": "The file asks for more work than any honest file does.",
};
export const wrongFile = (kind: FileFault, cause?: unknown) =>
  new CoreError("wrong-file", { message: sentences[kind], details: { kind }, cause });

export type Keys = { aes: Buffer; mac: Buffer };
const derive = promisify(pbkdf2);
/** Off the thread; half a second for 500,000 rounds. */
export async function keysFrom(passphrase: string, salt: Uint8Array, rounds: number): Promise<Keys> {
  const both = await derive(passphrase, salt, rounds, 64, "sha512");
  return { aes: both.subarray(0, 32), mac: both.subarray(32) };
}

export function assertRounds(rounds: number): void {
  if (rounds < leastRounds) throw wrongFile("too-few-rounds");
  if (rounds > mostRounds) throw wrongFile("too-many-rounds");
}

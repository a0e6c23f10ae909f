import { CoreError } from "../../errors.ts";

export type CodeProblem =
  "not-a-code" | "truncated" | "newer-version" | "sign-in" | "wrong-mode" | "other-flow" | "keys-differ" | "wrong-time";
/** 0: another user. 1: an own device, shown by one that trusts the identity; 2: by one that does not yet. */
export type VerificationCode = { mode: 0 | 1 | 2; flowId: string };

const magic = Buffer.from("MATRIX", "latin1");
const keyBytes = 32;
const shortestSecret = 8;

/** The outer shape of a scanned code, checked before anybody acts on it. Source: client-server API, "QR codes", "QR code format". */
export function parseCode(bytes: Uint8Array): VerificationCode {
  const code = Buffer.from(bytes);
  if (code.length < magic.length || !code.subarray(0, magic.length).equals(magic)) throw badCode("not-a-code");
  const version = code[6];
  const mode = code[7];
  if (version === undefined || mode === undefined || code.length < 10) throw badCode("truncated");
  if (version !== 2) throw badCode("newer-version");
  // MSC4108: a device that wants to sign in
  if (mode === 3 || mode === 4) throw badCode("sign-in");
  if (mode !== 0 && mode !== 1 && mode !== 2) throw badCode("wrong-mode");
  const idLength = code.readUInt16BE(8);
  if (code.length < 10 + idLength + 2 * keyBytes + shortestSecret) throw badCode("truncated");
  return { mode, flowId: code.toString("utf8", 10, 10 + idLength) };
}

export const badCode = (kind: CodeProblem): CoreError =>
  new CoreError("bad-request", { message: sentences[kind], details: { kind } });
/** The code is whole, and names other keys than the ones of this pair. */
export const otherKeys = (cause?: unknown): CoreError =>
  new CoreError("wrong-key", { cause, message: sentences["keys-differ"], details: { kind: "keys-differ" } });

const sentences: Record<CodeProblem, string> = {
  "not-a-code": "This is no code for verifying.",
  truncated: "The code is incomplete.",
  "newer-version": "The code is of a newer kind.",
  "sign-in": "The code is for signing in, not for verifying.",
  "wrong-mode": "The code is for another kind of verification.",
  "other-flow": "The code belongs to another verification.",
  "keys-differ": "The code names other keys than those of the two of you.",
  "wrong-time": "There is nothing to scan for now.",
};

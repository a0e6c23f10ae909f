/**
 * The form of a recovery key while it is typed: 48 letters and digits in groups of four that hold a checksum.
 * Source: client-server API, "Recovery key". Nothing here tells whether it is the right key.
 */
const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const prefix = [0x8b, 0x01];
const bytesOfKey = 32;
/** The bytes of a key with prefix and parity always make 48 letters. */
export const lettersOfKey = 48;
const lettersOfGroup = 4;
export const groupsOfKey = lettersOfKey / lettersOfGroup;

export type KeyForm =
  | { at: "empty" }
  | { at: "typing"; groups: number }
  /** A letter that no recovery key has. */
  | { at: "stray"; letter: string; group: number }
  | { at: "too-long" }
  | { at: "typo" }
  | { at: "whole" };

const letters = (text: string): string[] => Array.from(text.replace(/[\s-]/gu, ""));

export const keyGroups = (text: string): string[] =>
  letters(text)
    .join("")
    .match(/.{1,4}/gu) ?? [];

export const grouped = (text: string): string => keyGroups(text).join(" ");

export const lastGroup = (recoveryKey: string): string => keyGroups(recoveryKey).at(-1) ?? "";

export function keyForm(text: string): KeyForm {
  const typed = letters(text);
  if (typed.length === 0) return { at: "empty" };
  const stray = typed.findIndex((letter) => !alphabet.includes(letter));
  if (stray !== -1) return { at: "stray", letter: typed[stray] ?? "", group: Math.floor(stray / lettersOfGroup) + 1 };
  if (typed.length < lettersOfKey) return { at: "typing", groups: Math.floor(typed.length / lettersOfGroup) };
  if (typed.length > lettersOfKey) return { at: "too-long" };
  return { at: checks(typed.join("")) ? "whole" : "typo" };
}

/** Base58 with a parity byte: the XOR of all bytes is zero. */
function checks(key: string): boolean {
  let number = 0n;
  for (const letter of key) number = number * 58n + BigInt(alphabet.indexOf(letter));
  const bytes: number[] = [];
  for (; number > 0n; number >>= 8n) bytes.unshift(Number(number & 0xffn));
  return (
    bytes.length === prefix.length + bytesOfKey + 1 &&
    prefix.every((byte, index) => bytes[index] === byte) &&
    bytes.reduce((parity, byte) => parity ^ byte, 0) === 0
  );
}

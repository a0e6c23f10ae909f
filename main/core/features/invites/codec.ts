import { createHash } from "node:crypto";
import type { InviteKind, InvitePreset } from "../../../../preload/contract/invites.ts";
import { fromBase32, toBase32 } from "./base32.ts";

/** What a code says, apart from its secret. `header` are the exact bytes: every key depends on each of them. */
export type InviteHeader = {
  kind: InviteKind;
  preset: InvitePreset;
  /** 0: it does not expire. */
  expiresAtMs: number;
  /** The inviter's master key, 32 bytes. */
  masterKey: Uint8Array;
  label: string;
};
export type InviteCode = InviteHeader & { header: Uint8Array; secret: Uint8Array };
export type CodeFault = "corrupt" | "newer-version" | "too-long";

const version = 1;
const kinds = ["contact", "group"] as const;
const presets = ["show", "personal-link", "card", "public"] as const;
const fixedBytes = 1 + 1 + 4 + 32 + 1;
export const secretBytes = 16;
const checkBytes = 3;
export const longestLabelBytes = 24;
const longestPayload = Math.ceil(((fixedBytes + longestLabelBytes + secretBytes + checkBytes) * 8) / 5);

/** 0 never expires. */
export const isExpired = (expiresAtMs: number, nowMs: number): boolean => expiresAtMs !== 0 && nowMs >= expiresAtMs;

/** A length of two bytes before the value, so that no two lists of values are the same bytes. */
export function lp(value: Uint8Array | string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
export const sha256 = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
/** Against typing mistakes alone: the keys guard against everything else. */
const checkOf = (userId: string, header: Uint8Array, secret: Uint8Array): Buffer =>
  sha256(lp("SJM1/chk"), lp(userId), header, secret).subarray(0, checkBytes);

/** The header's bytes. Throws where a value has no place in them. */
export function encodeHeader(value: InviteHeader): Uint8Array {
  const label = Buffer.from(value.label);
  const minutes = Math.floor(value.expiresAtMs / 60_000);
  if (label.length > longestLabelBytes || value.masterKey.length !== 32 || minutes < 0 || minutes > 0xffff_ffff)
    throw new RangeError("a code's header does not take this");
  const head = Buffer.alloc(6);
  head.writeUInt8(version, 0);
  head.writeUInt8(kinds.indexOf(value.kind) | (presets.indexOf(value.preset) << 2), 1);
  head.writeUInt32BE(minutes, 2);
  return Buffer.concat([head, value.masterKey, Buffer.from([label.length]), label]);
}

/** The payload of a code: header, secret and check, in Base32. */
export const encodePayload = (userId: string, header: Uint8Array, secret: Uint8Array): string =>
  toBase32(Buffer.concat([header, secret, checkOf(userId, header, secret)]));

/** Total: any text gives a code or the reason why it is none. Expiry is the caller's to judge, who has a clock. */
export function decodePayload(userId: string, payload: string): InviteCode | CodeFault {
  if (payload.length > longestPayload) return "too-long";
  const bytes = fromBase32(payload);
  if (bytes === undefined || bytes.length === 0) return "corrupt";
  // a later version may have another layout: nothing more can be said of it
  if ((bytes[0] ?? 0) > version) return "newer-version";
  if (bytes[0] !== version || bytes.length < fixedBytes + secretBytes + checkBytes) return "corrupt";
  const labelLength = bytes[fixedBytes - 1] ?? 0;
  const headerBytes = fixedBytes + labelLength;
  if (labelLength > longestLabelBytes || bytes.length !== headerBytes + secretBytes + checkBytes) return "corrupt";
  const header = bytes.subarray(0, headerBytes);
  const secret = bytes.subarray(headerBytes, headerBytes + secretBytes);
  if (!checkOf(userId, header, secret).equals(bytes.subarray(headerBytes + secretBytes))) return "corrupt";
  const flags = bytes[1] ?? 0;
  const kind = kinds[flags & 3];
  const preset = presets[(flags >> 2) & 3];
  if (kind === undefined || preset === undefined || flags >> 4 !== 0) return "corrupt";
  const label = textOf(header.subarray(fixedBytes));
  if (label === undefined) return "corrupt";
  return {
    kind,
    preset,
    expiresAtMs: Buffer.from(header).readUInt32BE(2) * 60_000,
    masterKey: header.slice(6, 38),
    label,
    header: header.slice(),
    secret: secret.slice(),
  };
}

/** Strict UTF-8, and nothing that could turn the sheet's text around or hide in it. */
function textOf(bytes: Uint8Array): string | undefined {
  let label: string;
  try {
    label = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
  return /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(label) ? undefined : label;
}

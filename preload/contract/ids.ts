import * as v from "valibot";

const noSpace = /^[^\s\p{Cc}]+$/u;

/** `@localpart:server`, at most 255 bytes. Source: Matrix specification, "User Identifiers"; historical characters allowed. */
export const userId = v.pipe(
  v.string(),
  v.maxBytes(255),
  v.regex(noSpace),
  v.regex(/^@[^:]*:[^:]+(:\d+)?$|^@[^:]*:\[[^\]]+\](:\d+)?$/),
);
/** `!opaque`, with or without a server part (room version 12 has none). */
export const roomId = v.pipe(v.string(), v.maxBytes(255), v.regex(noSpace), v.regex(/^!.+$/));
export const roomAlias = v.pipe(v.string(), v.maxBytes(255), v.regex(/^#[^\p{Cc}]*:[^\s\p{Cc}]+$/u));
/** An own item's id from `pending` to `sent` and for ever; another's is its event id. */
export const itemId = v.pipe(v.string(), v.maxBytes(255), v.regex(noSpace), v.minLength(2));
export const deviceName = v.pipe(v.string(), v.minLength(1), v.maxLength(100));
export const empty = v.strictObject({});
/** Milliseconds a caller is ready to wait. */
export const timeoutMs = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(600_000));
/** Opaque (client-server API, "Devices"); never shown to anybody as anything but text. */
export const deviceId = v.pipe(v.string(), v.minLength(1), v.maxBytes(255), v.regex(noSpace));
export const password = v.pipe(v.string(), v.minLength(1), v.maxLength(4096));
/** Of secret storage, of an exported file, of the vault. */
export const passphrase = v.pipe(v.string(), v.minLength(1), v.maxLength(1024));
/** As people type it: spaces, line breaks and case are handled, and what is wrong with it is told, where it is decoded. */
export const recoveryKey = v.pipe(v.string(), v.minLength(1), v.maxLength(512));
export const operationId = v.pipe(v.string(), v.uuid());
/** Unpadded or padded; decoded bytes are checked where they are used. */
export const base64Bytes = v.pipe(v.string(), v.minLength(1), v.maxLength(16_384), v.regex(/^[A-Za-z0-9+/]+={0,2}$/));

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

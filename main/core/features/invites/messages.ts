import * as v from "valibot";
import type { DeviceKeys } from "./keys.ts";
import { namespace } from "./link.ts";

/** Steps 1 and 2 pass in clear, sealed with keys of the code; 3 and 4 inside Olm. docs/invite-protocol.md, "Messages". */
export const messageTypes = {
  open: `${namespace}.securejoin`,
  proof: `${namespace}.securejoin.proof`,
  confirm: `${namespace}.securejoin.confirm`,
} as const;
export const largestMessageBytes = 4096;
/** HELLO and REPLY have one shape and one length, whatever they hold. */
export const paddedBytes = 768;

const encodedBytes = (length: number) => Math.ceil((length * 4) / 3);
/** Unpadded base64 of exactly so many bytes. */
const raw = (length: number) =>
  v.pipe(
    v.string(),
    v.length(encodedBytes(length)),
    v.regex(/^[A-Za-z0-9+/]+$/),
    v.transform(bytesOf),
    v.check((bytes) => bytes.length === length),
  );
const sealed = v.pipe(
  v.string(),
  v.maxLength(encodedBytes(paddedBytes + 16)),
  v.regex(/^[A-Za-z0-9+/]+$/),
  v.transform(bytesOf),
);
const userId = v.pipe(v.string(), v.maxBytes(255), v.startsWith("@"));
const roomId = v.pipe(v.string(), v.maxBytes(255), v.startsWith("!"));
const device = v.pipe(
  // `*` would be all of somebody's devices
  v.object({ id: v.pipe(v.string(), v.minLength(1), v.maxBytes(255), v.notValue("*")), ed: raw(32), curve: raw(32) }),
  v.transform(({ id, ed, curve }): DeviceKeys => ({ deviceId: id, ed25519: ed, curve25519: curve })),
);
const kind = v.picklist(["dm", "group"]);

/** Fields that are not known are left alone; what is there must have its shape. */
export const outerSchema = v.object({ v: v.literal(1), t: raw(16), x: raw(16), n: raw(12), c: sealed });
export const helloSchema = v.object({
  s: v.literal("hello"),
  from: userId,
  to: userId,
  dev: device,
  msk: raw(32),
  nb: raw(16),
  knd: kind,
});
export const replySchema = v.object({
  s: v.literal("reply"),
  from: userId,
  to: userId,
  dev: device,
  msk: raw(32),
  na: raw(16),
  nb: raw(16),
  res: v.picklist(["ok", "used", "hold"]),
});
export const proofSchema = v.object({
  v: v.literal(1),
  t: raw(16),
  x: raw(16),
  na: raw(16),
  nb: raw(16),
  knd: kind,
  dev: device,
  msk: raw(32),
  room: v.optional(roomId),
  mac: raw(32),
});
export const confirmSchema = v.object({
  v: v.literal(1),
  t: raw(16),
  x: raw(16),
  res: v.picklist(["ok", "already", "no_permission", "gone"]),
  ver: v.boolean(),
  knd: kind,
  room: v.union([v.literal(""), roomId]),
  via: v.pipe(v.array(v.pipe(v.string(), v.maxLength(255))), v.maxLength(10)),
  mac: raw(32),
});
export type Outer = v.InferOutput<typeof outerSchema>;
export type Proof = v.InferOutput<typeof proofSchema>;
export type Confirm = v.InferOutput<typeof confirmSchema>;

/** Undefined for anything that is not exactly of the schema's shape. */
export function read<S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> | undefined {
  const result = v.safeParse(schema, value);
  return result.success ? result.output : undefined;
}

type Wire = string | number | boolean | string[] | { id: string; ed: string; curve: string } | undefined;
/** A message as it goes out: bytes in unpadded base64, devices by their short names. */
export function wire(message: Record<string, unknown>): Record<string, Wire> {
  return Object.fromEntries(
    Object.entries(message)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [
        name,
        value instanceof Uint8Array ? toBase64(value) : isDevice(value) ? deviceWire(value) : value,
      ]),
  ) as Record<string, Wire>;
}
const isDevice = (value: unknown): value is DeviceKeys =>
  typeof value === "object" && value !== null && "ed25519" in value && "curve25519" in value;
const deviceWire = (device: DeviceKeys) => ({
  id: device.deviceId,
  ed: toBase64(device.ed25519),
  curve: toBase64(device.curve25519),
});
export const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64").replaceAll("=", "");
/** Of base64 whose shape was looked at: Buffer's reading passes over what is none. */
export function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}

/** Length in two bytes, JSON, zeros. */
export function pad(message: string): Uint8Array {
  const bytes = Buffer.from(message);
  if (bytes.length > paddedBytes - 2) throw new RangeError("a handshake message is too long");
  const padded = Buffer.alloc(paddedBytes);
  padded.writeUInt16BE(bytes.length);
  bytes.copy(padded, 2);
  return padded;
}

/** The message within, as data; undefined where the length, the zeros or the JSON are not as `pad` makes them. */
export function unpad(padded: Uint8Array): unknown {
  if (padded.length !== paddedBytes) return undefined;
  const bytes = Buffer.from(padded.buffer, padded.byteOffset, padded.byteLength);
  const end = 2 + bytes.readUInt16BE(0);
  if (end > paddedBytes || bytes.subarray(end).some((byte) => byte !== 0)) return undefined;
  try {
    return JSON.parse(bytes.subarray(2, end).toString("utf8")) as unknown;
  } catch {
    return undefined;
  }
}

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  pbkdf2,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { promisify } from "node:util";
import { integer, object, text } from "../json.ts";

/** Secrets as secret storage keeps them. Source: client-server API, "m.secret_storage.v1.aes-hmac-sha2". */
export const algorithm = "m.secret_storage.v1.aes-hmac-sha2";

export type Sealed = { iv: string; ciphertext: string; mac: string };
export type Passphrase = { salt: string; iterations: number };
/** A key's description, and why it cannot be used. */
export type KeyDescription =
  | { at: "known"; iv: string; mac: string; passphrase?: Passphrase; passphraseRefused?: "rounds" | "form" }
  | { at: "refused"; reason: "unknown-algorithm" | "no-key-check" | "malformed" };

/**
 * Of secret storage and of key files. Fewer rounds than this are no key derivation (RFC 8018, section 4.2, names 1,000 as the least);
 * ten million are some six seconds, and who asks for more means to keep a machine busy. Clients write 100,000 to 500,000.
 */
export const leastRounds = 1000;
export const mostRounds = 10_000_000;
export const ownRounds = 500_000;
/** No secret that we know is longer; others may keep longer ones, which we do not open. */
const longestSecret = 4096;
const noName = "";
const zeros = "\0".repeat(32);

export function seal(key: Uint8Array, name: string, secret: string, iv: Buffer = newIv()): Sealed {
  const { aes, mac } = keysOf(key, name);
  const cipher = createCipheriv("aes-256-ctr", aes, iv);
  const ciphertext = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
  const tag = createHmac("sha256", mac).update(ciphertext).digest();
  return { iv: unpadded(iv), ciphertext: unpadded(ciphertext), mac: unpadded(tag) };
}

/** `undefined` where it was not sealed with this key under this name, or was altered. */
export function open(key: Uint8Array, name: string, sealed: unknown): string | undefined {
  const { iv, ciphertext, mac } = object(sealed) ?? {};
  const ivBytes = bytesOf(iv, 16);
  const body = bytesOf(ciphertext);
  const tag = bytesOf(mac, 32);
  if (ivBytes === undefined || body === undefined || tag === undefined || body.length > longestSecret) return undefined;
  const keys = keysOf(key, name);
  if (!timingSafeEqual(createHmac("sha256", keys.mac).update(body).digest(), tag)) return undefined;
  const cipher = createDecipheriv("aes-256-ctr", keys.aes, ivBytes);
  return Buffer.concat([cipher.update(body), cipher.final()]).toString("utf8");
}

/** The description's own check: 32 zero bytes sealed with the key. */
export function keyCheck(key: Uint8Array): { iv: string; mac: string } {
  const { iv, mac } = seal(key, noName, zeros);
  return { iv, mac };
}

export function fitsKey(key: Uint8Array, description: { iv: string; mac: string }): boolean {
  const iv = bytesOf(description.iv, 16);
  const wanted = bytesOf(description.mac, 32);
  if (iv === undefined || wanted === undefined) return false;
  const mac = bytesOf(seal(key, noName, zeros, iv).mac, 32);
  return mac !== undefined && timingSafeEqual(mac, wanted);
}

export function describeKey(content: unknown): KeyDescription {
  const description = object(content);
  if (description === undefined) return { at: "refused", reason: "malformed" };
  if (description["algorithm"] !== algorithm) return { at: "refused", reason: "unknown-algorithm" };
  const { iv, mac } = description;
  // the specification lets a client take a key unchecked then; a wrong one would read as a wrong key for each secret, or as damage
  if (iv === undefined || mac === undefined) return { at: "refused", reason: "no-key-check" };
  if (text(iv) === undefined || text(mac) === undefined || !bytesOf(iv, 16) || !bytesOf(mac, 32))
    return { at: "refused", reason: "malformed" };
  const known = { at: "known", iv: iv as string, mac: mac as string } as const;
  if (description["passphrase"] === undefined) return known;
  const passphrase = object(description["passphrase"]);
  const salt = text(passphrase?.["salt"]);
  const iterations = integer(passphrase?.["iterations"]);
  const bits = passphrase?.["bits"] ?? 256;
  if (passphrase?.["algorithm"] !== "m.pbkdf2" || salt === undefined || salt.length > 1024 || bits !== 256)
    return { ...known, passphraseRefused: "form" };
  if (iterations === undefined || iterations < leastRounds || iterations > mostRounds)
    return { ...known, passphraseRefused: "rounds" };
  return { ...known, passphrase: { salt, iterations } };
}

const derive = promisify(pbkdf2);
/** Off this thread. Source: client-server API, "Deriving keys from passphrases". */
export const keyFromPassphrase = (passphrase: string, { salt, iterations }: Passphrase): Promise<Buffer> =>
  derive(passphrase, salt, iterations, 32, "sha512");

/** Bit 63 is cleared, as the specification wants for the sake of counters of 64 bits. */
function newIv(): Buffer {
  const iv = randomBytes(16);
  iv.writeUInt8(iv.readUInt8(8) & 0x7f, 8);
  return iv;
}

function keysOf(key: Uint8Array, name: string): { aes: Buffer; mac: Buffer } {
  const both = Buffer.from(hkdfSync("sha256", key, Buffer.alloc(32), name, 64));
  return { aes: both.subarray(0, 32), mac: both.subarray(32) };
}

export const unpadded = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

/** Padded or not; `undefined` for what is no base64, too long, or not of the wanted length. */
export function bytesOf(value: unknown, length?: number): Buffer | undefined {
  if (typeof value !== "string" || value.length > 2 * longestSecret || !/^[A-Za-z0-9+/]*={0,2}$/.test(value))
    return undefined;
  const bytes = Buffer.from(value, "base64");
  return length === undefined || bytes.length === length ? bytes : undefined;
}

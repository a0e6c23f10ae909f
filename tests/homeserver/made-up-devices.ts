import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";

/** A device that exists on the wire alone: well-formed, rightly signed, with nobody behind it. */
export type MadeUpDevice = { deviceId: string; deviceKeys: Signed; oneTimeKey: () => Record<string, Signed> };
type Signed = Record<string, unknown> & { signatures: Record<string, Record<string, string>> };

const algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"];
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

/** Devices for answers of /keys/query and /keys/claim that a fault proxy gives in place of the homeserver. */
export function madeUpDevices(userId: string, count: number, prefix = "MADEUP"): MadeUpDevice[] {
  return Array.from({ length: count }, (_, n) => madeUpDevice(userId, `${prefix}${n}`));
}

export function madeUpDevice(userId: string, deviceId: string): MadeUpDevice {
  const { name: fingerprint, privateKey } = newKey();
  const signed = (content: Record<string, unknown>) => signedBy(privateKey, userId, deviceId, content);
  return {
    deviceId,
    deviceKeys: signed({
      algorithms,
      device_id: deviceId,
      // any 32 bytes are a Curve25519 key
      keys: { [`curve25519:${deviceId}`]: base64(randomBytes(32)), [`ed25519:${deviceId}`]: fingerprint },
      user_id: userId,
    }),
    oneTimeKey: () => ({ [`signed_curve25519:${base64(randomBytes(6))}`]: signed({ key: base64(randomBytes(32)) }) }),
  };
}

/** A cross-signing identity, rightly signed from its master key down, for the answer of /keys/query. Source: "Cross-signing". */
export function madeUpIdentity(userId: string): { master: Record<string, unknown>; selfSigning: Signed } {
  const [master, selfSigning] = [newKey(), newKey()];
  const part = (usage: string, name: string) => ({
    user_id: userId,
    usage: [usage],
    keys: { [`ed25519:${name}`]: name },
  });
  return {
    master: part("master", master.name),
    selfSigning: signedBy(master.privateKey, userId, master.name, part("self_signing", selfSigning.name)),
  };
}

function newKey() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return { privateKey, name: base64(publicKey.export({ format: "der", type: "spki" }).subarray(-32)) };
}

/** Source: appendices, "Signing JSON". */
export function signedBy(key: KeyObject, userId: string, deviceId: string, content: Record<string, unknown>): Signed {
  const signature = base64(sign(null, Buffer.from(canonical(content)), key));
  return { ...content, signatures: { [userId]: { [`ed25519:${deviceId}`]: signature } } };
}

/** Source: appendices, "Canonical JSON"; enough for keys, whose members are ASCII. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, one]) => `${JSON.stringify(name)}:${canonical(one)}`).join(",")}}`;
}

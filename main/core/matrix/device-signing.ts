import { DeviceId, UserId } from "@matrix-org/matrix-sdk-crypto-wasm";
import type { Secret } from "../../../preload/contract/trust.ts";
import { CoreError, asCoreError } from "../errors.ts";
import { object, text, type Json } from "../json.ts";
import type { Crypto } from "./crypto.ts";
import { publicKeyOf, queryKeys, sameKey, uploadOf, uploadSignatures } from "./user-signing.ts";

/** Two of the own devices that vouched for each other: under which master key, and with which device key the other one did. */
export type DevicePair = { deviceId: string; masterKey: string; deviceKey: string };

/** What is verified of an own device at the end of a flow; undefined where it or the own identity is gone. */
export async function pairWith(crypto: Crypto, deviceId: string): Promise<DevicePair | undefined> {
  const { machine, me } = crypto.inner;
  const identity = await machine.getIdentity(new UserId(me));
  const device = await machine.getDevice(new UserId(me), new DeviceId(deviceId));
  try {
    const masterKey = identity === undefined ? undefined : publicKeyOf(JSON.parse(identity.masterKey));
    const deviceKey = device?.ed25519Key?.toBase64();
    // a key that was swapped under the flow is not the one that the machine marked as verified: it must never be signed
    const verified = identity?.isVerified() === true && device?.isVerified() === true;
    if (masterKey === undefined || deviceKey === undefined || !verified) return undefined;
    return { deviceId, masterKey, deviceKey };
  } finally {
    identity?.free();
    device?.free();
  }
}

/**
 * What is missing until both devices are signed on the server, asked now, and this one holds every secret that there is.
 * Throws `identity-changed` where the server shows another master key or another device key, `not-found` where the device is gone.
 */
export async function missingOfPair(crypto: Crypto, pair: DevicePair): Promise<("signature" | Secret)[]> {
  const { machine, me } = crypto.inner;
  const answer = await queryKeys(crypto, [me]);
  if (!sameKey(publicKeyOf(object(answer["master_keys"])?.[me]), pair.masterKey)) throw changed();
  const signer = publicKeyOf(object(answer["self_signing_keys"])?.[me]);
  const devices = object(object(answer["device_keys"])?.[me]);
  const theirs = object(devices?.[pair.deviceId]);
  if (theirs === undefined) throw new CoreError("not-found", { message: "The device is gone." });
  if (!sameKey(keyOf(theirs, pair.deviceId), pair.deviceKey)) throw changed();
  const identity = await machine.getIdentity(new UserId(me));
  const trusted = identity?.isVerified() === true;
  identity?.free();
  const own = machine.deviceId.toString();
  const signed =
    trusted &&
    (await isSigned(crypto, own, object(devices?.[own]), signer)) &&
    (await isSigned(crypto, pair.deviceId, theirs, signer));
  return [...(signed ? [] : ["signature" as const]), ...(await missingSecrets(crypto))];
}

/** The signature stands in the server's answer, and the machine, which took the same answer, finds it good. */
async function isSigned(crypto: Crypto, deviceId: string, keys: Json | undefined, signer: string | undefined) {
  const { machine, me } = crypto.inner;
  const signatures = object(object(keys?.["signatures"])?.[me]);
  if (signer === undefined || text(signatures?.[`ed25519:${signer}`]) === undefined) return false;
  const device = await machine.getDevice(new UserId(me), new DeviceId(deviceId));
  try {
    return device?.isCrossSignedByOwner() === true && sameKey(device.ed25519Key?.toBase64(), keyOf(keys, deviceId));
  } finally {
    device?.free();
  }
}
const keyOf = (keys: Json | undefined, deviceId: string) => text(object(keys?.["keys"])?.[`ed25519:${deviceId}`]);

async function missingSecrets(crypto: Crypto): Promise<Secret[]> {
  const { machine, http } = crypto.inner;
  const status = await machine.crossSigningStatus();
  const missing: Secret[] = [];
  if (!status.hasMaster) missing.push("master");
  if (!status.hasSelfSigning) missing.push("selfSigning");
  if (!status.hasUserSigning) missing.push("userSigning");
  status.free();
  const keys = await machine.getBackupKeys();
  const held = keys.decryptionKey !== undefined;
  keys.free();
  if (held) return missing;
  try {
    await http.request("GET", "/_matrix/client/v3/room_keys/version");
    missing.push("backup");
  } catch (error) {
    // an account without a backup has no key of one to wait for
    if (asCoreError(error).code !== "not-found") throw error;
  }
  return missing;
}

/** Signs the other device again, where this one can. Throws `forbidden` where the server refuses the signature. */
export async function signPair(crypto: Crypto, pair: DevicePair): Promise<void> {
  const { machine, me } = crypto.inner;
  const status = await machine.crossSigningStatus();
  const can = status.hasSelfSigning;
  status.free();
  if (!can) return;
  const device = await machine.getDevice(new UserId(me), new DeviceId(pair.deviceId));
  try {
    if (device === undefined || !sameKey(device.ed25519Key?.toBase64(), pair.deviceKey)) throw changed();
    await uploadSignatures(crypto, uploadOf(await device.verify()));
  } finally {
    device?.free();
  }
}

/** Asks the other verified devices for the secrets that are missing. They answer only once they know this one as signed. */
export async function requestSecrets(crypto: Crypto): Promise<void> {
  await crypto.inner.machine.requestMissingSecretsIfNeeded();
  await crypto.processOutgoing();
}

const changed = () =>
  new CoreError("identity-changed", {
    message: "The keys are not those that were verified.",
    details: { kind: "keys-differ" },
  });

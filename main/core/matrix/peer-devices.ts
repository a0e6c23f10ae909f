import { DeviceId, OwnUserIdentity, UserId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { CoreError } from "../errors.ts";
import { isObject, type Json } from "../json.ts";
import { isUser, type Crypto } from "./crypto.ts";
import { assertMasterKey, publicKeyOf, queryKeys, sameKey } from "./user-signing.ts";

/** Keys in unpadded base64. `signed`: by the self-signing key of the identity beside it, checked by Rust crypto. */
export type PeerDevice = { deviceId: string; ed25519: string; curve25519: string; signed: boolean };
export type Peer = { masterKey?: string; devices: PeerDevice[] };
export type OwnStanding = {
  masterKey?: string;
  /** This identity is the one that this device trusts as its own, and has signed it. */
  deviceSigned: boolean;
  /** The user-signing key is here. */
  canSign: boolean;
  device: { deviceId: string; ed25519: string; curve25519: string };
};

const readTries = 3;

/** Their identity and devices as Rust crypto has them now; nobody is asked. */
export async function knownPeer(crypto: Crypto, userId: string): Promise<Peer> {
  if (!isUser(userId)) return { devices: [] };
  for (let tries = 0; ; tries++) {
    const before = await masterKeyOf(crypto, userId);
    const devices = await devicesOf(crypto, userId);
    // an identity that came in between would vouch for devices of the one before
    const after = await masterKeyOf(crypto, userId);
    if (before === after) return { ...(after === undefined ? {} : { masterKey: after }), devices };
    if (tries >= readTries)
      throw new CoreError("unreachable", { message: "Their keys change faster than they can be read." });
  }
}

/**
 * The same, as their server has it at this moment. Throws `not-found` where they have no identity and what the network throws.
 * What the server says and what Rust crypto took from it must be one: it refuses a badly signed identity without a word.
 */
export async function freshPeer(crypto: Crypto, userId: string): Promise<Peer & { masterKey: string }> {
  if (!isUser(userId)) throw new CoreError("not-found", { message: "They have no identity yet." });
  const told = assertMasterKey(await queryKeys(crypto, [userId]), userId);
  const peer = await knownPeer(crypto, userId);
  if (peer.masterKey === undefined || !sameKey(peer.masterKey, told))
    throw new CoreError("not-found", { message: "They have no valid identity.", details: { kind: "no-identity" } });
  return { ...peer, masterKey: peer.masterKey };
}

/** What this device is to its own account; nobody is asked. */
export async function ownStanding(crypto: Crypto): Promise<OwnStanding> {
  const { machine, me } = crypto.inner;
  const deviceId = machine.deviceId.toString();
  const keys = machine.identityKeys;
  const device = { deviceId, ed25519: keys.ed25519.toBase64(), curve25519: keys.curve25519.toBase64() };
  keys.free();
  const status = await machine.crossSigningStatus();
  const canSign = status.hasUserSigning;
  status.free();
  const identity = await machine.getIdentity(new UserId(me));
  if (!(identity instanceof OwnUserIdentity)) {
    identity?.free();
    return { device, canSign, deviceSigned: false };
  }
  try {
    const masterKey = publicKeyOf(JSON.parse(identity.masterKey));
    const verified = identity.isVerified();
    const own = await machine.getDevice(new UserId(me), new DeviceId(deviceId));
    const deviceSigned = verified && own?.isCrossSignedByOwner() === true;
    own?.free();
    return { ...(masterKey === undefined ? {} : { masterKey }), device, canSign, deviceSigned };
  } finally {
    identity.free();
  }
}

/**
 * The content of an `m.room.encrypted` for one device, for no other key than `curve25519` where that is given.
 * Throws `not-found` (`details.kind`: `not-signed`, `no-session`) and what the network throws.
 */
export async function encryptTo(
  crypto: Crypto,
  to: { userId: string; deviceId: string; curve25519?: string },
  type: string,
  content: Json,
): Promise<Json> {
  const { machine, inTurn } = crypto.inner;
  const known = async (): Promise<PeerDevice | undefined> =>
    (await knownPeer(crypto, to.userId)).devices.find((device) => device.deviceId === to.deviceId);
  const fits = (device: PeerDevice | undefined) =>
    device?.signed === true && (to.curve25519 === undefined || sameKey(device.curve25519, to.curve25519));
  // who is in no room with us is not followed: their devices may be unknown here, or of yesterday
  if (!fits(await known())) await queryKeys(crypto, [to.userId]);
  const wanted = await known();
  if (!fits(wanted)) throw new CoreError("not-found", { details: { kind: "not-signed" } });
  await crypto.claim([to.userId]);
  return await inTurn(async () => {
    const device = await machine.getDevice(new UserId(to.userId), new DeviceId(to.deviceId));
    try {
      // the very object that encrypts
      if (device?.isCrossSignedByOwner() !== true || !sameKey(device.curve25519Key?.toBase64(), wanted?.curve25519))
        throw new CoreError("not-found", { details: { kind: "not-signed" } });
      const encrypted = JSON.parse(await device.encryptToDeviceEvent(type, content)) as unknown;
      if (!isObject(encrypted) || encrypted["algorithm"] !== "m.olm.v1.curve25519-aes-sha2")
        throw new CoreError("unexpected", { message: "Encryption gave no ciphertext." });
      return encrypted;
    } catch (cause) {
      if (cause instanceof CoreError) throw cause;
      throw new CoreError("not-found", { cause, details: { kind: "no-session" } });
    } finally {
      device?.free();
    }
  });
}

async function masterKeyOf(crypto: Crypto, userId: string): Promise<string | undefined> {
  const identity = await crypto.inner.machine.getIdentity(new UserId(userId));
  try {
    return identity === undefined ? undefined : publicKeyOf(JSON.parse(identity.masterKey));
  } finally {
    identity?.free();
  }
}

async function devicesOf(crypto: Crypto, userId: string): Promise<PeerDevice[]> {
  const handle = await crypto.inner.machine.getUserDevices(new UserId(userId));
  const all = handle.devices();
  try {
    return all.flatMap((device) => {
      const [ed25519, curve25519] = [device.ed25519Key?.toBase64(), device.curve25519Key?.toBase64()];
      if (device.isDeleted() || ed25519 === undefined || curve25519 === undefined) return [];
      return { deviceId: device.deviceId.toString(), ed25519, curve25519, signed: device.isCrossSignedByOwner() };
    });
  } finally {
    for (const device of all) device.free();
    handle.free();
  }
}

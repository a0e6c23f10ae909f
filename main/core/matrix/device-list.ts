import { DeviceId, LocalTrust, UserId, type Device } from "@matrix-org/matrix-sdk-crypto-wasm";
import { isUser, type Crypto } from "./crypto.ts";
import { createIdentities, type Identity } from "./user-identity.ts";

/** What Rust crypto's own flag on a device says. `allowed` makes its sharing pass over who signed the device. */
export type Mark = "none" | "allowed" | "verified" | "blocked";
export type KnownDevice = {
  userId: string;
  deviceId: string;
  name?: string;
  /** Ed25519 and Curve25519, unpadded base64; a device may lack them. */
  fingerprint?: string;
  curve25519?: string;
  signedByOwner: boolean;
  dehydrated: boolean;
  mark: Mark;
};
export type KnownUser = { userId: string; identity?: Identity; devices: KnownDevice[] };

export type DeviceList = ReturnType<typeof createDeviceList>;

const readAtOnce = 50;
/** A person with thousands of devices costs a person with thousands of devices: the thread breathes in between. */
const devicesAtOnce = 500;
const longestNameChars = 255;
/** Some 20 MB. */
const mostKnown = 20_000;

const marks: Record<LocalTrust, Mark> = {
  [LocalTrust.Unset]: "none",
  [LocalTrust.Ignored]: "allowed",
  [LocalTrust.Verified]: "verified",
  [LocalTrust.BlackListed]: "blocked",
};
const trustOf: Record<Mark, LocalTrust> = {
  none: LocalTrust.Unset,
  allowed: LocalTrust.Ignored,
  verified: LocalTrust.Verified,
  blocked: LocalTrust.BlackListed,
};

/**
 * Everybody's devices and identities as plain values, kept until Rust crypto says that they changed: reading those of a thousand
 * people from its store takes hundreds of milliseconds, and each message and each look at its recipients wants them.
 */
export function createDeviceList(crypto: Crypto) {
  const { machine, me } = crypto.inner;
  const identities = createIdentities(crypto);
  const known = new Map<string, Promise<KnownUser>>();

  const forget = (userIds: string[]) => {
    for (const userId of userIds) known.delete(userId);
  };
  crypto.onDevices(forget);
  crypto.onIdentities((userIds) => {
    // whether anybody is verified hangs on our own identity
    if (userIds.includes(me)) known.clear();
    else forget(userIds);
  });

  const read = async (userId: string): Promise<KnownUser> => {
    if (!isUser(userId)) return { userId, devices: [] };
    const identity = await identities.read(userId);
    const handle = await machine.getUserDevices(new UserId(userId));
    const all = handle.devices();
    const devices: KnownDevice[] = [];
    try {
      for (const [index, device] of all.entries()) {
        if (index > 0 && index % devicesAtOnce === 0) await breath();
        if (!device.isDeleted()) devices.push(deviceFrom(device, userId));
      }
    } finally {
      for (const device of all) device.free();
      handle.free();
    }
    return { userId, ...(identity === undefined ? {} : { identity }), devices };
  };

  const of = (userId: string): Promise<KnownUser> => {
    const present = known.get(userId);
    if (present !== undefined) return present;
    const fresh = read(userId);
    if (known.size >= mostKnown) known.clear();
    known.set(userId, fresh);
    fresh.catch(() => {
      if (known.get(userId) === fresh) known.delete(userId);
    });
    return fresh;
  };

  return {
    identities,
    user: of,
    users: async (userIds: string[]): Promise<KnownUser[]> => {
      const users: KnownUser[] = [];
      for (let from = 0; from < userIds.length; from += readAtOnce) {
        const part = userIds.slice(from, from + readAtOnce);
        const unread = part.some((userId) => !known.has(userId));
        users.push(...(await Promise.all(part.map(of))));
        if (unread) await breath();
      }
      return users;
    },
    forget,
    mark: async (userId: string, deviceId: string, mark: Mark): Promise<void> => {
      const device = await machine.getDevice(new UserId(userId), new DeviceId(deviceId));
      if (device === undefined) return;
      try {
        await device.setLocalTrust(trustOf[mark]);
      } finally {
        device.free();
      }
      known.delete(userId);
    },
  };
}

function deviceFrom(device: Device, userId: string): KnownDevice {
  const name = device.displayName?.slice(0, longestNameChars);
  const fingerprint = device.ed25519Key?.toBase64();
  const curve25519 = device.curve25519Key?.toBase64();
  return {
    userId,
    deviceId: device.deviceId.toString(),
    ...(name === undefined || name === "" ? {} : { name }),
    ...(fingerprint === undefined ? {} : { fingerprint }),
    ...(curve25519 === undefined ? {} : { curve25519 }),
    signedByOwner: device.isCrossSignedByOwner(),
    dehydrated: device.isDehydrated,
    mark: marks[device.localTrustState],
  };
}

const breath = () => new Promise<void>((resolve) => setImmediate(resolve));

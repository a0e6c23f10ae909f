import type { Peer, PeerDevice } from "../../matrix/peer-devices.ts";
import { sameBytes, type DeviceKeys } from "./keys.ts";
import { bytesOf } from "./messages.ts";

/** The device of theirs that has these keys and that their identity signed; undefined where there is none. */
export function signedDeviceOf({ devices }: Peer, keys: DeviceKeys): PeerDevice | undefined {
  const device = devices.find(({ deviceId }) => deviceId === keys.deviceId);
  return device?.signed === true &&
    sameBytes(bytesOf(device.ed25519), keys.ed25519) &&
    sameBytes(bytesOf(device.curve25519), keys.curve25519)
    ? device
    : undefined;
}

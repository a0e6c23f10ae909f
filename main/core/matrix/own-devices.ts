import type { Crypto } from "./crypto.ts";
import { freshPeer, knownPeer, ownStanding, type OwnStanding, type Peer } from "./peer-devices.ts";

/** The account's own identity and devices. */
export type OwnDevices = {
  /** What this device is to its account. */
  standing: () => Promise<OwnStanding>;
  /** As Rust crypto has them; nobody is asked. */
  known: () => Promise<Peer>;
  /** As the server has them now. Throws `CoreError`: `not-found` without an identity, and what the network throws. */
  fresh: () => Promise<Peer>;
};

export const createOwnDevices = (crypto: Crypto): OwnDevices => ({
  standing: () => ownStanding(crypto),
  known: () => knownPeer(crypto, crypto.userId),
  fresh: () => freshPeer(crypto, crypto.userId),
});

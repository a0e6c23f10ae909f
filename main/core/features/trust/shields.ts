import type { Pin, TrustStore } from "../../storage/trust-store.ts";

/** `identity`: the master key that the mark is about, of what is marked for its sender's identity. */
type Shield = { device?: string; shield: "none" | "grey" | "red"; reason?: string; identity?: string };
type Parts = {
  store: Pick<TrustStore, "isBlocked" | "hasAccepted">;
  pins: { unsettled: (userId: string) => Pick<Pin, "fingerprint"> | undefined };
};

/**
 * Rust crypto judges a message once, when it is decrypted. `then` adds what it does not know at that moment, `now` what has become
 * of the sender and the device since: a device that is blocked, an identity that was accepted.
 */
export function createShields({ store, pins }: Parts) {
  return {
    then: (sender: string, trust: Shield): Shield => {
      const unsettled = pins.unsettled(sender);
      // a pinned identity that changed says nothing to Rust crypto's lax reading; to the person it does
      return trust.shield === "none" && unsettled !== undefined
        ? { ...trust, shield: "grey", reason: "identity-changed", identity: unsettled.fingerprint }
        : trust;
    },
    now: (sender: string, { device, shield, reason, identity }: Shield): Omit<Shield, "identity"> => {
      const from = device === undefined ? {} : { device };
      if (device !== undefined && store.isBlocked(sender, device))
        return { ...from, shield: "red", reason: "blocked-device" };
      const ofIdentity = reason === "identity-changed" || reason === "verification-violation";
      // a server that swaps an identity, speaks as that, and swaps it back has not been accepted by anybody
      if (ofIdentity && identity !== undefined && store.hasAccepted(sender, identity))
        return { ...from, shield: "none" };
      return { ...from, shield, ...(reason === undefined ? {} : { reason }) };
    },
  };
}

import { OtherUserIdentity, UserId, type OwnUserIdentity } from "@matrix-org/matrix-sdk-crypto-wasm";
import { CoreError } from "../errors.ts";
import { isUser, type Crypto } from "./crypto.ts";
import { publicKeyOf, queryKeys } from "./user-signing.ts";

/** A person's cross-signing identity as Rust crypto has it; what follows from it is decided in features/trust. */
export type Identity = {
  own: boolean;
  /** The master key, unpadded base64. */
  fingerprint: string;
  /** Signed by our own identity, and that is verified. */
  verified: boolean;
  /** It was verified once, and is not now. */
  violated: boolean;
  /** It is not the one that was seen first. */
  changed: boolean;
};

/** Reads identities, and sets what Rust crypto remembers of them. */
export function createIdentities(crypto: Crypto) {
  const { machine } = crypto.inner;
  const withIdentity = async <T>(
    userId: string,
    work: (identity: OwnUserIdentity | OtherUserIdentity) => T | Promise<T>,
  ): Promise<T | undefined> => {
    const identity = isUser(userId) ? await machine.getIdentity(new UserId(userId)) : undefined;
    if (identity === undefined) return undefined;
    try {
      return await work(identity);
    } finally {
      identity.free();
    }
  };
  const changing = async (userId: string, expected: string | undefined, work: "pin" | "withdraw"): Promise<void> => {
    const found = await withIdentity(userId, async (identity) => {
      // the object is a snapshot: what is compared here is what is set below
      if (expected !== undefined && fingerprintOf(identity.masterKey) !== expected)
        throw new CoreError("conflict", { message: "This identity changed again meanwhile." });
      if (work === "withdraw") await identity.withdrawVerification();
      else if (identity instanceof OtherUserIdentity) await identity.pinCurrentMasterKey();
      return true;
    });
    if (found === undefined) throw new CoreError("not-found", { message: "This person has no identity." });
  };

  return {
    read: (userId: string): Promise<Identity | undefined> => withIdentity(userId, identityFrom),
    /** Takes the identity that is there now for theirs; with `expected` only that one, `conflict` otherwise. */
    pin: (userId: string, expected?: string) => changing(userId, expected, "pin"),
    /** From now on it need not be the one that was verified. */
    withdraw: (userId: string, expected?: string) => changing(userId, expected, "withdraw"),
    /** Asks the server for their keys now, whatever is known. */
    query: async (userIds: string[]): Promise<void> => {
      const users = userIds.filter(isUser);
      if (users.length === 0) return;
      await crypto.track(users);
      await queryKeys(crypto, users);
    },
  };
}

function identityFrom(identity: OwnUserIdentity | OtherUserIdentity): Identity {
  const other = identity instanceof OtherUserIdentity;
  return {
    own: !other,
    fingerprint: fingerprintOf(identity.masterKey),
    verified: identity.isVerified(),
    violated: identity.hasVerificationViolation(),
    changed: other && identity.identityNeedsUserApproval(),
  };
}

function fingerprintOf(masterKey: string): string {
  const key = publicKeyOf(JSON.parse(masterKey));
  if (key === undefined) throw new CoreError("unexpected", { message: "An identity without its key." });
  return key;
}

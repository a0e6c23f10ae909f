import { DeviceId, OlmMachine, OwnUserIdentity, UserId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { CoreError } from "../errors.ts";
import { object, text, type Json } from "../json.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { Crypto } from "./crypto.ts";
import {
  identityKeys,
  publicHalf,
  publicKeyIn,
  type IdentityKey,
  type NewIdentity,
  type PublicKeys,
  type Seeds,
} from "./identity-keys.ts";
import { confirmedByPerson } from "./user-interactive.ts";
import { queryKeys } from "./user-signing.ts";

export type ServerIdentity = {
  keys: Partial<PublicKeys>;
  /** Whether this device is there, and bears a signature of the self-signing key (checked by nobody here). */
  device: "missing" | "unsigned" | "signed";
};
export type Identity = ReturnType<typeof createIdentity>;

const wireNames = { master: "master_key", selfSigning: "self_signing_key", userSigning: "user_signing_key" } as const;
const answerNames = {
  master: "master_keys",
  selfSigning: "self_signing_keys",
  userSigning: "user_signing_keys",
} as const;

/**
 * The account's own identity: what the server has, what this device holds, and the steps between. Each step can be taken again:
 * nothing of Rust crypto's state changes before the server has the identity. So a key query that comes in the middle, as with any
 * sync, cannot clear private keys that are not published yet.
 */
export function createIdentity(crypto: Crypto) {
  const { machine, http, me } = crypto.inner;
  const deviceId = machine.deviceId.toString();
  const own = () => new UserId(me);

  const onServer = async (): Promise<ServerIdentity> => {
    const answer = object(
      await http.request("POST", "/_matrix/client/v3/keys/query", { body: { device_keys: { [me]: [] } } }),
    );
    const keys: Partial<PublicKeys> = {};
    for (const name of identityKeys) {
      const key = publicKeyIn(object(object(answer?.[answerNames[name]])?.[me]));
      if (key !== undefined) keys[name] = key;
    }
    const device = object(object(object(answer?.["device_keys"])?.[me])?.[deviceId]);
    const signatures = object(object(device?.["signatures"])?.[me]);
    const signed = keys.selfSigning !== undefined && signatures?.[`ed25519:${keys.selfSigning}`] !== undefined;
    return { keys, device: device === undefined ? "missing" : signed ? "signed" : "unsigned" };
  };

  /** Lets Rust crypto ask for the account's own keys, and check what it is told. */
  const learn = async (): Promise<void> => {
    await queryKeys(crypto, [me]);
  };

  const ownIdentity = async (): Promise<OwnUserIdentity | undefined> => {
    const identity = await machine.getIdentity(own());
    return identity instanceof OwnUserIdentity ? identity : undefined;
  };

  /** What this device makes of the identity it was told last, without asking anybody. */
  const here = async () => {
    const identity = await ownIdentity();
    const held = await machine.crossSigningStatus();
    const secrets = { master: held.hasMaster, selfSigning: held.hasSelfSigning, userSigning: held.hasUserSigning };
    held.free();
    if (identity === undefined) return { at: "none" as const, secrets };
    const device = await machine.getDevice(own(), new DeviceId(deviceId));
    try {
      const keys: PublicKeys = {
        master: keyOf(identity.masterKey) ?? "",
        selfSigning: keyOf(identity.selfSigningKey) ?? "",
        userSigning: keyOf(identity.userSigningKey) ?? "",
      };
      const trusted = identity.isVerified() && device?.isCrossSignedByOwner() === true;
      return {
        at: trusted ? ("verified" as const) : ("this-device-unverified" as const),
        secrets,
        keys,
        identityVerified: identity.isVerified(),
        deviceSigned: device?.isCrossSignedByOwner() === true,
        violated: identity.hasVerificationViolation(),
      };
    } finally {
      identity.free();
      device?.free();
    }
  };

  /** Made by Rust crypto in a machine of its own that is thrown away, so that the account's machine knows nothing of it yet. */
  const create = async (): Promise<NewIdentity> => {
    const workshop = await OlmMachine.initialize(own(), new DeviceId("WORKSHOP"));
    try {
      const requests = await workshop.bootstrapCrossSigning(true);
      const body = object(JSON.parse(requests.uploadSigningKeysRequest.body));
      const exported = await workshop.exportCrossSigningKeys();
      const seeds = {
        master: exported?.masterKey,
        selfSigning: exported?.self_signing_key,
        userSigning: exported?.userSigningKey,
      };
      exported?.free();
      const { master_key: master, self_signing_key: selfSigning, user_signing_key: userSigning } = body ?? {};
      const upload = { master: object(master), selfSigning: object(selfSigning), userSigning: object(userSigning) };
      if (!isWhole(seeds) || !isWhole(upload)) throw new CoreError("unexpected", { message: "No identity was made." });
      for (const name of identityKeys)
        if (publicKeyIn(upload[name]) !== publicHalf(seeds[name]))
          throw new CoreError("unexpected", { message: "The identity's halves do not fit." });
      return { seeds, upload: { ...upload, master: await signedByDevice(upload.master) } };
    } finally {
      workshop.close();
    }
  };

  /** With the signature of this device in place of the workshop's. */
  const signedByDevice = async (key: Json): Promise<Json> => {
    const { signatures: _, unsigned: __, ...bare } = key;
    const signatures = object(JSON.parse((await machine.sign(canonicalJson(bare))).asJSON()));
    const mine = object(signatures?.[me])?.[`ed25519:${deviceId}`];
    if (text(mine) === undefined) throw new CoreError("unexpected", { message: "The device signed nothing." });
    return { ...bare, signatures: { [me]: { [`ed25519:${deviceId}`]: mine } } };
  };

  /**
   * Publishes those keys of the new identity that the server lacks. A server that stored a part and then failed refuses the part it
   * has when it comes again (Synapse answers 500: a key is a row that can be inserted once), so only the rest is sent.
   * `confirmed` is called before the password is given: the last moment to see that somebody else was first.
   */
  const publish = async (made: NewIdentity, password: string | undefined, confirmed: () => Promise<void>) => {
    const there = (await onServer()).keys;
    const lacking = identityKeys.filter((name) => there[name] !== publicKeyIn(made.upload[name]));
    if (lacking.length === 0) return;
    const body = Object.fromEntries(lacking.map((name) => [wireNames[name], made.upload[name]]));
    await confirmedByPerson(
      http,
      { me, password, action: "org.matrix.cross_signing_reset" },
      (auth) =>
        http.request("POST", "/_matrix/client/v3/keys/device_signing/upload", {
          body: auth === undefined ? body : { ...body, auth },
        }),
      confirmed,
    );
  };

  /**
   * Gives Rust crypto those private keys that it lacks; each is checked against its public half first. An identity that is not
   * trusted yet is taken by its master key alone: a server can sign the account's true other keys with a master key of its own, and
   * Rust crypto would believe that one because the others fit.
   */
  const adopt = async (seeds: Partial<Seeds>): Promise<void> => {
    const known = await here();
    if (known.at === "none") throw new CoreError("not-found", { message: "The account has no identity." });
    const fit = (name: IdentityKey) =>
      seeds[name] !== undefined && publicHalf(seeds[name]) === known.keys[name] ? seeds[name] : undefined;
    const [master, selfSigning, userSigning] = [fit("master"), fit("selfSigning"), fit("userSigning")];
    if (master === undefined && !known.identityVerified) return;
    const status = await crypto.inner.inTurn(() => machine.importCrossSigningKeys(master, selfSigning, userSigning));
    status.free();
  };

  /** Asks the account's other verified devices for what is lacking here; they answer when they please. */
  const askOthers = async (): Promise<void> => {
    if (await machine.requestMissingSecretsIfNeeded()) await crypto.processOutgoing();
  };

  /** This device signed by the self-signing key, on the server too. */
  const signDevice = async (): Promise<void> => {
    const device = await machine.getDevice(own(), new DeviceId(deviceId));
    if (device === undefined) throw new CoreError("unexpected", { message: "This device is not known to itself." });
    try {
      const request = await device.verify();
      const answer = object(
        await http.request("POST", "/_matrix/client/v3/keys/signatures/upload", {
          body: JSON.parse(request.body) as unknown,
        }),
      );
      request.free();
      // 200 says only that the request was read (client-server API, "POST /keys/signatures/upload")
      const failures = object(answer?.["failures"]);
      if (failures !== undefined && Object.keys(failures).length > 0)
        throw new CoreError("unreachable", {
          message: "The server did not take this device's signature.",
          details: { kind: "signature-refused" },
        });
    } finally {
      device.free();
    }
  };

  return {
    onServer,
    learn,
    here,
    create,
    publish,
    adopt,
    askOthers,
    signDevice,
    /** What of the identity this device holds, for the day when it is replaced. */
    exportSeeds: async (): Promise<Partial<Seeds>> => {
      const exported = await machine.exportCrossSigningKeys();
      if (exported === undefined) return {};
      const { masterKey: master, self_signing_key: selfSigning, userSigningKey: userSigning } = exported;
      exported.free();
      return Object.fromEntries(Object.entries({ master, selfSigning, userSigning }).filter(([, seed]) => seed));
    },
    /** The identity that was pinned is let go: what comes next is not taken for an attack. */
    withdraw: async (): Promise<void> => {
      const identity = await ownIdentity();
      await identity?.withdrawVerification();
      identity?.free();
    },
  };
}

const isWhole = <T>(keys: Record<IdentityKey, T | undefined>): keys is Record<IdentityKey, T> =>
  identityKeys.every((name) => keys[name] !== undefined);

/** Rust crypto hands out the whole key object as JSON. */
const keyOf = (json: string): string | undefined => publicKeyIn(object(JSON.parse(json)));

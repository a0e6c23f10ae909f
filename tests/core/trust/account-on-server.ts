import { createPrivateKey, createPublicKey } from "node:crypto";
import { BackupDecryptionKey } from "@matrix-org/matrix-sdk-crypto-wasm";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";
import decryptAESSecretStorageItem from "matrix-js-sdk/lib/utils/decryptAESSecretStorageItem.js";
import encryptAESSecretStorageItem from "matrix-js-sdk/lib/utils/encryptAESSecretStorageItem.js";
import { expect } from "vitest";
import { HomeserverError, type Account, type Homeserver } from "../../homeserver/homeserver.ts";

type Sealed = { iv: string; ciphertext: string; mac: string };
type KeyObject = { keys: Record<string, string>; signatures?: Record<string, Record<string, string>> };
type Queried = {
  master_keys?: Record<string, KeyObject>;
  self_signing_keys?: Record<string, KeyObject>;
  user_signing_keys?: Record<string, KeyObject>;
  device_keys: Record<string, Record<string, KeyObject>>;
};
export type BackupOnServer = {
  version: string;
  count: number;
  auth_data: { public_key: string } & Pick<KeyObject, "signatures">;
};

/** The account as any other client sees it; secrets are opened with matrix-js-sdk's own code. */
export function accountOnServer(server: Homeserver, account: Account) {
  const { userId, accessToken: token } = account;
  const orNothing = async <T>(asked: Promise<T>): Promise<T | undefined> => {
    try {
      return await asked;
    } catch (error) {
      if (error instanceof HomeserverError && error.status === 404) return undefined;
      throw error;
    }
  };
  const dataPath = (type: string) => `v3/user/${encodeURIComponent(userId)}/account_data/${encodeURIComponent(type)}`;
  const data = <T>(type: string) => orNothing(server.api<T>("GET", dataPath(type), { token }));
  const setData = (type: string, content: unknown) => server.api("PUT", dataPath(type), { token, body: content });
  const keys = async () => {
    const answer = await server.api<Queried>("POST", "v3/keys/query", {
      token,
      body: { device_keys: { [userId]: [] } },
    });
    const one = (part: Record<string, KeyObject> | undefined) => Object.values(part?.[userId]?.keys ?? {})[0];
    return {
      master: one(answer.master_keys),
      selfSigning: one(answer.self_signing_keys),
      userSigning: one(answer.user_signing_keys),
      device: (deviceId: string) => answer.device_keys[userId]?.[deviceId],
    };
  };
  const backup = () => orNothing(server.api<BackupOnServer>("GET", "v3/room_keys/version", { token }));
  const defaultKey = async () => (await data<{ key: string }>("m.secret_storage.default_key"))?.key;
  const secret = async (name: string, recoveryKey: string): Promise<string> => {
    const keyId = (await defaultKey()) ?? "";
    const stored = await data<{ encrypted: Record<string, Sealed> }>(name);
    const sealed = stored?.encrypted[keyId];
    if (sealed === undefined) throw new Error(`${name} is not stored under the default key.`);
    return await decryptAESSecretStorageItem(sealed, decodeRecoveryKey(recoveryKey), name);
  };

  return {
    data,
    setData,
    keys,
    backup,
    defaultKey,
    secret,
    seal: encryptAESSecretStorageItem,
    /** One identity with this device under it, one default key that opens all four secrets, one backup that they fit. */
    expectWhole: async (recoveryKey: string, deviceId = account.deviceId): Promise<void> => {
      const there = await keys();
      expect(publicHalf(await secret("m.cross_signing.master", recoveryKey))).toBe(there.master);
      expect(publicHalf(await secret("m.cross_signing.self_signing", recoveryKey))).toBe(there.selfSigning);
      expect(publicHalf(await secret("m.cross_signing.user_signing", recoveryKey))).toBe(there.userSigning);
      expect(there.device(deviceId)?.signatures?.[userId]).toHaveProperty(`ed25519:${there.selfSigning ?? ""}`);
      const version = await backup();
      const key = BackupDecryptionKey.fromBase64(await secret("m.megolm_backup.v1", recoveryKey));
      expect(key.megolmV1PublicKey.publicKeyBase64).toBe(version?.auth_data.public_key);
      const signers = Object.keys(version?.auth_data.signatures?.[userId] ?? {});
      expect(signers.sort()).toEqual([`ed25519:${deviceId}`, `ed25519:${there.master ?? ""}`].sort());
    },
  };
}

/** By Node's own Ed25519. */
export function publicHalf(seed: string): string {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(seed, "base64")]);
  const { x } = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({ format: "jwk" });
  return Buffer.from(x ?? "", "base64url")
    .toString("base64")
    .replace(/=+$/, "");
}

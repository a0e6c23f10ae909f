import { randomBytes } from "node:crypto";
import { asCoreError, CoreError } from "../errors.ts";
import { object, text, type Json } from "../json.ts";
import type { Http } from "./http.ts";
import { decodeRecoveryKey } from "./recovery-key.ts";
import {
  algorithm,
  describeKey,
  fitsKey,
  keyCheck,
  keyFromPassphrase,
  open,
  seal,
  type KeyDescription,
  type Passphrase,
} from "./secret-cipher.ts";

/** Names of the secrets, as the specification has them. */
export const secretNames = {
  master: "m.cross_signing.master",
  selfSigning: "m.cross_signing.self_signing",
  userSigning: "m.cross_signing.user_signing",
  backup: "m.megolm_backup.v1",
} as const;
export const defaultKeyType = "m.secret_storage.default_key";
export const keyType = (keyId: string) => `m.secret_storage.key.${keyId}`;

export type StorageKey = { keyId: string; key: Uint8Array };
/** What a person gives to open it. */
export type Way = { recoveryKey: string } | { passphrase: string };
export type SecretStorage = ReturnType<typeof createSecretStorage>;

/** Secret storage in the account data of the server, always read from there: a copy of ours may be older than another client's write. */
export function createSecretStorage(http: Http, me: string) {
  const pathOf = (type: string) =>
    `/_matrix/client/v3/user/${encodeURIComponent(me)}/account_data/${encodeURIComponent(type)}`;

  const read = async (type: string): Promise<Json | undefined> => {
    try {
      return object(await http.request("GET", pathOf(type)));
    } catch (error) {
      if (asCoreError(error).code === "not-found") return undefined;
      throw error;
    }
  };
  const write = async (type: string, content: Json): Promise<void> => {
    await http.request("PUT", pathOf(type), { body: content });
  };

  /** `none` where no key is the default; `unknown` where the default names a key that has no description. */
  const defaultKey = async (): Promise<
    { at: "none" } | { at: "unknown"; keyId: string } | { at: "described"; keyId: string; description: KeyDescription }
  > => {
    const keyId = text((await read(defaultKeyType))?.["key"]);
    if (keyId === undefined || keyId === "") return { at: "none" };
    const content = await read(keyType(keyId));
    // an empty object is how account data is taken back
    if (content === undefined || Object.keys(content).length === 0) return { at: "unknown", keyId };
    return { at: "described", keyId, description: describeKey(content) };
  };

  /** The default key itself, from what a person typed. The server is asked for its description alone. */
  const unlock = async (way: Way): Promise<StorageKey> => {
    // a typing mistake is told before anything is asked
    const typed = "recoveryKey" in way ? decodeRecoveryKey(way.recoveryKey) : undefined;
    const found = await defaultKey();
    if (found.at === "none")
      throw new CoreError("not-found", {
        message: "This account has no recovery.",
        details: { kind: "secret-storage", reason: "none" },
      });
    if (found.at === "unknown") throw refused("default-key-unknown");
    const { keyId, description } = found;
    if (description.at === "refused") throw refused(description.reason);
    if (typed !== undefined) {
      if (!fitsKey(typed, description)) throw wrong("recovery-key");
      return { keyId, key: typed };
    }
    if (description.passphraseRefused === "rounds") throw refused("passphrase-rounds");
    if (description.passphraseRefused === "form") throw refused("passphrase-form");
    if (description.passphrase === undefined) throw refused("no-passphrase");
    const key = await keyFromPassphrase("passphrase" in way ? way.passphrase : "", description.passphrase);
    if (!fitsKey(key, description)) throw wrong("passphrase");
    return { keyId, key };
  };

  /** `other-key`: it is there, but not under this key. `damaged`: it was altered. */
  const secret = async (
    name: string,
    { keyId, key }: StorageKey,
  ): Promise<{ at: "missing" | "other-key" | "damaged" } | { at: "open"; secret: string }> => {
    const encrypted = object((await read(name))?.["encrypted"]);
    if (encrypted === undefined || Object.keys(encrypted).length === 0) return { at: "missing" };
    if (encrypted[keyId] === undefined) return { at: "other-key" };
    const opened = open(key, name, encrypted[keyId]);
    return opened === undefined ? { at: "damaged" } : { at: "open", secret: opened };
  };

  return {
    read,
    defaultKey,
    unlock,
    secret,
    /** Under which keys a secret is stored. */
    keysOf: async (name: string): Promise<string[]> => Object.keys(object((await read(name))?.["encrypted"]) ?? {}),
    /** Describes a key that is to be the default one day; the same again is harmless. */
    describe: async ({ keyId, key }: StorageKey, passphrase?: Passphrase): Promise<void> => {
      const before = describeKey(await read(keyType(keyId)));
      if (before.at === "known" && fitsKey(key, before)) return;
      await write(keyType(keyId), {
        algorithm,
        ...(passphrase === undefined ? {} : { passphrase: { algorithm: "m.pbkdf2", bits: 256, ...passphrase } }),
        ...keyCheck(key),
      });
    },
    /** Under this key alone: the same secret under another key would be an older one. */
    store: async (name: string, value: string, storageKey: StorageKey): Promise<void> => {
      const before = await secret(name, storageKey);
      if (before.at === "open" && before.secret === value) return;
      await write(name, { encrypted: { [storageKey.keyId]: seal(storageKey.key, name, value) } });
    },
    setDefault: async (keyId: string): Promise<void> => {
      if (text((await read(defaultKeyType))?.["key"]) !== keyId) await write(defaultKeyType, { key: keyId });
    },
  };
}

export const newKeyId = (): string => randomBytes(24).toString("base64url").replace(/[-_]/g, "x");

const wrong = (kind: "recovery-key" | "passphrase") =>
  new CoreError("wrong-key", {
    message: kind === "passphrase" ? "This is not the passphrase." : "This is not the recovery key of this account.",
    details: { kind },
  });
const refused = (reason: string) =>
  new CoreError("unsupported", {
    message: "This account's recovery was made in a way that is not opened here.",
    details: { kind: "secret-storage", reason },
  });

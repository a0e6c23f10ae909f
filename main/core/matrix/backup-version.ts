import { BackupDecryptionKey, SignatureState } from "@matrix-org/matrix-sdk-crypto-wasm";
import { asCoreError, CoreError } from "../errors.ts";
import { integer, object, text, type Json } from "../json.ts";
import { canonicalJson } from "./canonical-json.ts";
import { megolm, type Crypto } from "./crypto.ts";
import { bytesOf, unpadded } from "./secret-cipher.ts";

export const backupAlgorithm = "m.megolm_backup.v1.curve25519-aes-sha2";

/** One version of the backup, as the server has it. */
export type BackupVersion = {
  version: string;
  algorithm: string;
  /** Unpadded base64; undefined where the algorithm is not ours. */
  publicKey: string | undefined;
  authData: Json;
  count: number;
};
export type BackupTrust = {
  /** The key that this device holds opens it. */
  keyFits: boolean;
  /** Signed by this device, or by the identity that it trusts. */
  signed: boolean;
  /** Signed by the identity, as far as this device can tell. */
  signedByIdentity: boolean;
};
export type BackupVersions = ReturnType<typeof createBackupVersions>;

/** The versions of the backup on the server: found, judged, made. None is ever deleted here. */
export function createBackupVersions(crypto: Crypto) {
  const { machine, http, me } = crypto.inner;
  const deviceKey = `ed25519:${machine.deviceId.toString()}`;

  const parse = (answer: unknown): BackupVersion | undefined => {
    const body = object(answer);
    const version = text(body?.["version"]);
    const algorithm = text(body?.["algorithm"]);
    const authData = object(body?.["auth_data"]);
    if (version === undefined || algorithm === undefined || authData === undefined) return undefined;
    const key = algorithm === backupAlgorithm ? bytesOf(authData["public_key"], 32) : undefined;
    return {
      version,
      algorithm,
      authData,
      publicKey: key === undefined ? undefined : unpadded(key),
      count: integer(body?.["count"]) ?? 0,
    };
  };

  /**
   * The newest version, or the one of that name; undefined where there is none. Read anew each time: a server's own word on the
   * current version within an error is not to be relied on (Synapse echoes the one it was asked about).
   */
  const find = async (version?: string): Promise<BackupVersion | undefined> => {
    const one = version === undefined ? "" : `/${encodeURIComponent(version)}`;
    try {
      return parse(await http.request("GET", `/_matrix/client/v3/room_keys/version${one}`));
    } catch (error) {
      if (asCoreError(error).code === "not-found") return undefined;
      throw error;
    }
  };

  /** The private key that this device holds, and the version that it was saved for. */
  const held = async (): Promise<{ key: string; version: string | undefined; publicKey: string } | undefined> => {
    const keys = await machine.getBackupKeys();
    const decryptionKey = keys.decryptionKey;
    const version = keys.backupVersion;
    keys.free();
    if (decryptionKey === undefined) return undefined;
    const publicKey = decryptionKey.megolmV1PublicKey.publicKeyBase64;
    const key = decryptionKey.toBase64();
    decryptionKey.free();
    return { key: stripped(key), version, publicKey: stripped(publicKey) };
  };

  const verify = async (backup: BackupVersion): Promise<BackupTrust> => {
    if (backup.publicKey === undefined) return { keyFits: false, signed: false, signedByIdentity: false };
    const verdict = await machine.verifyBackup({ algorithm: backup.algorithm, auth_data: backup.authData });
    const signedByIdentity = verdict.userState === SignatureState.ValidAndTrusted;
    const signed = verdict.trusted();
    verdict.free();
    return { keyFits: (await held())?.publicKey === backup.publicKey, signed, signedByIdentity };
  };

  /** The version's description, signed by this device and, where the device holds its key, by the identity. */
  const signedAuthData = async (publicKey: string, before: Json = {}): Promise<Json> => {
    const { signatures: old, unsigned: _, ...rest } = before;
    const bare = { ...rest, public_key: publicKey };
    const made = object(JSON.parse((await machine.sign(canonicalJson(bare))).asJSON()));
    const mine = object(made?.[me]);
    if (text(mine?.[deviceKey]) === undefined)
      throw new CoreError("unexpected", { message: "The backup was signed by nobody." });
    return { ...bare, signatures: { ...object(old), [me]: { ...object(object(old)?.[me]), ...mine } } };
  };

  return {
    find,
    held,
    verify,
    publicHalf: backupPublicKey,
    /** A fresh private key, unpadded base64. */
    newKey: (): string => {
      const key = BackupDecryptionKey.createRandomKey();
      const text = stripped(key.toBase64());
      key.free();
      return text;
    },
    /**
     * A version for this key, unless the newest one has it already: so an answer that was lost, or a kill before it came, makes
     * no second one.
     */
    make: async (key: string): Promise<BackupVersion> => {
      const publicKey = backupPublicKey(key);
      if (publicKey === undefined) throw new CoreError("unexpected", { message: "This is no key of a backup." });
      const there = await find();
      if (there?.publicKey === publicKey) return there;
      const authData = await signedAuthData(publicKey);
      const answer = object(
        await http.request("POST", "/_matrix/client/v3/room_keys/version", {
          body: { algorithm: backupAlgorithm, auth_data: authData },
        }),
      );
      const version = text(answer?.["version"]);
      if (version === undefined) throw new CoreError("unreachable", { details: { kind: "bad-answer" } });
      return { version, algorithm: backupAlgorithm, publicKey, authData, count: 0 };
    },
    /** Adds our signatures to a version that we trust; other signatures stay. */
    sign: async (backup: BackupVersion): Promise<void> => {
      if (backup.publicKey === undefined) return;
      await http.request("PUT", `/_matrix/client/v3/room_keys/version/${encodeURIComponent(backup.version)}`, {
        body: {
          algorithm: backup.algorithm,
          version: backup.version,
          auth_data: await signedAuthData(text(backup.authData["public_key"]) ?? backup.publicKey, backup.authData),
        },
      });
    },
    /**
     * This device holds the key from now on, and backs up to that version. Where the key or the version is another than before,
     * every room key counts as not backed up again.
     */
    use: async (backup: BackupVersion, key: string | undefined): Promise<void> => {
      if (backup.publicKey === undefined)
        throw new CoreError("unsupported", { message: "This backup is of an unknown kind." });
      if (key !== undefined && backupPublicKey(key) !== backup.publicKey)
        throw new CoreError("wrong-key", { details: { kind: "backup-key" } });
      const before = await held();
      // Rust crypto marks a key as backed up without saying to where
      const last = before?.publicKey ?? used.get(crypto);
      const isOther = last !== undefined && last !== backup.publicKey;
      const isLater = before?.version !== undefined && before.version !== backup.version;
      if (isOther || isLater) await machine.disableBackup();
      if (key !== undefined && (before?.publicKey !== backup.publicKey || before.version !== backup.version)) {
        const decryptionKey = BackupDecryptionKey.fromBase64(stripped(key));
        await machine.saveBackupDecryptionKey(decryptionKey, backup.version);
      }
      used.set(crypto, backup.publicKey);
      await machine.enableBackupV1(backup.publicKey, backup.version);
    },
    /** Some keys of the newest version, opened with this private key and let go again. */
    sample: async (key: string, rooms: string[]): Promise<{ decrypted: number; failed: number }> => {
      const backup = await find();
      const counts = { decrypted: 0, failed: 0 };
      if (backup === undefined || backup.count === 0) return counts;
      const decryptionKey = BackupDecryptionKey.fromBase64(stripped(key));
      try {
        for (const roomId of rooms.slice(0, mostSampledRooms)) {
          const answer = await http.request("GET", `/_matrix/client/v3/room_keys/keys/${encodeURIComponent(roomId)}`, {
            query: { version: backup.version },
          });
          for (const session of Object.values(object(object(answer)?.["sessions"]) ?? {}).slice(0, mostSampledKeys)) {
            counts[opens(decryptionKey, object(session)?.["session_data"]) ? "decrypted" : "failed"]++;
            if (counts.decrypted + counts.failed >= mostSampledKeys) return counts;
          }
        }
        return counts;
      } finally {
        decryptionKey.free();
      }
    },
    isOn: () => machine.isBackupEnabled(),
    off: () => machine.disableBackup(),
  };
}

/** Public key of the version that a machine without its private half backs up to. */
const used = new WeakMap<Crypto, string>();
const mostSampledKeys = 20;
const mostSampledRooms = 20;

/** Whether a backed-up session opens and is one. */
function opens(key: BackupDecryptionKey, sealed: unknown): boolean {
  const { ephemeral, mac, ciphertext } = object(sealed) ?? {};
  if (typeof ephemeral !== "string" || typeof mac !== "string" || typeof ciphertext !== "string") return false;
  try {
    const session = object(JSON.parse(key.decryptV1(ephemeral, mac, ciphertext)));
    return session?.["algorithm"] === megolm && text(session["session_key"]) !== undefined;
  } catch {
    return false; // the binding throws plain errors for wrong keys and for wrong shapes alike
  }
}

const stripped = (base64: string) => base64.replace(/=+$/, "");

/** The public half of a backup's private key; `undefined` for what is none. */
export function backupPublicKey(key: string): string | undefined {
  if (bytesOf(key, 32) === undefined) return undefined;
  const decryptionKey = BackupDecryptionKey.fromBase64(stripped(key));
  const publicKey = stripped(decryptionKey.megolmV1PublicKey.publicKeyBase64);
  decryptionKey.free();
  return publicKey;
}

/** Opens single sessions on this thread; many at once have threads of their own. */
export const decryptorOf =
  (key: string) =>
  (ephemeral: string, mac: string, ciphertext: string): string => {
    const decryptionKey = BackupDecryptionKey.fromBase64(stripped(key));
    try {
      return decryptionKey.decryptV1(ephemeral, mac, ciphertext);
    } finally {
      decryptionKey.free();
    }
  };

import { generateKeyPairSync, sign, type KeyObject } from "node:crypto";

type Json = Record<string, unknown>;

/** Source: appendices, "Canonical JSON", for the values that key objects hold. */
const canonical = (value: unknown): string =>
  typeof value === "object" && value !== null
    ? `{${Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, one]) => `${JSON.stringify(key)}:${Array.isArray(one) ? JSON.stringify(one) : canonical(one)}`)
        .join(",")}}`
    : JSON.stringify(value);

const publicOf = (key: KeyObject) =>
  Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url")
    .toString("base64")
    .replace(/=+$/, "");

/** A whole and well-signed identity of that user that somebody else made: what a hostile server would show in keys/query. */
export function forgedIdentity(userId: string): { master: Json; selfSigning: Json; masterKey: string } {
  const [master, selfSigning] = [generateKeyPairSync("ed25519"), generateKeyPairSync("ed25519")];
  const masterKey = publicOf(master.publicKey);
  const object = (usage: string, key: string) => ({
    user_id: userId,
    usage: [usage],
    keys: { [`ed25519:${key}`]: key },
  });
  const signed = object("self_signing", publicOf(selfSigning.publicKey));
  const signature = sign(null, Buffer.from(canonical(signed)), master.privateKey)
    .toString("base64")
    .replace(/=+$/, "");
  return {
    master: object("master", masterKey),
    selfSigning: { ...signed, signatures: { [userId]: { [`ed25519:${masterKey}`]: signature } } },
    masterKey,
  };
}

/** The server's answer to keys/query with that identity in the place of the user's own. */
export const withForged =
  (userId: string, forged: ReturnType<typeof forgedIdentity>) =>
  (body: unknown): unknown => {
    const answer = body as { master_keys?: Json; self_signing_keys?: Json };
    if (answer.master_keys?.[userId] === undefined) return answer;
    return {
      ...answer,
      master_keys: { ...answer.master_keys, [userId]: forged.master },
      self_signing_keys: { ...answer.self_signing_keys, [userId]: forged.selfSigning },
    };
  };

import { timingSafeEqual } from "node:crypto";
import { OtherUserIdentity, UserId, type SignatureUploadRequest } from "@matrix-org/matrix-sdk-crypto-wasm";
import { CoreError } from "../errors.ts";
import { isObject, object, text, type Json } from "../json.ts";
import type { Crypto } from "./crypto.ts";
import { onlyAsked } from "./key-query.ts";

const queryTimeoutMs = 20_000;

/**
 * Asks the server for users' keys now, hands the answer to the machine and returns it. Unlike the machine's own queries it also
 * works for users who are not tracked, and fails aloud.
 */
export async function queryKeys(crypto: Crypto, userIds: string[]): Promise<Json> {
  const { machine, http } = crypto.inner;
  const request = machine.queryKeysForUsers(userIds.map((userId) => new UserId(userId)));
  const body = JSON.parse(request.body) as unknown;
  const given = await http.request("POST", "/_matrix/client/v3/keys/query", { body, timeoutMs: queryTimeoutMs });
  const kept = onlyAsked(body, JSON.stringify(given));
  const answer = object(JSON.parse(kept));
  try {
    if (answer === undefined) throw new Error("no object");
    await machine.markRequestAsSent(request.id, request.type, kept);
  } catch (cause) {
    throw new CoreError("unreachable", {
      cause,
      message: "The server's answer is no list of keys.",
      details: { kind: "bad-answer" },
    });
  }
  return answer;
}

/** The public half of a cross-signing key, unpadded base64. Source: client-server API, "Cross-signing", `CrossSigningKey`. */
export function publicKeyOf(key: unknown): string | undefined {
  const keys = Object.entries(object(object(key)?.["keys"]) ?? {});
  const [name, value] = keys[0] ?? [];
  return keys.length === 1 && name?.startsWith("ed25519:") === true ? unpadded(text(value)) : undefined;
}
const unpadded = (key: string | undefined) => key?.replace(/=+$/, "");

/** Compares two public keys in constant time; what is no 32 bytes equals nothing. */
export function sameKey(one: string | undefined, other: string | undefined): boolean {
  if (one === undefined || other === undefined) return false;
  const [a, b] = [Buffer.from(one, "base64"), Buffer.from(other, "base64")];
  return a.length === 32 && b.length === 32 && timingSafeEqual(a, b);
}

/** The server's own word on a user's master key: what it holds is fresh, or it is told why not. */
export function assertMasterKey(answer: Json, userId: string): string {
  const key = publicKeyOf(object(answer["master_keys"])?.[userId]);
  if (key !== undefined) return key;
  const failed = Object.keys(object(answer["failures"]) ?? {}).length > 0;
  throw failed
    ? new CoreError("unreachable", { message: "Their server cannot be asked for their keys now." })
    : new CoreError("not-found", { message: "They have no identity yet.", details: { kind: "no-identity" } });
}

/** This device cannot vouch for others as long as it does not hold its identity's user-signing key. */
export async function assertCanSign(crypto: Crypto): Promise<void> {
  const status = await crypto.inner.machine.crossSigningStatus();
  if (!status.hasUserSigning)
    throw new CoreError("conflict", {
      message: "Your own identity has to be set up on this device first.",
      details: { kind: "setup-needed" },
    });
}

/**
 * Signs another user's master key with ours and uploads the signature. The key is compared on the very object that then signs:
 * an identity that changes in between is neither compared nor signed. Resolves when the server shows the signature.
 * Throws `identity-changed` (another key than the expected one), `not-found` (no identity), `conflict` (own set-up needed),
 * `forbidden` with `details.kind: "signature-refused"`, and what the network throws.
 */
export async function userSign(crypto: Crypto, userId: string, expectedMasterKey: string): Promise<void> {
  const { machine } = crypto.inner;
  await assertCanSign(crypto);
  assertMasterKey(await queryKeys(crypto, [userId]), userId);
  const identity = await machine.getIdentity(new UserId(userId));
  if (!(identity instanceof OtherUserIdentity)) {
    identity?.free();
    throw new CoreError("not-found", { message: "They have no identity yet.", details: { kind: "no-identity" } });
  }
  try {
    if (!sameKey(publicKeyOf(JSON.parse(identity.masterKey)), expectedMasterKey)) throw keysDiffer();
    const request = await identity.verify();
    const body = uploadOf(request);
    // whatever happened to the store meanwhile, nothing but the compared key leaves this device signed
    const signed = Object.entries(object(body[userId]) ?? {});
    if (
      Object.keys(body).length !== 1 ||
      signed.length !== 1 ||
      !sameKey(publicKeyOf(signed[0]?.[1]), expectedMasterKey)
    )
      throw new CoreError("unexpected", { message: "Another key than the compared one was about to be signed." });
    await uploadSignatures(crypto, body);
  } finally {
    identity.free();
  }
  if (!(await isSigned(crypto, userId, expectedMasterKey)))
    throw new CoreError("unreachable", {
      message: "The server does not show the signature yet.",
      details: { kind: "signature-missing" },
    });
}

/** Whether the server, asked now, shows this master key with our valid signature. Throws `identity-changed` where it shows another. */
export async function isSigned(crypto: Crypto, userId: string, masterKey: string): Promise<boolean> {
  const { machine, me } = crypto.inner;
  const answer = await queryKeys(crypto, [userId, me]);
  if (!sameKey(assertMasterKey(answer, userId), masterKey)) throw keysDiffer();
  const ours = publicKeyOf(object(answer["user_signing_keys"])?.[me]);
  const signatures = object(object(object(object(answer["master_keys"])?.[userId])?.["signatures"])?.[me]);
  if (ours === undefined || text(signatures?.[`ed25519:${ours}`]) === undefined) return false;
  const identity = await machine.getIdentity(new UserId(userId));
  try {
    // the machine checks the signature itself, and that our own identity is the one it trusts
    return identity?.isVerified() === true && sameKey(publicKeyOf(JSON.parse(identity.masterKey)), masterKey);
  } finally {
    identity?.free();
  }
}

/** Source: client-server API, `POST /keys/signatures/upload`; a 200 with `failures` is a refusal, which the SDK drops. */
export async function uploadSignatures(crypto: Crypto, body: Json): Promise<void> {
  const answer = object(await crypto.inner.http.request("POST", "/_matrix/client/v3/keys/signatures/upload", { body }));
  const refused = Object.values(object(answer?.["failures"]) ?? {}).some(
    (ofUser) => isObject(ofUser) && Object.keys(ofUser).length > 0,
  );
  if (refused)
    throw new CoreError("forbidden", {
      message: "The server refused the signature.",
      details: { kind: "signature-refused" },
    });
}

/** Keys by user and key id, as they are uploaded. */
export function uploadOf(request: SignatureUploadRequest): Json {
  const body = JSON.parse(request.body) as unknown;
  if (!isObject(body)) throw new CoreError("unexpected", { message: "Crypto gave no signatures." });
  return object(body["signed_keys"]) ?? body;
}

const keysDiffer = () =>
  new CoreError("identity-changed", {
    message: "Their keys are not the expected ones.",
    details: { kind: "keys-differ" },
  });

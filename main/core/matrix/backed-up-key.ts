import { isObject, isTooDeep, text } from "../json.ts";
import type { Fetched } from "./backup-fetch.ts";

export type RefusedReason =
  "not-decryptable" | "malformed" | "unknown-algorithm" | "other-session" | "too-large" | "not-importable";
export type FromBackup =
  | { ok: true; roomId: string; sessionId: string; key: string }
  | { ok: false; roomId: string; sessionId: string; reason: RefusedReason };

const megolm = "m.megolm.v1.aes-sha2";
const largestData = 64 * 1024;
/** version, index, ratchet, public key. Source: Olm specification, "Session export format". */
const exportedBytes = 1 + 4 + 128 + 32;

/**
 * Opens one session of a backup. The backup's MAC does not cover the ciphertext, so what comes out is believed only where the
 * key's own public half is the session's id.
 */
export function keyFromBackup(
  { roomId, sessionId, data }: Fetched,
  decrypt: (ephemeral: string, mac: string, ciphertext: string) => string,
): FromBackup {
  const refused = (reason: RefusedReason): FromBackup => ({ ok: false, roomId, sessionId, reason });
  if (data === "" || data.length > largestData) return refused("too-large");
  const session = parsed(data);
  const ephemeral = text(session?.["ephemeral"]);
  const mac = text(session?.["mac"]);
  const ciphertext = text(session?.["ciphertext"]);
  if (ephemeral === undefined || mac === undefined || ciphertext === undefined) return refused("malformed");
  let clear: string;
  try {
    clear = decrypt(ephemeral, mac, ciphertext);
  } catch {
    return refused("not-decryptable"); // wrong key, wrong MAC, or damaged
  }
  const key = parsed(clear);
  // the binding walks all of it, and a stack that ended inside would take the machine with it
  if (key === undefined || isTooDeep(key)) return refused("malformed");
  if (typeof key["algorithm"] === "string" && key["algorithm"] !== megolm) return refused("unknown-algorithm");
  if (key["algorithm"] !== megolm || !isObject(key["sender_claimed_keys"]) || typeof key["sender_key"] !== "string")
    return refused("malformed");
  const id = sessionIdOf(text(key["session_key"]) ?? "");
  if (id === undefined) return refused("malformed");
  if (id !== sessionId) return refused("other-session");
  return { ok: true, roomId, sessionId, key: clear };
}

/** The id that an exported session key stands for; undefined where it is none. */
export function sessionIdOf(sessionKey: string): string | undefined {
  const bytes = Buffer.from(sessionKey, "base64");
  if (bytes.length !== exportedBytes || bytes[0] !== 1) return undefined;
  return bytes.subarray(-32).toString("base64").replaceAll("=", "");
}

function parsed(json: string) {
  try {
    const value = JSON.parse(json) as unknown;
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // damaged where the MAC does not look
  }
}

import { createHash } from "node:crypto";
import { integer, isObject, list, text, type Json } from "../../json.ts";
import { decodePayload, encodePayload, secretBytes, type InviteCode } from "./codec.ts";
import { toBase64 } from "./messages.ts";
import type { TokenState, Use } from "./token-merge.ts";

/** What an own device says of codes: whole registers, and of the uses those that may be new. `ask`: what it holds, to be told what differs. */
export type Note = { sentAtMs: number; tokens: TokenState[]; ask?: string };

/** An Olm message of this much clear text stays well below the 64 KiB that servers take of an event. */
const largestNoteChars = 24_000;
/** Nobody of ours writes a longer one. */
export const longestNoteChars = 48_000;
const mostTokens = 500;
const mostUses = 500;
const longestId = 255;

const useToJson = (use: Use): Json => ({
  user: use.userId,
  msk: use.masterKey,
  at: use.atMs,
  dev: use.deviceId,
  ver: use.verify,
  ok: use.accepted,
});
const tokenToJson = (token: TokenState, uses: Use[]): Json => ({
  h: toBase64(token.header),
  s: toBase64(token.secret),
  ...(token.roomId === undefined ? {} : { room: token.roomId }),
  made: token.createdAtMs,
  verify: token.verifyUntilMs,
  state: { at: token.state.at, rev: token.state.rev, by: token.state.by, ms: token.state.atMs },
  owner: { dev: token.owner.owner, rev: token.owner.rev, by: token.owner.by },
  uses: uses.map(useToJson),
});

/** As many contents as the sizes want; one code's many uses stand in several. */
export function notesOf(tokens: TokenState[], sentAtMs: number): Json[] {
  const contents: Json[] = [];
  let parts: Json[] = [];
  let chars = 0;
  const close = () => {
    if (parts.length > 0) contents.push({ v: 1, sent: sentAtMs, tokens: parts });
    parts = [];
    chars = 0;
  };
  for (const token of tokens)
    for (let from = 0; from === 0 || from < token.uses.length; from += 50) {
      const part = tokenToJson(token, token.uses.slice(from, from + 50));
      const size = JSON.stringify(part).length;
      if (chars + size > largestNoteChars) close();
      parts.push(part);
      chars += size;
    }
  close();
  return contents;
}
export const askContent = (digest: string, sentAtMs: number): Json => ({ v: 1, sent: sentAtMs, ask: digest });

/** The same on devices that know the same. */
export function digestOf(tokens: TokenState[]): string {
  const lines = tokens.map((token) => JSON.stringify(tokenToJson(token, token.uses))).sort();
  return createHash("sha256").update(lines.join("\n")).digest("base64url");
}

/** Undefined where it is no note. A part that is none by itself is left out: what a later version adds must not hide the rest. */
export function readNote(content: Json, me: string): Note | undefined {
  const sentAtMs = timeOf(content["sent"]);
  if (content["v"] !== 1 || sentAtMs === undefined) return undefined;
  const ask = text(content["ask"]);
  if (ask !== undefined && ask.length > 64) return undefined;
  const tokens = list(content["tokens"])
    .slice(0, mostTokens)
    .flatMap((part) => tokenFrom(part, me) ?? []);
  return { sentAtMs, tokens, ...(ask === undefined ? {} : { ask }) };
}

function tokenFrom(value: unknown, me: string): TokenState | undefined {
  if (!isObject(value) || !isObject(value["state"]) || !isObject(value["owner"])) return undefined;
  const header = canonicalBytes(value["h"], 64);
  const secret = canonicalBytes(value["s"], secretBytes);
  if (header === undefined || secret?.length !== secretBytes || codeOf(me, header, secret) === undefined)
    return undefined;
  const { state, owner } = { state: value["state"], owner: value["owner"] };
  const at = state["at"];
  const [stateRev, ownerRev] = [revOf(state["rev"]), revOf(owner["rev"])];
  const [stateBy, ownerBy, ownedBy] = [idOf(state["by"]), idOf(owner["by"]), idOf(owner["dev"])];
  const [createdAtMs, verifyUntilMs, stateAtMs] = [timeOf(value["made"]), timeOf(value["verify"]), timeOf(state["ms"])];
  const roomId = value["room"] === undefined ? undefined : idOf(value["room"]);
  if (at !== "active" && at !== "withdrawn") return undefined;
  if (stateRev === undefined || ownerRev === undefined || stateBy === undefined || ownerBy === undefined)
    return undefined;
  if (ownedBy === undefined || createdAtMs === undefined || verifyUntilMs === undefined || stateAtMs === undefined)
    return undefined;
  if (value["room"] !== undefined && roomId?.startsWith("!") !== true) return undefined;
  return {
    header,
    secret,
    roomId,
    createdAtMs,
    verifyUntilMs,
    state: { at, rev: stateRev, by: stateBy, atMs: stateAtMs },
    owner: { owner: ownedBy, rev: ownerRev, by: ownerBy },
    uses: list(value["uses"])
      .slice(0, mostUses)
      .flatMap((use) => useFrom(use) ?? []),
  };
}

function useFrom(value: unknown): Use | undefined {
  if (!isObject(value)) return undefined;
  const [userId, masterKey, deviceId] = [idOf(value["user"]), text(value["msk"]), idOf(value["dev"])];
  const atMs = timeOf(value["at"]);
  const [verify, accepted] = [value["ver"], value["ok"]];
  if (userId?.startsWith("@") !== true || deviceId === undefined || atMs === undefined) return undefined;
  if (masterKey === undefined || canonicalBytes(masterKey, 32)?.length !== 32) return undefined;
  if (typeof verify !== "boolean" || typeof accepted !== "boolean") return undefined;
  return { userId, masterKey, atMs, deviceId, verify, accepted };
}

/** What a row's header says. Undefined where this is no code of ours. */
export function codeOf(me: string, header: Uint8Array, secret: Uint8Array): InviteCode | undefined {
  const code = decodePayload(me, encodePayload(me, header, secret));
  return typeof code === "string" ? undefined : code;
}

/** Unpadded, and the one way in which these bytes are written. */
function canonicalBytes(value: unknown, most: number): Buffer | undefined {
  const encoded = text(value);
  if (encoded === undefined || encoded.length > Math.ceil((most * 4) / 3)) return undefined;
  const bytes = Buffer.from(encoded, "base64");
  return toBase64(bytes) === encoded ? bytes : undefined;
}
const idOf = (value: unknown): string | undefined => {
  const id = text(value);
  return id === undefined || id === "" || id.length > longestId || /\p{Cc}/u.test(id) ? undefined : id;
};
const timeOf = (value: unknown): number | undefined => {
  const ms = integer(value);
  return ms === undefined || ms < 0 ? undefined : ms;
};
/** A count that cannot be counted on from would stand for ever. */
const revOf = (value: unknown): number | undefined => {
  const rev = integer(value);
  return rev === undefined || rev < 0 || rev > 1_000_000_000 ? undefined : rev;
};

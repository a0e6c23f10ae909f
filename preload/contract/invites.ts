import * as v from "valibot";
import { command } from "./define.ts";
import { base64Bytes } from "./ids.ts";

export type InviteKind = "contact" | "group";
export type InvitePreset = "show" | "personal-link" | "card" | "public";
export type UnknownReason = "not-a-code" | "corrupt" | "expired" | "newer-version" | "too-long";
export type Scanned =
  | { kind: "invite"; userId: string; inviteKind: InviteKind; label?: string; expiresAtMs?: number; own: boolean }
  | { kind: "user"; userId: string }
  | { kind: "room"; room: string; via: string[] }
  | { kind: "verification" }
  | { kind: "sign-in" }
  | { kind: "unknown"; reason: UnknownReason };

/** A code is at most some 250 characters; this leaves room for whatever else a camera may read. */
const text = v.pipe(v.string(), v.maxLength(8192));

export const invitesCommands = {
  /** What a scanned, pasted or opened code is. Pure: touches neither network nor store. */
  "invites.inspect": command<Scanned>()(v.union([v.strictObject({ text }), v.strictObject({ bytes: base64Bytes })])),
};

import * as v from "valibot";
import { command } from "./define.ts";
import { base64Bytes, deviceId, empty, roomId } from "./ids.ts";

export type InviteKind = "contact" | "group";
export type InvitePreset = "show" | "personal-link" | "card" | "public";
export type Invite = {
  /** Opaque: the code's secret never leaves the core but in `link`. */
  tokenId: string;
  kind: InviteKind;
  roomId?: string;
  preset: InvitePreset;
  label?: string;
  state: "active" | "withdrawn" | "expired" | "used";
  createdAtMs: number;
  expiresAtMs?: number;
  /** Who joins before this is verified without being asked about. */
  verifyUntilMs?: number;
  uses: string[];
  /**
   * Six digits of each exchange that this device had over the code in the last thirty days, newest first. Whoever was at the other end
   * sees the same. `refused`: an identity that was not let in beside the earlier one.
   */
  digits?: InviteDigits[];
  ownedHere: boolean;
};
export type InviteDigits = { userId: string; digits: string; refused?: true };
export type UnknownReason = "not-a-code" | "corrupt" | "expired" | "newer-version" | "too-long";
export type Scanned =
  | { kind: "invite"; userId: string; inviteKind: InviteKind; label?: string; expiresAtMs?: number; own: boolean }
  | { kind: "user"; userId: string }
  | { kind: "room"; room: string; via: string[] }
  | { kind: "verification" }
  | { kind: "sign-in" }
  | { kind: "unknown"; reason: UnknownReason };
export type JoinCode =
  | "keys-differ"
  | "used"
  | "expired"
  | "setup-needed"
  | "no-permission"
  | "gone"
  | "ignored"
  | "unreachable"
  | "not-found"
  | "cancelled";
export type Join = {
  joinId: string;
  userId: string;
  /** It leads into a group. */
  group?: true;
  /** Six digits of the exchange, from the proof on. The inviter sees the same where nobody stands between. */
  digits?: string;
  state:
    | { at: "inviter-verified" | "waiting" | "proving" }
    | { at: "done"; result: "mutual" | "one-sided" | "contact-only"; roomId?: string }
    | { at: "blocked"; code: JoinCode }
    | { at: "failed"; code: JoinCode };
};
export type InviteRequest = {
  requestId: string;
  userId: string;
  tokenId: string;
  /** The device that made this single-use code does not answer: a yes lets this one decide. */
  takeOver?: true;
};
export type Alarm = {
  alarmId: string;
  kind: "second-key" | "two-users" | "withdrawn-but-used" | "flood";
  tokenId: string;
  userIds: string[];
  atMs: number;
  /** Of `withdrawn-but-used`: when it was withdrawn; `atMs` is when it was used. */
  withdrawnAtMs?: number;
};

/** A code is at most some 250 characters; this leaves room for whatever else a camera may read. */
const text = v.pipe(v.string(), v.maxLength(8192));
const tokenId = v.pipe(v.string(), v.minLength(1), v.maxLength(64));
const oneToken = v.strictObject({ tokenId });
const oneJoin = v.strictObject({ joinId: v.pipe(v.string(), v.minLength(1), v.maxLength(64)) });

/** SJM1: docs/invite-protocol.md. */
export const invitesCommands = {
  "invites.create": command<Invite & { link: string }>()(
    v.strictObject({
      kind: v.picklist(["contact", "group"]),
      roomId: v.optional(roomId),
      preset: v.picklist(["show", "personal-link", "card", "public"]),
      label: v.optional(v.pipe(v.string(), v.trim(), v.maxBytes(24))),
    }),
  ),
  "invites.list": command<Invite[]>()(empty),
  /** Live codes that these own devices know: what to offer for withdrawal where one of them is lost or signed out. */
  "invites.knownBy": command<Invite[]>()(
    v.strictObject({ deviceIds: v.pipe(v.array(deviceId), v.minLength(1), v.maxLength(500)) }),
  ),
  "invites.withdraw": command<Invite>()(oneToken),
  "invites.revive": command<Invite>()(oneToken),
  /** A live code once more; what it verifies unasked is not prolonged by that. */
  "invites.show": command<{ link: string }>()(oneToken),
  /** The window in which a `show` code verifies by itself ends ten minutes from now. */
  "invites.keepOpen": command<Invite>()(oneToken),
  /** Pure: touches neither network nor store. */
  "invites.inspect": command<Scanned>()(v.union([v.strictObject({ text }), v.strictObject({ bytes: base64Bytes })])),
  "invites.accept": command<{ joinId: string }>()(
    v.strictObject({ text, acceptIdentityChange: v.optional(v.boolean()) }),
  ),
  "invites.joins": command<Join[]>()(empty),
  /** Ends a join that is not confirmed yet: `failed` with `cancelled`. What was signed or sent stays. */
  "invites.cancel": command<Record<string, never>>()(oneJoin),
  /** Instead of the set-up for which a join with a person waits (`setup-needed`): their chat, and nobody verified. */
  "invites.contactOnly": command<Record<string, never>>()(oneJoin),
  /** Those that wait for an answer. */
  "invites.requests": command<InviteRequest[]>()(empty),
  /** "Did you give this code to them?" */
  "invites.answer": command<Record<string, never>>()(
    v.strictObject({ requestId: v.pipe(v.string(), v.minLength(1), v.maxLength(64)), gave: v.boolean() }),
  ),
  "invites.alarms": command<Alarm[]>()(empty),
  /** Seen: it leaves the list, on this device, until there is a further event of its kind. */
  "invites.putAway": command<Record<string, never>>()(
    v.strictObject({ alarmId: v.pipe(v.string(), v.minLength(1), v.maxLength(64)) }),
  ),
};

export type InvitesEvents = {
  "invites.changed": { invites?: Invite[]; joins?: Join[]; requests?: InviteRequest[]; alarms?: Alarm[] };
};

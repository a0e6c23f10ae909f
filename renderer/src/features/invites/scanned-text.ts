/** What was scanned or opened, in words: what it is, what pressing the button does, and what it does not. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Scanned, UnknownReason } from "../../../../preload/contract/invites.ts";
import { failureText } from "../../failures.ts";
import { localpart } from "../../lib/legible.ts";
import { m } from "../../paraglide/messages.js";
import type { Source } from "./intake.svelte.ts";

export type ScannedText = { title: string; description: string; button: string };
export type Situation = {
  /** This device is not yet confirmed by one's own identity. */
  unconfirmed: boolean;
  /** A verification is under way to which a code could belong. */
  verifying: boolean;
  /** A chat with them, or that room, is there already. */
  known: boolean;
};

const reasons: Record<UnknownReason, () => string> = {
  "not-a-code": m.invites_unknown_not,
  corrupt: m.invites_unknown_corrupt,
  expired: m.invites_unknown_expired,
  "newer-version": m.invites_unknown_newer,
  "too-long": m.invites_unknown_long,
};
const sources: Record<Source, () => string> = {
  camera: m.invites_from_camera,
  picture: m.invites_from_picture,
  paste: m.invites_from_paste,
  link: m.invites_from_link,
};
export const sourceText = (source: Source): string => sources[source]();

export function scannedText(scanned: Scanned, { unconfirmed, verifying, known }: Situation): ScannedText {
  switch (scanned.kind) {
    case "invite": {
      const name = localpart(scanned.userId);
      if (scanned.own)
        return unconfirmed
          ? {
              title: m.invites_own_device(),
              description: m.invites_own_device_means(),
              button: m.invites_own_confirm(),
            }
          : { title: m.invites_own(), description: m.invites_own_means(), button: m.invites_own_manage() };
      return scanned.inviteKind === "group"
        ? {
            title: m.invites_confirm_group({ name }),
            description: m.invites_confirm_group_means({ name }),
            button: m.invites_confirm_group_do(),
          }
        : {
            title: m.invites_confirm({ name }),
            description: m.invites_confirm_means(),
            button: m.invites_confirm_do(),
          };
    }
    case "user": {
      const name = localpart(scanned.userId);
      return known
        ? { title: m.invites_user({ name }), description: m.invites_user_known(), button: m.invites_user_open() }
        : { title: m.invites_user({ name }), description: m.invites_user_means(), button: m.new_chat_start() };
    }
    case "room":
      return known
        ? { title: m.invites_room(), description: m.invites_room_known(), button: m.invites_room_open() }
        : { title: m.invites_room(), description: m.invites_room_means(), button: m.invites_room_join() };
    case "verification":
      return verifying
        ? {
            title: m.invites_verification(),
            description: m.invites_verification_running(),
            button: m.invites_verification_open(),
          }
        : { title: m.invites_verification(), description: m.invites_verification_means(), button: m.close() };
    case "sign-in":
      return { title: m.invites_sign_in(), description: m.invites_sign_in_means(), button: m.close() };
    case "unknown":
      return {
        title: scanned.reason === "expired" ? m.invites_unknown_expired_title() : m.invites_unknown(),
        description: (Object.hasOwn(reasons, scanned.reason) ? reasons[scanned.reason] : reasons["not-a-code"])(),
        button: m.invites_scan_again(),
      };
  }
}

/** Why the button did nothing. */
export function acceptFailureText(failure: Failure): string {
  if (failure.code === "conflict") return m.invites_own();
  if (failure.code === "unreachable") return m.invites_accept_unreachable();
  return failureText(failure);
}

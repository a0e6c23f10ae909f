/** A join with somebody's code in words: how far it is, how it ended, and what one can do about it. */
import type { Join, JoinCode } from "../../../../preload/contract/invites.ts";
import { m } from "../../paraglide/messages.js";

/** After this long without an answer nobody is at the other end. */
export const answerWithinMs = 20_000;

export type JoinAction = "verify" | "scan" | "set-up" | "unignore" | "look" | "none";
export type JoinText = {
  tone: "running" | "done" | "plain" | "warn" | "danger";
  /** For the list of chats. */
  line: string;
  title: string;
  means: string;
  action: JoinAction;
};

const actions: Record<Exclude<JoinAction, "none">, () => string> = {
  verify: m.invites_do_verify,
  scan: m.invites_do_scan,
  "set-up": m.invites_setup_do,
  unignore: m.invites_do_unignore,
  look: m.details_look,
};
export const actionLabel = (action: JoinAction): string => (action === "none" ? "" : actions[action]());

type Ended = { title: (input: { name: string; user: string }) => string; means: (input: { name: string }) => string };
const codes: Record<JoinCode, Ended & { tone: "plain" | "warn" | "danger"; action: JoinAction }> = {
  "keys-differ": {
    ...{ title: m.invites_keys_differ, means: m.invites_keys_differ_means },
    ...{ tone: "danger", action: "scan" },
  },
  used: { title: m.invites_used, means: m.invites_used_means, tone: "warn", action: "scan" },
  expired: { title: m.invites_ran_out, means: m.invites_ran_out_means, tone: "plain", action: "scan" },
  "setup-needed": { title: m.invites_setup, means: m.invites_setup_means, tone: "warn", action: "set-up" },
  "no-permission": {
    ...{ title: m.invites_no_permission, means: m.invites_no_permission_means },
    ...{ tone: "plain", action: "none" },
  },
  gone: { title: m.invites_gone, means: m.invites_gone_means, tone: "plain", action: "none" },
  ignored: { title: m.invites_ignored, means: m.invites_ignored_means, tone: "warn", action: "unignore" },
  unreachable: { title: m.invites_unreachable, means: m.invites_unreachable_means, tone: "warn", action: "none" },
  "not-found": { title: m.invites_not_found, means: m.invites_not_found_means, tone: "warn", action: "scan" },
  cancelled: { title: m.invites_cancelled, means: m.invites_cancelled_means, tone: "plain", action: "none" },
};

type Moment = {
  /** Since when it has been under way. */
  sinceMs: number;
  nowMs: number;
  /** Their chat is there. */
  canWrite: boolean;
};

export function joinText({ state, userId }: Join, name: string, { sinceMs, nowMs, canWrite }: Moment): JoinText {
  switch (state.at) {
    case "inviter-verified":
    case "waiting":
      if (nowMs - sinceMs >= answerWithinMs)
        return {
          ...{ tone: "running", line: m.invites_later({ name }), action: "none", title: m.invites_later({ name }) },
          means: canWrite ? m.invites_later_write() : m.invites_later_means(),
        };
      return {
        ...{ tone: "running", line: m.invites_asking_line(), action: "none", title: m.invites_asking({ name }) },
        means: canWrite
          ? m.invites_asking_write({ name })
          : state.at === "waiting"
            ? m.invites_asking_first({ name })
            : m.invites_asking_means({ name }),
      };
    case "proving":
      return {
        ...{ tone: "running", line: m.invites_proving_line(), action: "none" },
        ...{ title: m.invites_proving({ name }), means: m.invites_proving_means() },
      };
    case "done":
      if (state.result === "mutual")
        return {
          ...{ tone: "done", line: m.invites_mutual_line(), action: "none" },
          ...{ title: m.invites_mutual({ name }), means: m.invites_mutual_means() },
        };
      return state.result === "one-sided"
        ? {
            ...{ tone: "plain", line: m.invites_one_sided_line(), action: "verify" },
            ...{ title: m.invites_one_sided({ name }), means: m.invites_one_sided_means({ name }) },
          }
        : {
            ...{ tone: "plain", line: m.invites_contact_only_line(), action: "verify" },
            ...{ title: m.invites_contact_only({ name }), means: m.invites_contact_only_means({ name }) },
          };
    case "blocked":
    case "failed": {
      // the group itself was asked in their place
      if (state.at === "blocked" && state.code === "no-permission")
        return {
          ...{ tone: "plain", line: m.invites_knocked(), title: m.invites_knocked(), action: "none" },
          means: m.invites_knocked_means({ name }),
        };
      // a newer core may name a code that this window does not know
      const text = Object.hasOwn(codes, state.code) ? codes[state.code] : codes.cancelled;
      const title = text.title({ name, user: userId });
      return { tone: text.tone, line: title, title, means: text.means({ name }), action: text.action };
    }
  }
}

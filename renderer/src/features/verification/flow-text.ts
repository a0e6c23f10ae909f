/** What the sheet and the card say about a verification, by its state. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Flow, FlowState } from "../../../../preload/contract/verification.ts";
import { m } from "../../paraglide/messages.js";
import type { Refusal, Way } from "./verification.svelte.ts";

/** With whom: another person by name, or a device of one's own. */
export type Partner = { own: boolean; name: string };
export type Heading = { title: string; description?: string };

/** What differs means that somebody may be in between; all else only that it was not finished. */
const differs = new Set(["m.mismatched_sas", "m.mismatched_commitment", "m.key_mismatch", "m.user_mismatch"]);

export const endedInDanger = (state: FlowState): boolean => state.at === "cancelled" && differs.has(state.code);

/** `byNumbers`: the numbers are compared in place of the pictures. */
export function heading(flow: Flow, way: Way, { own, name }: Partner, byNumbers = false): Heading {
  const { state } = flow;
  switch (state.at) {
    case "requested":
      if (flow.mine)
        return own
          ? { title: m.verify_waiting_own(), description: m.verify_waiting_own_accept() }
          : { title: m.verify_waiting({ name }), description: m.verify_waiting_accept({ name }) };
      return own
        ? { title: m.verify_incoming_own(), description: m.verify_incoming_own_sentence() }
        : { title: m.verify_incoming({ name }), description: m.verify_incoming_sentence({ name }) };
    case "ready":
      return readyHeading(way, { own, name });
    case "qr-scanned":
      return own
        ? { title: m.verify_scanned_own(), description: m.verify_scanned_own_sentence() }
        : { title: m.verify_scanned({ name }), description: m.verify_scanned_sentence({ name }) };
    case "comparing":
      return own
        ? {
            title: byNumbers ? m.verify_compare_numbers_own() : m.verify_compare_title_own(),
            description: m.verify_compare_own_sentence(),
          }
        : {
            title: byNumbers ? m.verify_compare_numbers() : m.verify_compare_title(),
            description: m.verify_compare_sentence({ name }),
          };
    case "waiting-for-other":
      return own
        ? { title: m.verify_waiting_own(), description: m.verify_confirming_own() }
        : { title: m.verify_waiting({ name }), description: m.verify_confirming({ name }) };
    case "settling":
      return {
        title: m.verify_settling(),
        description: own ? m.verify_settling_own_sentence() : m.verify_settling_sentence(),
      };
    case "done":
      return own
        ? { title: m.verify_done_own(), description: m.verify_done_own_sentence() }
        : { title: m.verify_done({ name }), description: m.verify_done_sentence() };
    case "cancelled":
      return {
        title: endedInDanger(state) ? m.verify_stopped_danger() : m.verify_stopped(),
        description: reason(state, { own, name }),
      };
  }
}

function readyHeading(way: Way, { own, name }: Partner): Heading {
  if (way.at === "show")
    return {
      title: own ? m.verify_show_title_own() : m.verify_show_title({ name }),
      description: m.verify_show_sentence(),
    };
  if (way.at === "scan") return { title: own ? m.verify_scan_title_own() : m.verify_scan_title({ name }) };
  if (way.at === "waiting") return { title: m.verify_preparing(), description: m.verify_preparing_sentence() };
  return own
    ? { title: m.verify_choose_own(), description: m.verify_choose_own_sentence() }
    : { title: m.verify_choose(), description: m.verify_choose_sentence() };
}

/** Why it ended, in words. Source: client-server API, "m.key.verification.cancel". */
function reason(state: Extract<FlowState, { at: "cancelled" }>, { own, name }: Partner): string {
  if (endedInDanger(state)) return own ? m.verify_reason_differ_own() : m.verify_reason_differ({ name });
  switch (state.code) {
    case "m.user":
      if (state.byMe) return m.verify_reason_me();
      return own ? m.verify_reason_own_other() : m.verify_reason_other({ name });
    case "m.timeout":
      return m.verify_reason_timeout();
    case "m.accepted":
      return m.verify_reason_elsewhere();
    case "m.unknown_method":
      return m.verify_reason_method();
    default:
      return m.verify_reason_confused();
  }
}

export function refusalText(refusal: Refusal, name: string): string {
  switch (refusal) {
    case "link":
      return m.verify_code_link({ name });
    case "sign-in":
      return m.verify_code_sign_in();
    case "newer-verification":
      return m.verify_code_newer();
    case "keys-differ":
      return m.verify_code_keys({ name });
    case "refused":
      return m.verify_code_refused({ name });
    case "other":
      return m.verify_code_other({ name });
  }
}

/** Why nobody could be asked, where the core knows better than the failure's general sentence. */
export function notAskedText({ details }: Failure, name: string): string | undefined {
  const kind = typeof details === "object" && details !== null ? (details as { kind?: unknown }).kind : undefined;
  if (kind === "no-identity") return m.verify_no_identity({ name });
  return kind === "setup-needed" ? m.verify_setup_needed() : undefined;
}

export function cardText(flow: Flow, partner: Partner, device: string): string {
  const { own, name } = partner;
  switch (flow.state.at) {
    case "requested":
      if (flow.mine) return own ? m.verify_card_waiting_own() : m.verify_card_waiting({ name });
      return own ? m.verify_card_incoming_own({ device }) : m.verify_card_incoming({ name });
    case "settling":
      return m.verify_card_settling();
    case "done":
      return heading(flow, { at: "choose" }, partner).title;
    case "cancelled":
      return reason(flow.state, partner);
    default:
      return own ? m.verify_card_running_own() : m.verify_card_running({ name });
  }
}

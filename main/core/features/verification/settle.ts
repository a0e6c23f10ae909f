import type { Secret } from "../../../../preload/contract/trust.ts";
import { asCoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Proof } from "./flows.ts";

export type Missing = ("signature" | Secret)[];
type Parts = {
  /** Asks the server. Throws `identity-changed` where it shows other keys than the verified ones, `not-found` where they are gone. */
  missing: (proof: Proof) => Promise<Missing>;
  sign: (proof: Proof) => Promise<void>;
  requestSecrets: () => Promise<void>;
  /** Waits; ends early when something arrived that may have changed the answer. */
  wait: (ms: number) => Promise<void>;
  stopped: () => boolean;
};
const firstWaitMs = 1_000;
const longestWaitMs = 60_000;

/**
 * From "both said yes" to "the server shows it": signatures that got lost are made again, secrets that did not come are asked for
 * again, since other devices give them only to one that they already know as signed.
 */
export async function settle(
  proof: Proof,
  { missing, sign, requestSecrets, wait, stopped }: Parts,
  tell: (missing: Missing) => void,
): Promise<"done" | "keys-differ" | "stopped"> {
  for (let round = 0, waitMs = firstWaitMs; !stopped(); round++, waitMs = Math.min(waitMs * 2, longestWaitMs)) {
    try {
      const left = await missing(proof);
      tell(left);
      if (left.length === 0) return "done";
      // the machine's own upload is on its way in the first round
      if (left.includes("signature") && round > 0) await sign(proof);
      if (left.some((one) => one !== "signature")) await requestSecrets();
    } catch (error) {
      const { code } = asCoreError(error);
      if (code === "identity-changed" || code === "not-found") return "keys-differ";
      log.info(`a verification has not settled yet: ${code}`);
    }
    await wait(waitMs);
  }
  return "stopped";
}

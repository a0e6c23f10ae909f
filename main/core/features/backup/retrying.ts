import { setTimeout as sleep } from "node:timers/promises";
import { asCoreError, CoreError } from "../../errors.ts";
import { log } from "../../log.ts";

const triesInVain = 5;
const firstWaitMs = 500;
const longestWaitMs = 30_000;

type Where = {
  /** Whether the server still has the version; throws where it cannot be asked. */
  isThere: () => Promise<boolean>;
  signal: AbortSignal;
};

/**
 * Goes on trying while the network or the server is away, or asks to wait. What is refused, or breaks off again and again without
 * anything new, while the server answers for the version as a whole, is given up here: what it was refused with is the answer.
 */
export async function retrying(
  { isThere, signal }: Where,
  work: (progressed: () => void) => Promise<void>,
): Promise<"done" | { refusedWith: CoreError }> {
  let waitMs = firstWaitMs;
  for (let inVain = 0; ;) {
    try {
      await work(() => {
        inVain = 0;
        waitMs = firstWaitMs;
      });
      return "done";
    } catch (error) {
      signal.throwIfAborted();
      const known = asCoreError(error);
      const { kind, status } = (known.details ?? {}) as { kind?: string; status?: number };
      const isTransient = known.retryable || kind === "bad-answer";
      if (known.code === "disk-full" || !(isTransient || status !== undefined)) throw error;
      if (known.code !== "rate-limited") inVain++;
      if ((!isTransient || inVain >= triesInVain) && (await answersForVersion(isThere))) return { refusedWith: known };
      log.info(`a restore waits: ${known.code}`);
      await sleep(known.retryAfterMs ?? waitMs, undefined, { signal }).catch(() => {
        throw new CoreError("cancelled");
      });
      waitMs = Math.min(waitMs * 2, longestWaitMs);
    }
  }
}

/** Throws where the version is gone, or the server takes nothing from us any more. */
async function answersForVersion(isThere: Where["isThere"]): Promise<boolean> {
  const there = await isThere().catch((error: unknown) => {
    if (asCoreError(error).retryable) return undefined;
    throw error;
  });
  if (there === false) throw new CoreError("not-found", { details: { kind: "backup" } });
  return there === true;
}

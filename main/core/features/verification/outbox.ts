import { asCoreError, CoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Outgoing } from "../../matrix/verification.ts";

type Parts = {
  send: (message: Outgoing) => Promise<void>;
  /** Waits, or ends early when the outbox stops. */
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  nowMs: () => number;
  /** For how long a message is worth sending. */
  lastsMs: number;
  refused: (message: Outgoing, error: CoreError) => void;
};
const firstWaitMs = 500;
const longestWaitMs = 15_000;
const laneOf = (roomId: string | undefined): string => roomId ?? "";

/**
 * Verification messages in their order, one lane a room and one for the devices. What the network fails is sent again under the
 * same transaction id until it arrives or nobody wants it any more: Rust crypto's state has moved on and makes it only once.
 */
export function createOutbox({ send, sleep, nowMs, lastsMs, refused }: Parts) {
  const lanes = new Map<string, Promise<void>>();
  const stopping = new AbortController();
  // a message may be waiting for a sync or a member list that an account which stops will not see any more
  const stopped = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener("abort", () => {
      reject(new CoreError("cancelled"));
    });
  });
  stopped.catch(() => undefined);

  const deliver = async (message: Outgoing, tried: () => void): Promise<void> => {
    const untilMs = nowMs() + lastsMs;
    for (let waitMs = firstWaitMs; !stopping.signal.aborted; waitMs = Math.min(waitMs * 2, longestWaitMs)) {
      if (nowMs() > untilMs) return;
      try {
        await Promise.race([send(message), stopped]);
        return;
      } catch (error) {
        const known = asCoreError(error);
        if (known.code === "cancelled") return;
        if (!known.retryable) {
          log.warn(`a verification message was not sent: ${known.code}`, error);
          refused(message, known);
          return;
        }
        tried();
        await sleep(known.retryAfterMs ?? waitMs, stopping.signal);
      }
    }
  };

  return {
    /** Resolves after the first try: what failed by the network goes on being tried. */
    put: (messages: Outgoing[]): Promise<void> => {
      const tries = messages.map((message) => {
        const lane = laneOf(message.kind === "room" ? message.roomId : undefined);
        const { promise, resolve } = Promise.withResolvers<undefined>();
        const tried = () => {
          resolve(undefined);
        };
        const before = lanes.get(lane) ?? Promise.resolve();
        lanes.set(lane, before.then(() => deliver(message, tried)).finally(tried));
        return promise;
      });
      return Promise.all(tries).then(() => undefined);
    },
    /** Once what was put so far for this room, or for devices, has arrived or is not tried any more. */
    settled: async (roomId: string | undefined): Promise<void> => {
      await lanes.get(laneOf(roomId));
    },
    stop: async () => {
      stopping.abort();
      await Promise.allSettled(lanes.values());
    },
  };
}

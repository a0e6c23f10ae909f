import { asCoreError } from "../errors.ts";
import { log } from "../log.ts";
import type { Touched } from "../room-event.ts";

type Gap = { roomId: string; segment: number };
type Parts = {
  fill: (roomId: string, segment: number) => Promise<Touched>;
  isOpen: (roomId: string, segment: number) => boolean;
  filled: (roomId: string, touched: Touched) => void;
};

/** More than this in one hole is left for whoever reads back that far. */
const requestsAGap = 20;

/** Fills the holes of limited syncs one after the other, beside the loop. What fails is tried again after a later sync, or when the room is read. */
export function createGapFiller({ fill, isOpen, filled }: Parts) {
  const waiting: Gap[] = [];
  const failed: Gap[] = [];
  let running = false;
  const stopping = new AbortController();
  const stopped = () => stopping.signal.aborted;

  const work = async () => {
    for (let gap = waiting.shift(); gap !== undefined && !stopped(); gap = waiting.shift())
      try {
        for (let requests = 0; requests < requestsAGap && !stopped() && isOpen(gap.roomId, gap.segment); requests++)
          filled(gap.roomId, await fill(gap.roomId, gap.segment));
      } catch (error) {
        failed.push(gap);
        if (!stopped()) log.info(`a hole was not filled yet: ${asCoreError(error).code}`);
      }
  };

  const start = () => {
    if (running || waiting.length === 0) return;
    running = true;
    void work().finally(() => {
      running = false;
      start();
    });
  };

  return {
    add: (gaps: Gap[]) => {
      waiting.push(...gaps);
      start();
    },
    /** After a sync: the server can be reached again. */
    again: () => {
      waiting.push(...failed.splice(0));
      start();
    },
    stop: () => {
      stopping.abort();
      waiting.length = 0;
    },
  };
}

import { toFailure } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import { log } from "../../log.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { InPieces } from "../../matrix/room-key-export.ts";
import type { SalvageStore } from "../../storage/salvage-store.ts";

type Parts = {
  store: SalvageStore;
  crypto: () => Promise<Crypto>;
  inPieces: InPieces;
  /** The device receives and sends no more. */
  halt: () => Promise<unknown>;
  /** What was written of crypto so far is on the disk. */
  barrier: () => Promise<void>;
};

/** As in a restore: more would stall the thread, and it is what a kill makes anew. */
const chunkSize = 200;

/** Takes the room keys from one device of the account to the next: out of the old one's crypto.db, and into the new one's. */
export function createSalvage({ store, crypto, inPieces, halt, barrier }: Parts) {
  let stopped = false;
  let running: Promise<void> | undefined;
  const machinery = () => import("../../matrix/room-key-export.ts");

  const takeIn = async (): Promise<void> => {
    const { importSessions } = await machinery();
    let imported = 0;
    let refused = 0;
    while (!stopped) {
      const rows = store.next(chunkSize);
      const last = rows.at(-1);
      if (last === undefined) {
        store.clear();
        log.info(`${imported} room keys of the device before were taken in, ${refused} could not be read`);
        return;
      }
      const sessions = rows.map((row) => JSON.parse(row.session) as unknown);
      const taken = await importSessions(await crypto(), sessions);
      imported += taken.imported;
      refused += taken.refused.length;
      // in the new device's file before they go from here
      await barrier();
      store.removeThrough(last.number);
    }
  };
  const start = () => {
    if (running !== undefined || stopped || !store.isDue()) return;
    running = takeIn()
      .catch((error: unknown) => {
        if (!stopped) log.warn(`the room keys of the device before wait for the next sync: ${toFailure(error).code}`);
      })
      .finally(() => {
        running = undefined;
      });
  };

  const feature: Feature = {
    cryptoStarted: start,
    synced: start,
    stop: async () => {
      stopped = true;
      await running;
    },
  };
  return {
    feature,
    handlers: {
      "account.salvage": async () => {
        // a key that came after its piece was read would be lost with this device
        await halt();
        stopped = true;
        await running;
        const core = await crypto();
        const { exportSessions } = await machinery();
        // what an earlier change left and is not in crypto.db yet comes along
        if (!store.isDue()) store.clear();
        let roomKeys = store.count();
        for await (const sessions of exportSessions(core, inPieces)) {
          store.add(sessions);
          roomKeys += sessions.length;
        }
        await store.barrier();
        return { roomKeys };
      },
    },
  };
}

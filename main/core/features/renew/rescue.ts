import type { Rescued } from "../../../../preload/contract/account.ts";
import { log } from "../../log.ts";
import { createRescuedSecrets } from "../../storage/rescued-secrets.ts";
import { fillStore, openAccountRemains, openCryptoRemains, openWorkshop } from "../../storage/rescue-store.ts";
import { createSalvageStore } from "../../storage/salvage-store.ts";
import type { WorkerStart } from "../../worker-port.ts";

type Start = Extract<WorkerStart, { kind: "rescue" }>;

/**
 * Takes out of a damaged account's files what the account's next device can use, and puts it into account.db for it. The damaged
 * crypto.db is only read; it is put aside when the next device starts. Killed anywhere within, the next call does all of it again.
 */
export async function rescue({ folder, keys, session }: Start): Promise<Rescued> {
  const { db, state } = openAccountRemains(folder, keys.account, session.deviceId);
  keys.account.fill(0);
  const remains = openCryptoRemains(folder, keys.crypto);
  keys.crypto.fill(0);
  const workshop = openWorkshop(folder);
  try {
    const salvage = createSalvageStore(db);
    const kept = createRescuedSecrets(db);
    if (salvage.deviceId() === undefined) salvage.setDeviceId(session.deviceId);
    // what an earlier change of devices left and was not taken in yet comes along
    if (!salvage.isDue()) salvage.clear();
    const { rescueKeys } = await import("../../matrix/rescue-machine.ts");
    const secrets = await rescueKeys(
      { me: session.userId, ...workshop, fill: (...which) => fillStore(workshop.store, remains, ...which) },
      (sessions) => {
        salvage.add(sessions);
      },
    );
    kept.keep(secrets);
    await db.barrier();
    const roomKeys = salvage.count();
    log.info(`${roomKeys} room keys were rescued; the account's own file was ${state}`);
    return {
      roomKeys,
      roomKeysComplete: !remains.damaged(),
      secrets: kept.names(),
      messages: state === "kept" ? "kept" : "fetched-again",
    };
  } finally {
    workshop.close();
    remains.close();
    db.close();
  }
}

import { CoreError, toFailure } from "../../errors.ts";
import { log } from "../../log.ts";
import { moveCryptoAside } from "../../storage/crypto-files.ts";
import type { SalvageStore } from "../../storage/salvage-store.ts";

/**
 * Before crypto.db is opened: where the session is of another device than the one that was run here last, that one's crypto.db is put
 * aside and what was its own is forgotten. Each step is on the disk before the next, so that after a kill or a power cut there is
 * never a crypto.db under a device that is not its own, and the keys that were left can still be taken in.
 */
export async function becomeDevice(store: SalvageStore, folder: string, deviceId: string): Promise<void> {
  const last = store.deviceId();
  if (last === undefined) store.setDeviceId(deviceId);
  if (last === undefined || last === deviceId) {
    // of a change that was begun and did not come to be
    if (!store.isDue()) store.clear();
    return;
  }
  log.info("this account is run as another device from now on");
  moveCryptoAside(folder, last);
  store.become(
    deviceId,
    toFailure(new CoreError("timeout", { message: "It may have been sent by the device that was here before." })),
  );
  await store.barrier();
}

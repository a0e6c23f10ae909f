import { RoomId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { asCoreError } from "../errors.ts";
import { log } from "../log.ts";
import type { Crypto } from "./crypto.ts";
import type { FromBackup } from "./backed-up-key.ts";

type Key = Extract<FromBackup, { ok: true }>;
export type ImportResult = { imported: number; alreadyHad: number; refused: { roomId: string; sessionId: string }[] };

/**
 * The machine's own way in for backed up keys, which marks them as in that version of the backup: nothing restored is uploaded
 * again. Keys that the machine drops without a word are found by asking for each alone.
 */
export async function importBackedUp(crypto: Crypto, version: string, keys: Key[]): Promise<ImportResult> {
  const whole = await importOnce(crypto, version, keys).catch((error: unknown) => {
    // one of them has an id that the binding refuses; a full disk is no fault of theirs
    if (asCoreError(error).code === "disk-full") throw error;
    log.info(`${keys.length} backed up keys were refused as one`);
    return undefined;
  });
  if (whole !== undefined && whole.readable === keys.length)
    return { imported: whole.imported, alreadyHad: whole.readable - whole.imported, refused: [] };
  if (keys.length <= 1)
    return { imported: 0, alreadyHad: 0, refused: keys.map(({ roomId, sessionId }) => ({ roomId, sessionId })) };
  const sum: ImportResult = { imported: whole?.imported ?? 0, alreadyHad: 0, refused: [] };
  for (const key of keys) {
    const one = await importBackedUp(crypto, version, [key]);
    sum.imported += one.imported;
    sum.refused.push(...one.refused);
  }
  // what the first try took is "already there" for the second
  sum.alreadyHad = keys.length - sum.refused.length - sum.imported;
  return sum;
}

async function importOnce(crypto: Crypto, version: string, keys: Key[]) {
  const byRoom = new Map<string, Map<string, unknown>>();
  for (const key of keys) {
    const ofRoom = byRoom.get(key.roomId) ?? new Map<string, unknown>();
    ofRoom.set(key.sessionId, { ...(JSON.parse(key.key) as object), room_id: key.roomId, session_id: key.sessionId });
    byRoom.set(key.roomId, ofRoom);
  }
  const asIds = new Map([...byRoom].map(([roomId, ofRoom]) => [new RoomId(roomId), ofRoom]));
  const result = await crypto.inner.machine.importBackedUpRoomKeys(asIds, () => undefined, version);
  const counts = { imported: result.importedCount, readable: result.totalCount };
  result.free();
  return counts;
}

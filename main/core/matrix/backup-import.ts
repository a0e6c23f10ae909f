import { RoomId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { asCoreError } from "../errors.ts";
import type { Crypto } from "./crypto.ts";
import type { FromBackup } from "./backed-up-key.ts";

type Key = Extract<FromBackup, { ok: true }>;
export type Imported<T> = { imported: number; alreadyHad: number; refused: T[] };

/**
 * The machine's own way in for backed up keys, which marks them as in that version of the backup: nothing restored is uploaded
 * again.
 */
export const importBackedUp = (crypto: Crypto, version: string, keys: Key[]): Promise<Imported<Key>> =>
  importSound(keys, (some) => importOnce(crypto, version, some));

/**
 * Keys that the machine drops without a word, or refuses all for one whose form it does not like, are found by handing it half of
 * them, and half of those. A full disk is no fault of theirs.
 */
export async function importSound<T>(
  keys: T[],
  importOnce: (keys: T[]) => Promise<{ imported: number; readable: number }>,
): Promise<Imported<T>> {
  if (keys.length === 0) return { imported: 0, alreadyHad: 0, refused: [] };
  const whole = await importOnce(keys).catch((error: unknown) => {
    if (asCoreError(error).code === "disk-full") throw error;
    return undefined;
  });
  if (whole?.readable === keys.length)
    return { imported: whole.imported, alreadyHad: whole.readable - whole.imported, refused: [] };
  if (keys.length === 1) return { imported: 0, alreadyHad: 0, refused: keys };
  const sum: Imported<T> = { imported: whole?.imported ?? 0, alreadyHad: 0, refused: [] };
  const middle = keys.length >> 1;
  for (const half of [keys.slice(0, middle), keys.slice(middle)]) {
    const some = await importSound(half, importOnce);
    sum.imported += some.imported;
    sum.refused.push(...some.refused);
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
  const { machine, inTurn } = crypto.inner;
  // in turn: what is written while a sync is taken in is committed with it, and a checkpoint counts on the keys being there
  const result = await inTurn(() => machine.importBackedUpRoomKeys(asIds, () => undefined, version));
  const counts = { imported: result.importedCount, readable: result.totalCount };
  result.free();
  return counts;
}

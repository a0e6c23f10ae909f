import type { InboundGroupSession } from "@matrix-org/matrix-sdk-crypto-wasm";
import { isObject, list, text } from "../json.ts";
import { sessionIdOf } from "./backed-up-key.ts";
import { importSound, type Imported } from "./backup-import.ts";
import type { Crypto } from "./crypto.ts";

export type InPieces = <T>(store: string, records: number, read: () => Promise<T>) => AsyncIterable<T>;
const sessionsStore = "inbound_group_sessions3";
/** Each piece is held whole by Rust crypto, by its answer and by us: some 6 MB. */
const pieceSize = 1000;

/**
 * Every room key, as JSON of the export format, in pieces. Rust crypto answers all of them as one string; so its store is shown to
 * it in pieces, and nobody else reads the whole of it meanwhile.
 */
export async function* exportSessions(
  crypto: { inner: Pick<Crypto["inner"], "machine" | "inTurn"> },
  inPieces: InPieces,
): AsyncGenerator<string[]> {
  const { machine, inTurn } = crypto.inner;
  const everything = (_: InboundGroupSession) => true;
  for await (const json of inPieces(sessionsStore, pieceSize, () => inTurn(() => machine.exportRoomKeys(everything))))
    yield list(JSON.parse(json)).map((session) => JSON.stringify(session));
}

export type Refused = { roomId: string; sessionId: string; reason: "malformed" | "other-session" | "not-importable" };

/** Takes what is sound, and names what is not: a session whose id is not that of its key is somebody's mistake or trick. */
export async function importSessions(crypto: Crypto, sessions: unknown[]): Promise<Imported<Refused>> {
  const refused: Refused[] = [];
  const sound: Record<string, unknown>[] = [];
  for (const session of sessions) {
    const roomId = isObject(session) ? text(session["room_id"]) : undefined;
    const sessionId = isObject(session) ? text(session["session_id"]) : undefined;
    const name = { roomId: roomId ?? "", sessionId: sessionId ?? "" };
    const id = isObject(session) ? sessionIdOf(text(session["session_key"]) ?? "") : undefined;
    if (!isObject(session) || roomId === undefined || sessionId === undefined || id === undefined)
      refused.push({ ...name, reason: "malformed" });
    else if (id !== sessionId) refused.push({ ...name, reason: "other-session" });
    // some clients leave the chain out where it is empty
    else sound.push({ forwarding_curve25519_key_chain: [], ...session });
  }
  const taken = await importSound(sound, async (some) => {
    const { machine, inTurn } = crypto.inner;
    const result = await inTurn(() => machine.importExportedRoomKeys(JSON.stringify(some), () => undefined));
    const counts = { imported: result.importedCount, readable: result.totalCount };
    result.free();
    return counts;
  });
  const notTaken = taken.refused.map((one) => ({ ...nameOf(one), reason: "not-importable" as const }));
  return { ...taken, refused: [...refused, ...notTaken] };
}

const nameOf = (session: Record<string, unknown>) => ({
  roomId: text(session["room_id"]) ?? "",
  sessionId: text(session["session_id"]) ?? "",
});

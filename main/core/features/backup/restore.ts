import type { BackupProgress, Restored } from "../../../../preload/contract/backup.ts";
import { asCoreError } from "../../errors.ts";
import type { FromBackup } from "../../matrix/backed-up-key.ts";
import type { Decryptor } from "../../matrix/backup-decrypt.ts";
import type { Fetched } from "../../matrix/backup-fetch.ts";
import type { Imported } from "../../matrix/backup-import.ts";
import type { BackupStore, Checkpoint, OperationRow } from "../../storage/backup-store.ts";
import { createChannel } from "./channel.ts";
import { createPace } from "./pace.ts";
import { retrying } from "./retrying.ts";

type Key = Extract<FromBackup, { ok: true }>;
export type RestoreParts = {
  store: BackupStore;
  nowMs: () => number;
  /** Rooms that are known here, those on screen first; asked again before each, so that one that was opened meanwhile is next. */
  rooms: () => string[];
  fetch: (version: string, roomId: string | undefined, signal: AbortSignal) => AsyncIterable<Fetched[]>;
  importKeys: (version: string, keys: Key[]) => Promise<Imported<Key>>;
  /** Whether the server still has the version; throws where it cannot be asked. Tells one room's trouble from that of all. */
  isThere: (version: string) => Promise<boolean>;
  progress: (progress: BackupProgress) => void;
};
export type RestoreRun = {
  operation: OperationRow;
  version: string;
  /** How many keys the server says there are. */
  count: number;
  decryptor: Decryptor;
  signal: AbortSignal;
};

/** Measured: 200 stalls the thread 12 ms, 500 already 38; what is redone after a kill is one chunk. */
const chunkSize = 200;
/** More brings nothing, since the server is the same. */
const fetchesAtOnce = 4;
const tellEveryMs = 250;

type Piece = { sessions: Fetched[]; finished?: string };
type Chunk = { sessions: Fetched[]; finished: string[] };

/**
 * Brings a backup back: rooms are fetched one by one, decrypted on threads of their own and imported in chunks, each with a
 * checkpoint after its import. What rooms unknown here hold comes in one download, by way of the disk. Ends when all is counted;
 * throws where it has to stop, and then the same call goes on from the last checkpoint.
 */
export async function runRestore(parts: RestoreParts, run: RestoreRun): Promise<Restored> {
  const { store, nowMs } = parts;
  const { operation_id: operationId } = run.operation;
  const state = {
    imported: run.operation.imported,
    already_had: run.operation.already_had,
    failed: run.operation.failed,
  };
  const begunMs = nowMs() - run.operation.took_ms;
  const done = () => state.imported + state.already_had + state.failed;
  const pace = createPace(nowMs);
  pace.at(done());
  let toldMs = 0;
  let hasTold = false;
  const tell = (force = false) => {
    if (!force && nowMs() - toldMs < tellEveryMs && nowMs() >= toldMs) return;
    toldMs = nowMs();
    const total = Math.max(run.count, done());
    const keysPerSecond = Math.round(pace.at(done()));
    const remainingMs = pace.remainingMs(total - done());
    parts.progress({
      operationId,
      kind: run.operation.kind,
      done: done(),
      total,
      failed: state.failed,
      keysPerSecond,
      ...(remainingMs === undefined ? {} : { remainingMs }),
    });
  };
  store.set(operationId, { version: run.version, total: Math.max(run.count, done()) });
  tell(true);

  const checkpoint = (chunk: Chunk, keys: FromBackup[], result: Imported<Key>) => {
    const failed: Checkpoint["failed"] = [
      ...keys.flatMap((key) => (key.ok ? [] : [{ roomId: key.roomId, sessionId: key.sessionId, reason: key.reason }])),
      ...result.refused.map(({ roomId, sessionId }) => ({ roomId, sessionId, reason: "not-importable" })),
    ];
    state.imported += result.imported;
    state.already_had += result.alreadyHad;
    state.failed += failed.length;
    const isFirst = !hasTold;
    hasTold = true;
    const finished = new Set(chunk.finished);
    store.checkpoint(operationId, {
      counts: { ...state, took_ms: Math.max(0, nowMs() - begunMs) },
      kept: chunk.sessions.filter((session) => !finished.has(session.roomId)),
      finishedRooms: chunk.finished,
      failed,
    });
    // that something comes at all is told at once
    tell(isFirst);
  };

  /** Decrypts some chunks ahead, imports in order, one checkpoint each. */
  const consume = async (pieces: () => Promise<Chunk | undefined>) => {
    const ahead: { chunk: Chunk; keys: Promise<FromBackup[]> }[] = [];
    let piece: Promise<{ chunk: Chunk | undefined }> | undefined;
    for (let more = true; more || ahead.length > 0;) {
      while (more && ahead.length < run.decryptor.width) {
        piece ??= pieces().then((chunk) => ({ chunk }));
        // what is decrypted is not held up by a server that lets us wait for more
        const ready = ahead[0]?.keys.then(
          () => undefined,
          () => undefined,
        );
        const come = ready === undefined ? await piece : await Promise.race([piece, ready]);
        if (come === undefined) break;
        piece = undefined;
        const { chunk } = come;
        if (chunk === undefined) {
          more = false;
          break;
        }
        const keys = chunk.sessions.length === 0 ? Promise.resolve([]) : run.decryptor.decrypt(chunk.sessions);
        // it may fail before its turn has come
        keys.catch(() => undefined);
        ahead.push({ chunk, keys });
      }
      const next = ahead.shift();
      if (next === undefined) continue;
      run.signal.throwIfAborted();
      const keys = await next.keys;
      const good = keys.filter((key) => key.ok);
      const result =
        good.length === 0 ? { imported: 0, alreadyHad: 0, refused: [] } : await parts.importKeys(run.version, good);
      checkpoint(next.chunk, keys, result);
      // the thread also syncs and sends
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  if (run.operation.whole === 0) {
    const { refused } = await restoreRooms(parts, run, consume);
    if (refused > 0 || done() < run.count) await fetchWhole(parts, run);
  }
  if (store.operation(operationId)?.whole === 1) await consume(wholeChunks(parts, operationId));

  const counts = { ...state, took_ms: Math.max(0, nowMs() - begunMs) };
  store.count(operationId, counts);
  store.set(operationId, { total: done() });
  tell(true);
  store.end(operationId, "done");
  return {
    total: done(),
    imported: state.imported,
    alreadyHad: state.already_had,
    failed: store.failed(operationId),
    tookMs: counts.took_ms,
  };
}

/**
 * Fetches rooms a few at once, each again from its start where the network failed; what was imported of it is left out. A room that
 * the server refuses while it answers otherwise stops no other: what it holds may come with the download of all.
 */
async function restoreRooms(
  parts: RestoreParts,
  run: RestoreRun,
  consume: (pieces: () => Promise<Chunk | undefined>) => Promise<void>,
): Promise<{ refused: number }> {
  const { store } = parts;
  const isThere = () => parts.isThere(run.version);
  let refused = 0;
  const operationId = run.operation.operation_id;
  const finished = store.finishedRooms(operationId);
  const begun = new Set<string>();
  const channel = createChannel<Piece>(chunkSize * 4, (piece) => piece.sessions.length + 1);
  const ended = new AbortController();
  const signal = AbortSignal.any([run.signal, ended.signal]);
  const next = () => parts.rooms().find((roomId) => !finished.has(roomId) && !begun.has(roomId));
  const fetchRooms = async () => {
    for (let roomId = next(); roomId !== undefined && !signal.aborted; roomId = next()) {
      begun.add(roomId);
      const kept = store.kept(operationId, roomId);
      const outcome = await retrying({ isThere, signal }, async (progressed) => {
        for await (const sessions of parts.fetch(run.version, roomId, signal)) {
          const fresh = sessions.filter(({ sessionId }) => !kept.has(sessionId) && kept.add(sessionId));
          if (fresh.length === 0) continue;
          progressed();
          await channel.put({ sessions: fresh });
        }
      });
      if (outcome === "done") await channel.put({ sessions: [], finished: roomId });
      else refused++;
    }
  };
  const fetching = Promise.all(Array.from({ length: fetchesAtOnce }, fetchRooms)).then(
    () => {
      channel.close();
    },
    (error: unknown) => {
      ended.abort();
      channel.close(asCoreError(error));
    },
  );
  try {
    await consume(chunksFrom(channel));
  } finally {
    ended.abort();
    channel.close();
    await fetching;
  }
  return { refused };
}

/** Chunks of at most `chunkSize`, sooner where nothing more is waiting: the first room shows at once. */
function chunksFrom(channel: ReturnType<typeof createChannel<Piece>>): () => Promise<Chunk | undefined> {
  let rest: Fetched[] = [];
  let finished: string[] = [];
  const emit = (sessions: Fetched[]): Chunk => {
    // a room is finished only with the chunk that holds its last session
    const held = new Set(rest.map((session) => session.roomId));
    const now = finished.filter((roomId) => !held.has(roomId));
    finished = finished.filter((roomId) => held.has(roomId));
    return { sessions, finished: now };
  };
  return async () => {
    for (;;) {
      if (rest.length >= chunkSize || ((rest.length > 0 || finished.length >= 50) && channel.isEmpty())) {
        const sessions = rest.slice(0, chunkSize);
        rest = rest.slice(chunkSize);
        return emit(sessions);
      }
      const piece = await channel.take();
      if (piece === undefined) {
        if (rest.length === 0 && finished.length === 0) return undefined;
        const sessions = rest.slice(0, chunkSize);
        rest = rest.slice(chunkSize);
        return emit(sessions);
      }
      rest.push(...piece.sessions);
      if (piece.finished !== undefined) finished.push(piece.finished);
    }
  };
}

/** More is there than rooms known here hold: one download of all, to the disk as it comes. */
async function fetchWhole(parts: RestoreParts, run: RestoreRun): Promise<void> {
  const { store } = parts;
  const operationId = run.operation.operation_id;
  const finished = store.finishedRooms(operationId);
  const isThere = () => parts.isThere(run.version);
  let furthest = 0;
  const outcome = await retrying({ isThere, signal: run.signal }, async (progressed) => {
    let came = 0;
    store.clearSessions(operationId);
    for await (const sessions of parts.fetch(run.version, undefined, run.signal)) {
      store.addSessions(
        operationId,
        sessions.filter((session) => !finished.has(session.roomId)),
      );
      // each try begins at the beginning: nothing is won before it is past the last one's end
      if ((came += sessions.length) <= furthest) continue;
      furthest = came;
      progressed();
    }
  });
  if (outcome !== "done") throw outcome.refusedWith;
  store.set(operationId, { whole: 1 });
}

/** What the download of all brought, room by room; small rooms share a chunk. */
function wholeChunks({ store }: RestoreParts, operationId: string): () => Promise<Chunk | undefined> {
  const rooms = store.sessionRooms(operationId);
  let after = 0;
  // of an earlier run: this one does not come back to what it had
  let kept: Set<string> | undefined;
  return () => {
    const chunk: Chunk = { sessions: [], finished: [] };
    while (chunk.sessions.length < chunkSize) {
      const roomId = rooms[0];
      if (roomId === undefined) break;
      const wanted = chunkSize - chunk.sessions.length;
      const rows = store.sessionsOf(operationId, roomId, after, wanted);
      kept ??= store.kept(operationId, roomId);
      for (const row of rows)
        if (!kept.has(row.session_id)) chunk.sessions.push({ roomId, sessionId: row.session_id, data: row.data });
      after = rows.at(-1)?.number ?? after;
      if (rows.length === wanted) continue;
      chunk.finished.push(roomId);
      rooms.shift();
      after = 0;
      kept = undefined;
    }
    return Promise.resolve(chunk.sessions.length + chunk.finished.length === 0 ? undefined : chunk);
  };
}

import type { Failure } from "../../../../preload/contract/define.ts";
import type { BackupProgress, Operation, Restored } from "../../../../preload/contract/backup.ts";
import { asCoreError, CoreError, toFailure } from "../../errors.ts";
import { log } from "../../log.ts";
import type { BackupStore, OperationRow } from "../../storage/backup-store.ts";

/** As it was written by the run that met it. */
const failureOf = ({ failure }: OperationRow): Pick<Operation, "failure"> =>
  failure === null ? {} : { failure: JSON.parse(failure) as Failure };

type Work<T> = (row: OperationRow, signal: AbortSignal) => Promise<T>;
type Running = { kind: Operation["kind"]; promise: Promise<unknown>; controller: AbortController };

/** After these the same operation can go on; all others end it. */
const passing = new Set(["cancelled", "unreachable", "rate-limited", "timeout", "disk-full", "unexpected"]);

export type Operations = ReturnType<typeof createOperations>;

/**
 * Long work that outlives its caller: known by the caller's `operationId`, so that it can be asked about, cancelled, and asked for
 * again without being done twice.
 */
export function createOperations({ store, nowMs }: { store: BackupStore; nowMs: () => number }) {
  const running = new Map<string, Running>();
  const latest = new Map<string, BackupProgress>();
  let stopping = false;
  // nothing of an earlier run still runs
  store.interruptAll();

  const start = <T>(operationId: string, kind: Operation["kind"], work: Work<T>, again: (row: OperationRow) => T) => {
    const one = running.get(operationId);
    const before = store.operation(operationId);
    if ((one?.kind ?? before?.kind ?? kind) !== kind)
      throw new CoreError("conflict", { details: { kind: "operation" } });
    if (one !== undefined) return one.promise as Promise<T>;
    if (before?.at === "done") return Promise.resolve(again(before));
    // two at once would import the same keys in turn, each slower
    for (const other of running.values())
      if (other.kind === kind) throw new CoreError("conflict", { details: { kind: "operation-running" } });
    store.begin(operationId, kind, nowMs());
    const row = store.operation(operationId);
    if (row === undefined) throw new CoreError("unexpected");
    const controller = new AbortController();
    const promise = work(row, controller.signal)
      .catch((error: unknown) => {
        const known = controller.signal.aborted ? new CoreError("cancelled", { cause: error }) : asCoreError(error);
        if (known.code === "unexpected") log.error(`a ${kind} failed`, error);
        try {
          // the app's own end is nobody's wish and no failure: it goes on at the next start
          store.set(operationId, { failure: stopping ? null : JSON.stringify(toFailure(known)) });
          if (passing.has(known.code)) store.set(operationId, { at: "interrupted" });
          else store.end(operationId, "failed");
        } catch (unwritten) {
          log.warn(`the end of a ${kind} was not written down: ${asCoreError(unwritten).code}`);
        }
        throw known;
      })
      .finally(() => {
        running.delete(operationId);
        latest.delete(operationId);
      });
    running.set(operationId, { kind, promise, controller });
    return promise;
  };

  return {
    start,
    progressed: (progress: BackupProgress) => {
      latest.set(progress.operationId, progress);
    },
    cancel: async (operationId: string): Promise<void> => {
      const one = running.get(operationId);
      if (one === undefined) {
        if (store.operation(operationId) === undefined) throw new CoreError("not-found");
        return;
      }
      one.controller.abort();
      await one.promise.catch(() => undefined);
    },
    list: (): Operation[] =>
      store.operations().map((row) => ({
        operationId: row.operation_id,
        kind: row.kind,
        // where the disk is full, the row could not be told that it ended
        at: row.at === "running" && !running.has(row.operation_id) ? "interrupted" : row.at,
        done: latest.get(row.operation_id)?.done ?? row.imported + row.already_had + row.failed,
        total: latest.get(row.operation_id)?.total ?? row.total,
        ...failureOf(row),
      })),
    find: (operationId: string) => store.operation(operationId),
    restored: (row: OperationRow): Restored => ({
      total: row.total,
      imported: row.imported,
      alreadyHad: row.already_had,
      failed: store.failed(row.operation_id),
      tookMs: row.took_ms,
    }),
    stop: async (): Promise<void> => {
      stopping = true;
      for (const one of running.values()) one.controller.abort();
      await Promise.allSettled([...running.values()].map((one) => one.promise));
    },
  };
}

/** Backup and restore of the fake: believable counts, progress as the real one tells it, and the ways in which it fails. */
import type { BackupProgress, BackupStatus, Operation, Restored } from "../../preload/contract/backup.ts";
import type { Failure, FailureCode } from "../../preload/contract/define.ts";
import type { CommandName, EventName, Events, Handlers } from "../../preload/contract/index.ts";

export type BackupScenario = {
  status?: BackupStatus;
  /** What an earlier run of the app left. */
  operations?: Operation[];
  failed?: Restored["failed"];
  /** `by-hand`: long work goes on only as far as a test says. Otherwise it ends at once. */
  work?: "at-once" | "by-hand";
  /** Why a chosen file is refused: the failure's code, with what kind of fault it has. */
  refuses?: { code: FailureCode; kind?: string };
  /** What the host's file dialog answers. */
  chooses?: "a-file" | "nothing" | "no-dialog";
};

type Names = "file.choose" | Extract<CommandName, `backup.${string}`>;
type Parts = {
  scenario: BackupScenario;
  emit: <E extends EventName>(event: E, payload: Events[E]) => void;
  fail: (code: FailureCode, details?: unknown) => never;
};
export type FakeBackup = {
  setStatus(status: BackupStatus): void;
  /** How far the work of this kind is now. */
  progress(kind: Operation["kind"], progress: Partial<Omit<BackupProgress, "operationId" | "kind">>): void;
  /** The work of this kind comes to its end, or fails. */
  end(kind: Operation["kind"], failure?: { code: FailureCode; kind?: string }): void;
  running(): Operation["kind"][];
};
export const filePassphrase = "velvet otter borrows seventeen ladders";
const total = 1893;

type Running = { kind: Operation["kind"]; end: (why?: { code: FailureCode; kind?: string }) => void };

export function fakeBackup({ scenario, emit, fail }: Parts): {
  handlers: Pick<Handlers<CommandName>, Names>;
  fake: FakeBackup;
  unbackedUp: () => { unbackedUp: number; total: number };
} {
  let status: BackupStatus = scenario.status ?? {
    ...{ at: "on", version: "7", backedUp: total, total, uploading: false },
  };
  const known = new Map<string, Operation>((scenario.operations ?? []).map((one) => [one.operationId, one]));
  const running = new Map<string, Running>();
  let grants = 0;
  const given = new Set<string>();

  const setStatus = (next: BackupStatus): void => {
    status = next;
    emit("backup.changed", { status });
  };
  const restored = (): Restored => {
    const failed = scenario.failed ?? [];
    return { total, imported: total - failed.length - 12, alreadyHad: 12, failed, tookMs: 900 };
  };
  const work = async <T>(operationId: string, kind: Operation["kind"], result: () => T): Promise<T> => {
    if ([...running.values()].some((one) => one.kind === kind)) fail("conflict", { kind: "operation-running" });
    const operation: Operation = { operationId, kind, at: "running", done: 0, total };
    known.set(operationId, operation);
    if (scenario.work === "by-hand") {
      const why = await new Promise<{ code: FailureCode; kind?: string } | undefined>((end) => {
        running.set(operationId, { kind, end });
      });
      running.delete(operationId);
      if (why !== undefined) {
        known.set(operationId, { ...operation, at: why.code === "cancelled" ? "interrupted" : "failed" });
        fail(why.code, why.kind === undefined ? undefined : { kind: why.kind });
      }
    }
    known.set(operationId, { ...operation, at: "done", done: total });
    return result();
  };
  const redeem = (path: string): void => {
    // as the host does: a word for a file is good for once
    if (!given.delete(path)) fail("forbidden");
  };
  const existing = (): Exclude<BackupStatus, { at: "off" }> => {
    if (status.at === "off") return fail("not-found", { kind: "backup" });
    return status;
  };

  const handlers: Pick<Handlers<CommandName>, Names> = {
    "file.choose": ({ purpose, name }) => {
      if (scenario.chooses === "no-dialog") fail("unsupported");
      if (scenario.chooses === "nothing") return null;
      const path = `grant-${(grants += 1)}`;
      given.add(path);
      return { path, name: name ?? "element-keys.txt", ...(purpose === "open" ? { sizeBytes: 1_402_331 } : {}) };
    },
    "backup.status": () => status,
    "backup.create": () => {
      setStatus({ at: "on", version: "8", backedUp: 0, total, uploading: true });
      return { version: "8" };
    },
    "backup.delete": ({ version }) => {
      if (existing().version !== version) fail("not-found");
      setStatus({ at: "off" });
      return {};
    },
    "backup.restore": ({ operationId }) => {
      if (existing().at !== "on") fail("not-found", { kind: "backup-key" });
      return work(operationId, "restore", restored);
    },
    "backup.resume": ({ operationId }) => {
      if (!known.has(operationId)) fail("not-found");
      return work(operationId, "restore", restored);
    },
    "backup.exportKeys": ({ path, operationId }) => {
      redeem(path);
      if (scenario.refuses !== undefined) fail(scenario.refuses.code, { kind: scenario.refuses.kind });
      return work(operationId, "export", () => ({ exported: total, sizeBytes: 1_402_331 }));
    },
    "backup.importKeys": ({ path, passphrase, operationId }) => {
      redeem(path);
      if (scenario.refuses !== undefined) fail(scenario.refuses.code, { kind: scenario.refuses.kind });
      if (passphrase !== filePassphrase) fail("wrong-key", { kind: "passphrase" });
      return work(operationId, "import", restored);
    },
    "backup.cancel": ({ operationId }) => {
      if (!known.has(operationId)) fail("not-found");
      running.get(operationId)?.end({ code: "cancelled" });
      return {};
    },
    "backup.operations": () => [...known.values()].reverse(),
  };
  const idOf = (kind: Operation["kind"]): [string, Running] => {
    const found = [...running].find(([, one]) => one.kind === kind);
    if (found === undefined) throw new Error(`no ${kind} is running`);
    return found;
  };

  return {
    handlers,
    unbackedUp: () =>
      status.at === "off"
        ? { unbackedUp: total, total }
        : { unbackedUp: status.total - status.backedUp, total: status.total },
    fake: {
      setStatus,
      progress(kind, progress) {
        const [operationId] = idOf(kind);
        emit("backup.progress", { operationId, kind, done: 0, total, failed: 0, keysPerSecond: 0, ...progress });
      },
      end(kind, failure) {
        idOf(kind)[1].end(failure);
      },
      running: () => [...running.values()].map((one) => one.kind),
    },
  };
}

/** As a status tells why nothing goes up. */
export const awayFailure: Failure = { code: "unreachable", message: "unreachable", retryable: true };

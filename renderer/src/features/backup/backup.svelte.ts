/** How much of the history is backed up, and the long work on it: bringing it back, writing it to a file, reading it from one. */
import type { BackupProgress, BackupStatus, Operation, Restored } from "../../../../preload/contract/backup.ts";
import type { Failure } from "../../../../preload/contract/define.ts";
import { call, failureOf, on } from "../../bridge.ts";
import { m } from "../../paraglide/messages.js";

export type Exported = { exported: number; sizeBytes: number };
export type WorkState =
  | { at: "running" }
  | { at: "stopping" }
  /** By the person's own wish: goes on when they say so. */
  | { at: "paused" }
  /** Goes on by itself. Without a failure: the app was closed. */
  | { at: "interrupted"; failure?: Failure }
  | { at: "failed"; failure: Failure }
  | { at: "restored"; result: Restored }
  | { at: "exported"; result: Exported };
export type Work = {
  operationId: string;
  kind: Operation["kind"];
  /** The file's name, for import and export. */
  file?: string;
  progress: Pick<BackupProgress, "done" | "total" | "failed" | "keysPerSecond" | "remainingMs">;
  state: WorkState;
};
export type Task = { at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure };

const keyFiles = "txt";
/** A restore that the network broke off is tried again after this, then after twice as long. */
const firstWaitMs = 4000;
const longestWaitMs = 120_000;
const begun = { done: 0, total: 0, failed: 0, keysPerSecond: 0 };
export const isRunning = (work: Work): boolean => work.state.at === "running" || work.state.at === "stopping";
export const isEnded = (work: Work): boolean => work.state.at === "restored" || work.state.at === "exported";

export class Backup {
  status = $state.raw<BackupStatus | undefined>();
  failure = $state.raw<Failure | undefined>();
  /** One of each kind at most: the newest. */
  works = $state.raw<readonly Work[]>([]);
  making = $state.raw<Task>({ at: "idle" });
  deleting = $state.raw<Task>({ at: "idle" });
  readonly restoring = $derived(this.works.find((one) => one.kind === "restore"));
  /** Not yet on the server. */
  readonly waiting = $derived(
    this.status === undefined || this.status.at === "off" ? 0 : Math.max(0, this.status.total - this.status.backedUp),
  );
  /** How much of the history is in a backup that is in use. */
  readonly coverage = $derived(
    this.status?.at === "on" || this.status?.at === "key-missing"
      ? { done: this.status.backedUp, total: this.status.total }
      : undefined,
  );
  #onended: (work: Work) => void;
  /** What an earlier session asked for ends after it did, and is nobody's any more. */
  #session = 0;
  #known = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waitMs = firstWaitMs;

  constructor(onended: (work: Work) => void) {
    this.#onended = onended;
    on("backup.changed", ({ status }) => {
      this.status = status;
    });
    on("backup.progress", ({ operationId, kind, ...progress }) => {
      const known = this.works.find((one) => one.operationId === operationId);
      if (known === undefined) return;
      this.#waitMs = firstWaitMs;
      this.#put({ ...known, progress });
    });
  }

  load = async (): Promise<void> => {
    const session = this.#session;
    try {
      const status = await call("backup.status", {});
      if (session !== this.#session) return;
      this.status = status;
      this.failure = undefined;
    } catch (error) {
      if (session === this.#session) this.failure = failureOf(error);
    }
  };

  /** The server is there: what was interrupted goes on. */
  wake = async (): Promise<void> => {
    if (!this.#known) await this.#recall();
    const { restoring } = this;
    if (restoring?.state.at === "interrupted") void this.resume(restoring.operationId);
  };

  /** The newest restore of an earlier run, or of this one before the page was loaded anew. */
  async #recall(): Promise<void> {
    const session = this.#session;
    try {
      const newest = (await call("backup.operations", {})).find((one) => one.kind === "restore");
      if (session !== this.#session) return;
      this.#known = true;
      if (newest === undefined || this.restoring !== undefined || ["done", "failed"].includes(newest.at)) return;
      const { operationId, kind, done, total, failure } = newest;
      // what a person paused stays paused; all else goes on by itself
      const state: WorkState =
        failure?.code === "cancelled"
          ? { at: "paused" }
          : { at: "interrupted", ...(failure === undefined ? {} : { failure }) };
      this.#put({ operationId, kind, progress: { ...begun, done, total }, state });
    } catch {
      // it is asked again when the server is there the next time; nothing is lost meanwhile
      this.#known = false;
    }
  }

  clear(): void {
    this.#session += 1;
    clearTimeout(this.#timer);
    this.#waitMs = firstWaitMs;
    this.#known = false;
    this.status = undefined;
    this.failure = undefined;
    this.works = [];
    this.making = { at: "idle" };
    this.deleting = { at: "idle" };
  }

  /** Brings everything back that the backup holds. One that is on its way, or waits to go on, is that one. */
  restore = async (): Promise<void> => {
    const { restoring } = this;
    if (restoring !== undefined && isRunning(restoring)) return;
    if (restoring?.state.at === "paused" || restoring?.state.at === "interrupted") {
      await this.resume(restoring.operationId);
      return;
    }
    const operationId = crypto.randomUUID();
    await this.#run({ operationId, kind: "restore", progress: begun, state: { at: "running" } }, async () => ({
      at: "restored",
      result: await call("backup.restore", { operationId }),
    }));
  };

  resume = async (operationId: string): Promise<void> => {
    const work = this.works.find((one) => one.operationId === operationId);
    if (work === undefined || isRunning(work)) return;
    await this.#run({ ...work, state: { at: "running" } }, async () => ({
      at: "restored",
      result: await call("backup.resume", { operationId }),
    }));
  };

  /** What was done stays: a restore pauses, an import has what it has, an export leaves no file. */
  stop = async (operationId: string): Promise<void> => {
    const work = this.works.find((one) => one.operationId === operationId);
    if (work?.state.at !== "running") return;
    this.#put({ ...work, state: { at: "stopping" } });
    try {
      await call("backup.cancel", { operationId });
    } catch (error) {
      // it had ended just before, or goes on: either way its own answer says so
      const now = this.works.find((one) => one.operationId === operationId);
      if (now?.state.at === "stopping" && failureOf(error).code !== "not-found")
        this.#put({ ...now, state: { at: "running" } });
    }
  };

  dismiss = (operationId: string): void => {
    this.works = this.works.filter((one) => one.operationId !== operationId);
  };

  /** False where the person chose no place. Each choice serves one try: the host's word for a file is good for once. */
  exportKeys = (passphrase: string): Promise<boolean> =>
    this.#withFile("export", async (path, operationId) => ({
      at: "exported",
      result: await call("backup.exportKeys", { path, passphrase, operationId }),
    }));

  importKeys = (passphrase: string): Promise<boolean> =>
    this.#withFile("import", async (path, operationId) => ({
      at: "restored",
      result: await call("backup.importKeys", { path, passphrase, operationId }),
    }));

  async #withFile(
    kind: "import" | "export",
    run: (path: string, operationId: string) => Promise<WorkState>,
  ): Promise<boolean> {
    const operationId = crypto.randomUUID();
    const asked: Work = { operationId, kind, progress: begun, state: { at: "running" } };
    let chosen;
    try {
      chosen = await call("file.choose", {
        purpose: kind === "import" ? "open" : "save",
        ...(kind === "export" ? { name: `${m.keyfile_name()}.${keyFiles}` } : {}),
        ...(kind === "export" ? { filters: [{ name: m.keyfile_kind(), extensions: [keyFiles] }] } : {}),
      });
    } catch (error) {
      this.#put({ ...asked, state: { at: "failed", failure: failureOf(error) } });
      return false;
    }
    if (chosen === null) return false;
    const { path, name } = chosen;
    await this.#run({ ...asked, file: name }, () => run(path, operationId));
    return true;
  }

  create = async (): Promise<void> => {
    this.making = { at: "busy" };
    try {
      await call("backup.create", {});
      this.making = { at: "idle" };
      await this.load();
    } catch (error) {
      this.making = { at: "failed", failure: failureOf(error) };
    }
  };

  /** True: it is gone. */
  delete = async (version: string): Promise<boolean> => {
    this.deleting = { at: "busy" };
    try {
      await call("backup.delete", { version });
      this.deleting = { at: "idle" };
      await this.load();
      return true;
    } catch (error) {
      this.deleting = { at: "failed", failure: failureOf(error) };
      return false;
    }
  };

  async #run(work: Work, ask: () => Promise<WorkState>): Promise<void> {
    const session = this.#session;
    this.#put(work);
    const state = await ask().catch((error: unknown): WorkState => this.#stateAfter(work.kind, failureOf(error)));
    if (session !== this.#session) return;
    const now = this.works.find((one) => one.operationId === work.operationId);
    if (now === undefined) return;
    // a file's work that was cancelled left nothing to go on with
    if (state.at === "paused" && work.kind !== "restore") this.dismiss(work.operationId);
    else this.#put({ ...now, state });
    if (state.at === "interrupted") this.#tryLater();
    if (state.at === "restored" || state.at === "exported") this.#onended({ ...now, state });
  }

  /** The connection may never have been seen to fail: the restore's own request did. */
  #tryLater(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.wake(), this.#waitMs);
    this.#waitMs = Math.min(this.#waitMs * 2, longestWaitMs);
  }

  #stateAfter(kind: Work["kind"], failure: Failure): WorkState {
    if (failure.code === "cancelled") return { at: "paused" };
    const passes = ["unreachable", "timeout", "rate-limited"].includes(failure.code);
    return kind === "restore" && passes ? { at: "interrupted", failure } : { at: "failed", failure };
  }

  #put(work: Work): void {
    this.works = [...this.works.filter((one) => one.kind !== work.kind), work];
  }
}

import { close, fdatasync, fsync, open } from "node:fs";
import { open as openHandle, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { CryptoStoreError } from "./sql-file.ts";
import type { Scheduler } from "./scheduler.ts";
import type { SqlFile } from "./sql-file.ts";

const openFd = promisify(open);
const closeFd = promisify(close);
const syncData = promisify(fdatasync);
const syncAll = promisify(fsync);

const lookMs = 100;
/** Some 4 MiB. Under load a step was seen to block for 18 to 57 ms, the whole log of an import of 10,000 keys for 150. */
const stepFrames = 1000;
const restStepFrames = 250;
const copyChunkBytes = 1024 * 1024;

/** Makes a directory's entries durable; Windows knows no such thing. */
async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === "win32") return;
  const fd = await openFd(directory, "r");
  try {
    await syncAll(fd);
  } finally {
    await closeFd(fd);
  }
}

/** What makes commits last: the barrier, moving the log into the file when idle, and snapshots. */
export class Durability {
  private readonly sql: SqlFile;
  private readonly scheduler: Scheduler;
  private walFd: number | undefined;
  private durableCommits = 0;
  private round: Promise<void> | undefined;
  private nextRound: Promise<void> | undefined;
  private failure: Error | undefined;
  private timer: NodeJS.Timeout | undefined;
  private commitsSeen = 0;
  private snapshots: Promise<void> = Promise.resolve();
  private isCopying = false;
  private isClosed = false;

  constructor(sql: SqlFile, scheduler: Scheduler) {
    this.sql = sql;
    this.scheduler = scheduler;
  }

  /**
   * Resolves once every transaction that has completed survives a loss of power. Only the log needs syncing: SQLite
   * itself syncs log and file when it moves frames from the one to the other. Callers at the same time share a sync.
   */
  sync(): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    const { groupEnd } = this.sql;
    if (groupEnd !== undefined) return groupEnd.then(() => this.sync());
    if (this.isClosed || this.sql.commits === this.durableCommits) return Promise.resolve();
    // A round that has begun may have missed the caller's commit.
    if (this.round !== undefined) return (this.nextRound ??= this.round.then(() => this.startNextRound()));
    return (this.round = this.syncRound());
  }

  private startNextRound(): Promise<void> {
    this.nextRound = undefined;
    return this.sync();
  }

  private async syncRound(): Promise<void> {
    const { commits } = this.sql;
    try {
      if (this.walFd === undefined) {
        this.walFd = await openFd(`${this.sql.file}-wal`, "r+");
        await syncDirectory(dirname(this.sql.file));
      }
      await syncData(this.walFd);
      this.durableCommits = commits;
    } catch (error) {
      // After a failed sync the kernel may drop the pages and report the next one as good.
      this.failure = new CryptoStoreError("failed", "the crypto store could not be made durable", error);
      throw this.failure;
    } finally {
      this.round = undefined;
      if (this.isClosed) await this.closeWal();
    }
  }

  /** Called after each commit that wrote. */
  wrote(): void {
    if (this.timer !== undefined || this.isClosed) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.checkpointInSteps();
    }, lookMs);
    this.timer.unref();
  }

  /** Moves the log into the file in small steps while work goes on, and what is left when it rests. */
  private async checkpointInSteps(): Promise<void> {
    const isResting = this.sql.commits === this.commitsSeen;
    this.commitsSeen = this.sql.commits;
    await this.untilQuiet();
    if (!this.isOver() && this.sql.framesToMove() >= (isResting ? restStepFrames : stepFrames)) {
      // Syncing the log beforehand, off this thread, leaves SQLite little to wait for.
      await this.sync().catch(() => undefined);
      await this.untilQuiet();
      if (!this.isOver()) this.sql.tryCheckpoint();
    }
    if (!isResting) this.wrote();
  }

  /** Resolves when SQLite has no transaction open. */
  private async untilQuiet(): Promise<void> {
    await this.scheduler.untilNoWriter();
    for (let { groupEnd } = this.sql; groupEnd !== undefined; groupEnd = this.sql.groupEnd) {
      await groupEnd;
      await this.scheduler.untilNoWriter();
    }
  }

  /** No checkpoint: closed, being copied, or the log may not be durable. */
  private isOver(): boolean {
    return this.isClosed || this.isCopying || this.failure !== undefined;
  }

  /**
   * Writes an encrypted copy under the same key, complete or not at all. SQLite's backup API refuses an encrypted
   * source (it opens the target without a key), so the log is moved into the file and held while the file is copied.
   */
  snapshot(target: string): Promise<void> {
    const run = this.snapshots.then(() => this.copyTo(target));
    this.snapshots = run.catch(() => undefined);
    return run;
  }

  private async copyTo(target: string): Promise<void> {
    await this.untilQuiet();
    this.assertOpen();
    this.sql.checkpoint("TRUNCATE");
    this.sql.holdCheckpoints(true);
    this.isCopying = true;
    const partial = `${target}.partial`;
    try {
      await this.copyFile(partial);
      await rename(partial, target);
      await syncDirectory(dirname(target));
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    } finally {
      this.isCopying = false;
      if (!this.isClosed) this.sql.holdCheckpoints(false);
    }
  }

  private async copyFile(target: string): Promise<void> {
    const handle = await openHandle(target, "w", 0o600);
    try {
      const chunk = Buffer.alloc(copyChunkBytes);
      for (let position = 0; ;) {
        const length = await this.sql.readMain(chunk, position);
        this.assertOpen();
        if (length === 0) break;
        await handle.writeFile(chunk.subarray(0, length));
        position += length;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  private assertOpen(): void {
    if (this.isClosed) throw new CryptoStoreError("failed", "the crypto store was closed");
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    if (this.round === undefined) void this.closeWal();
  }

  private async closeWal(): Promise<void> {
    const fd = this.walFd;
    this.walFd = undefined;
    if (fd !== undefined) await closeFd(fd);
  }
}

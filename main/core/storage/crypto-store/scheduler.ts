import type { IDBTransaction } from "./transaction.ts";

/** How long callbacks run one after another before timers and I/O get their turn. */
const sliceMs = 4;

/**
 * Orders transactions and hands out events, each after the microtasks of the one before have drained. Within a slice
 * it goes on by `process.nextTick` from a microtask (no turn of the event loop), then by `setImmediate`.
 */
export class Scheduler {
  /** Live transactions in order of creation. */
  private readonly live = new Set<IDBTransaction>();
  private readonly tasks: (() => boolean)[] = [];
  private readonly ready: IDBTransaction[] = [];
  private active: IDBTransaction[] = [];
  private idleWaiters: (() => void)[] = [];
  private writers = 0;
  private writer: IDBTransaction | undefined;
  private isDraining = false;
  private isTurnPending = false;
  private isWaitingForTurn = false;
  private sliceStartMs = 0;

  /** Registers a transaction that was created in the current task, in which it is active. */
  add(transaction: IDBTransaction): void {
    this.live.add(transaction);
    if (transaction.mode !== "readonly") this.writers++;
    this.active.push(transaction);
    if (this.writers === 0 || this.canStart(transaction)) this.start(transaction);
    this.wake();
  }

  /** A transaction is over: the next ones that waited for it may begin. */
  remove(transaction: IDBTransaction): void {
    if (!this.live.delete(transaction)) return;
    if (transaction.mode !== "readonly") this.writers--;
    if (this.writer === transaction) this.writer = undefined;
    if (this.writers > 0 || transaction.mode !== "readonly") {
      for (const waiting of this.live) if (!waiting.isStarted && this.canStart(waiting)) this.start(waiting);
    }
    if (this.writer === undefined) for (const resolve of this.idleWaiters.splice(0)) resolve();
  }

  /** Runs a task after the microtasks that are queued now. It answers whether it called a listener. */
  enqueue(task: () => boolean): void {
    this.tasks.push(task);
    this.wake();
  }

  /** A started, inactive transaction has requests to run, or nothing left to do. */
  markReady(transaction: IDBTransaction): void {
    if (transaction.isReady || !transaction.isStarted) return;
    transaction.isReady = true;
    this.ready.push(transaction);
    this.wake();
  }

  /** Marks a transaction active until the microtasks of the event that was just given have drained. */
  activate(transaction: IDBTransaction): void {
    transaction.at = "active";
    this.active.push(transaction);
    this.wake();
  }

  /** Resolves when no transaction that may write has begun. */
  async untilNoWriter(): Promise<void> {
    while (this.writer !== undefined) await new Promise<void>((resolve) => this.idleWaiters.push(resolve));
  }

  liveTransactions(): IDBTransaction[] {
    return [...this.live];
  }

  /** One SQLite connection has one write transaction, so writers of disjoint scopes take turns too. */
  private canStart(transaction: IDBTransaction): boolean {
    if (transaction.mode !== "readonly" && this.writer !== undefined) return false;
    for (const earlier of this.live) {
      if (earlier === transaction) return true;
      if ((transaction.mode !== "readonly" || earlier.mode !== "readonly") && earlier.overlaps(transaction))
        return false;
    }
    return true;
  }

  private start(transaction: IDBTransaction): void {
    transaction.isStarted = true;
    if (transaction.mode !== "readonly") this.writer = transaction;
    if (transaction.at !== "active") this.markReady(transaction);
  }

  private wake(): void {
    if (this.isDraining || this.isWaitingForTurn) return;
    this.isDraining = true;
    queueMicrotask(this.afterMicrotasks);
  }

  private readonly afterMicrotasks = (): void => {
    process.nextTick(this.step);
  };

  private readonly turn = (): void => {
    this.isTurnPending = false;
    if (!this.isWaitingForTurn) return;
    this.isWaitingForTurn = false;
    this.isDraining = true;
    this.step();
  };

  private readonly step = (): void => {
    this.isDraining = false;
    this.deactivate();
    if (!this.isTurnPending) {
      this.isTurnPending = true;
      this.sliceStartMs = performance.now();
      setImmediate(this.turn);
    }
    while (this.tasks.length > 0 || this.ready.length > 0) {
      if (performance.now() - this.sliceStartMs > sliceMs) {
        this.isWaitingForTurn = true;
        return;
      }
      if (this.runNext()) {
        this.wake();
        return;
      }
    }
  };

  /** Runs one task or a transaction's next requests; true where a callback ran whose microtasks must drain first. */
  private runNext(): boolean {
    const task = this.tasks.shift();
    if (task !== undefined) {
      return task();
    }
    const transaction = this.ready.shift();
    if (transaction === undefined) return false;
    transaction.isReady = false;
    return transaction.advance(this.sliceStartMs + sliceMs);
  }

  private deactivate(): void {
    if (this.active.length === 0) return;
    const active = this.active;
    this.active = [];
    for (const transaction of active) {
      if (transaction.at === "active") transaction.at = "inactive";
      if (transaction.at !== "finished") this.markReady(transaction);
    }
  }
}

export type Listener = (event: StoreEvent) => unknown;
export type Handler = Listener | null;

/** The part of DOM's Event that IndexedDB's callers read. Cheaper than Node's Event, of which a decryption makes eight. */
export class StoreEvent {
  readonly type: string;
  readonly target: StoreEventTarget;
  readonly bubbles: boolean;
  readonly cancelable: boolean;
  currentTarget: StoreEventTarget;
  defaultPrevented = false;
  stopped = false;

  constructor(type: string, target: StoreEventTarget, bubbles: boolean, cancelable: boolean) {
    this.type = type;
    this.target = target;
    this.currentTarget = target;
    this.bubbles = bubbles;
    this.cancelable = cancelable;
  }

  preventDefault(): void {
    if (this.cancelable) this.defaultPrevented = true;
  }

  stopPropagation(): void {
    this.stopped = true;
  }
}

export class IDBVersionChangeEvent extends StoreEvent {
  readonly oldVersion: number;
  readonly newVersion: number | null;

  constructor(type: string, target: StoreEventTarget, oldVersion: number, newVersion: number | null) {
    super(type, target, false, false);
    this.oldVersion = oldVersion;
    this.newVersion = newVersion;
  }
}

/** What an event did: whether anyone was called, whether a caller threw, whether its default was prevented. */
export interface Dispatched {
  heard: boolean;
  threw: boolean;
  prevented: boolean;
}

/** `on*` properties, `addEventListener`, and the path request → transaction → database. */
export abstract class StoreEventTarget {
  listeners: Map<string, Set<Listener>> | undefined;

  abstract parentTarget(): StoreEventTarget | null;
  abstract handlerOf(type: string): Handler | undefined;

  addEventListener(type: string, listener: Listener | null): void {
    if (listener === null) return;
    this.listeners ??= new Map();
    const registered = this.listeners.get(type);
    if (registered) registered.add(listener);
    else this.listeners.set(type, new Set([listener]));
  }

  removeEventListener(type: string, listener: Listener | null): void {
    if (listener !== null) this.listeners?.get(type)?.delete(listener);
  }

  hears(type: string): boolean {
    return Boolean(this.handlerOf(type)) || (this.listeners?.get(type)?.size ?? 0) > 0;
  }

  dispatchStoreEvent(event: StoreEvent): Dispatched {
    const outcome = { heard: false, threw: false, prevented: false };
    const path: StoreEventTarget[] = [event.target];
    if (event.bubbles) {
      for (let parent = event.target.parentTarget(); parent !== null; parent = parent.parentTarget()) path.push(parent);
    }
    for (const target of path) {
      if (event.stopped) break;
      event.currentTarget = target;
      const handler = target.handlerOf(event.type);
      if (handler) callListener(target, handler, event, outcome);
      for (const listener of target.listeners?.get(event.type) ?? []) callListener(target, listener, event, outcome);
    }
    outcome.prevented = event.defaultPrevented;
    return outcome;
  }
}

function callListener(target: StoreEventTarget, listener: Listener, event: StoreEvent, outcome: Dispatched): void {
  outcome.heard = true;
  try {
    listener.call(target, event);
  } catch (error) {
    outcome.threw = true;
    // As EventTarget does: the error is the process's to report, the other listeners are still called.
    process.nextTick(() => {
      throw error;
    });
  }
}

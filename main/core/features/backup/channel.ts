/** A queue between those who fetch and the one who takes: `put` waits while it is full, so that fetching never runs far ahead. */
export function createChannel<T>(capacity: number, sizeOf: (value: T) => number) {
  const values: T[] = [];
  let held = 0;
  let closed: { error?: Error } | undefined;
  let wakeTaker: (() => void) | undefined;
  const wakePutters: (() => void)[] = [];
  return {
    put: async (value: T): Promise<void> => {
      while (held >= capacity && closed === undefined) await new Promise<void>((resolve) => wakePutters.push(resolve));
      if (closed !== undefined) return;
      values.push(value);
      held += sizeOf(value);
      wakeTaker?.();
    },
    /** The next value; undefined once it is closed and empty. Throws what it was closed with. */
    take: async (): Promise<T | undefined> => {
      while (values.length === 0) {
        if (closed !== undefined) {
          if (closed.error !== undefined) throw closed.error;
          return undefined;
        }
        await new Promise<void>((resolve) => (wakeTaker = resolve));
      }
      const value = values.shift();
      if (value !== undefined) held -= sizeOf(value);
      wakePutters.shift()?.();
      return value;
    },
    isEmpty: () => values.length === 0,
    close: (error?: Error): void => {
      closed ??= error === undefined ? {} : { error };
      wakeTaker?.();
      for (const wake of wakePutters.splice(0)) wake();
    },
  };
}

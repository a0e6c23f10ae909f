/** Links that the system hands to the app wait here until the window asks, for it may not be there yet, or be locked. */
export type OpenedLinks = {
  put: (text: string) => void;
  take: () => { text?: string; others: number };
};

const longest = 2048;
/** Nobody opens so many by hand. */
const most = 10_000;

/** `onWaiting`: there is one to be taken now, and there was none before. */
export function createOpenedLinks(onWaiting: () => void): OpenedLinks {
  let waiting: { text: string; others: number } | undefined;
  return {
    put(text) {
      if (!isMatrixLink(text)) return;
      if (waiting !== undefined) {
        waiting.others = Math.min(waiting.others + 1, most);
        return;
      }
      waiting = { text, others: 0 };
      onWaiting();
    },
    take() {
      const taken = waiting ?? { others: 0 };
      waiting = undefined;
      return taken;
    },
  };
}

/** `tessera:` is there for where another app holds `matrix:`. What the link is for, the core says. */
export const isMatrixLink = (text: string): boolean => text.length <= longest && /^(?:matrix|tessera):/i.test(text);

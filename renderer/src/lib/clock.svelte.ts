/** One shared clock: it ticks only while something on screen reads it. */
import { createSubscriber } from "svelte/reactivity";

const ticking = (everyMs: number): (() => number) => {
  const subscribe = createSubscriber((update) => {
    const timer = setInterval(update, everyMs);
    return () => {
      clearInterval(timer);
    };
  });
  return () => {
    subscribe();
    return Date.now();
  };
};

/** Now, to the second. */
export const nowBySecond = ticking(1000);
/** Now, to the minute: for "today" and "yesterday". */
export const nowByMinute = ticking(60_000);

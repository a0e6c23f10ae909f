/** How fast work goes, smoothed over some seconds, and how long the rest will take. */
export function createPace(nowMs: () => number) {
  const smoothingMs = 3000;
  let lastMs = nowMs();
  let lastDone: number | undefined;
  let perSecond = 0;
  return {
    /** Call it now and then with what is done so far. */
    at: (done: number): number => {
      const now = nowMs();
      const tookMs = now - lastMs;
      if (lastDone === undefined) {
        lastDone = done;
        lastMs = now;
        return 0;
      }
      // a clock that was set, or a computer that slept: that stretch says nothing
      if (tookMs < 0 || tookMs > 60_000) {
        lastMs = now;
        lastDone = done;
        return perSecond;
      }
      if (tookMs < 100) return perSecond;
      const rate = ((done - lastDone) * 1000) / tookMs;
      const weight = perSecond === 0 ? 1 : 1 - Math.exp(-tookMs / smoothingMs);
      perSecond += (rate - perSecond) * weight;
      lastMs = now;
      lastDone = done;
      return perSecond;
    },
    remainingMs: (left: number): number | undefined =>
      perSecond < 0.5 ? undefined : Math.round((left / perSecond) * 1000),
  };
}

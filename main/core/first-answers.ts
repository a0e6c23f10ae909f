const quietMs = 12;
const longestWaitMs = 300;
/** Crypto's code takes the thread for longer than all that is first asked of the store: it comes once nobody has asked for a moment. */
export function afterFirstAnswers(begin: () => void) {
  const latestMs = performance.now() + longestWaitMs;
  let begun = false;
  const go = () => {
    begun = true;
    begin();
  };
  let timer = setTimeout(go, quietMs);
  return {
    answered: () => {
      if (begun) return;
      clearTimeout(timer);
      timer = setTimeout(go, Math.min(quietMs, latestMs - performance.now()));
    },
    cancel: () => {
      begun = true;
      clearTimeout(timer);
    },
  };
}

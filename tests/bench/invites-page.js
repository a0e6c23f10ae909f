// Runs in the page before its own scripts: how long after each key the next frame is painted.
/* global window, addEventListener, requestAnimationFrame */
(() => {
  "use strict";
  window.presses = [];
  addEventListener(
    "keydown",
    (event) => {
      requestAnimationFrame(() => setTimeout(() => window.presses.push(performance.now() - event.timeStamp)));
    },
    true,
  );
})();

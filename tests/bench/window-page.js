// Runs in the page before its own scripts: notes when the list and a message are first painted, and every long task.
/* global document, window, requestAnimationFrame, MutationObserver, KeyboardEvent */
(() => {
  "use strict";
  const marks = { tasks: [] };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) marks.tasks.push({ startMs: entry.startTime, ms: entry.duration });
  }).observe({ type: "longtask", buffered: true });

  const painted = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const firsts = new Map([
    ["list", "[data-room]"],
    ["newest", "article[data-item]"],
  ]);
  const observer = new MutationObserver(() => {
    for (const [name, selector] of firsts) {
      if (document.querySelector(selector) === null) continue;
      firsts.delete(name);
      void painted().then(() => (marks[name] = performance.now()));
    }
    if (firsts.size === 0) observer.disconnect();
  });
  observer.observe(document, { childList: true, subtree: true });

  const shows = {
    // the items of a made-up room carry its number
    room: (room) => document.querySelector(`article[data-item^="$bench-${/\d+/.exec(room)[0]}-"]`) !== null,
    text: (text) => [...document.querySelectorAll("article")].some((article) => article.textContent.includes(text)),
  };

  async function timed({ room, text }) {
    const there = () => (room === undefined ? shows.text(text) : shows.room(room));
    const target = document.querySelector(room === undefined ? "form textarea" : `[data-room="${room}"]`);
    if (target === null) throw new Error("There is nothing to act on.");
    const seen = new Promise((resolve) => {
      const changes = new MutationObserver(() => {
        if (!there()) return;
        changes.disconnect();
        resolve();
      });
      changes.observe(document.body, { childList: true, subtree: true, characterData: true });
    });
    const fromMs = performance.now();
    if (room === undefined)
      target.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    else target.click();
    await seen;
    await painted();
    return performance.now() - fromMs;
  }

  window.bench = { marks, timed };
})();

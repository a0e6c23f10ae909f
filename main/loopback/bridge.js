// Served to the browser as /bridge.js: defines window.core over a WebSocket, with the surface of preload/preload.ts.
(() => {
  "use strict";
  const patienceMs = 15_000;
  const largestBytes = 1024 * 1024;
  const refused = 4401;

  let token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname);
  let session = null;
  let socket = null;
  let turnedAway = token === null;
  let nextId = 1;
  let heard = 0;
  let waitMs = 250;
  const pending = new Map();
  const listeners = new Map();
  const waiting = [];

  const failure = (code, message, retryable) => ({ ok: false, error: { code, message, retryable } });
  const noSession = () =>
    failure("forbidden", "This address was used before or is too old. Start Tessera again for a new one.", false);

  function connect() {
    const mine = new WebSocket(`ws://${location.host}/core`);
    let greeted = false;
    mine.onopen = () => mine.send(JSON.stringify(session === null ? { token } : { session, heard }));
    mine.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (greeted) return receive(message);
      greeted = true;
      session = message.session ?? session;
      token = null;
      waitMs = 250;
      socket = mine;
      wake();
    };
    mine.onclose = ({ code }) => {
      if (socket === mine) socket = null;
      for (const resolve of pending.values())
        resolve(failure("unreachable", "The connection to Tessera was lost.", true));
      pending.clear();
      if (code === refused) {
        turnedAway = true;
        wake();
        return;
      }
      setTimeout(connect, waitMs);
      waitMs = Math.min(waitMs * 2, 5000);
    };
  }

  const isOpen = () => socket?.readyState === WebSocket.OPEN;

  function wake() {
    for (const resolve of waiting.splice(0)) resolve();
  }

  async function connected() {
    const endMs = Date.now() + patienceMs;
    while (!turnedAway && !isOpen() && Date.now() < endMs)
      await new Promise((resolve) => {
        waiting.push(resolve);
        setTimeout(resolve, endMs - Date.now());
      });
  }

  function receive(message) {
    if (!("event" in message)) {
      const { id, ...answer } = message;
      pending.get(id)?.(answer);
      pending.delete(id);
      return;
    }
    heard++;
    for (const listener of listeners.get(message.event) ?? []) {
      try {
        listener(message.payload, message.account);
      } catch (error) {
        console.error(error);
      }
    }
  }

  async function call(name, input, account) {
    await connected();
    if (turnedAway) return noSession();
    if (!isOpen()) return failure("unreachable", "Tessera does not answer.", true);
    const id = nextId++;
    let text;
    try {
      text = JSON.stringify({ id, name, input, account });
    } catch {
      return failure("bad-request", "The request cannot be written as JSON.", false);
    }
    if (new TextEncoder().encode(text).byteLength > largestBytes)
      return failure("bad-request", "The request is larger than 1 MiB.", false);
    return new Promise((resolve) => {
      pending.set(id, resolve);
      socket.send(text);
    });
  }

  function on(event, listener) {
    const those = listeners.get(event) ?? new Set();
    listeners.set(event, those);
    const own = (payload, account) => listener(payload, account);
    those.add(own);
    return () => {
      those.delete(own);
    };
  }

  Object.defineProperty(window, "core", { value: Object.freeze({ call, on }), enumerable: true });
  if (!turnedAway) connect();
})();

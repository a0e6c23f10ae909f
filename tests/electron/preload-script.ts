/**
 * What makes a Chromium page behave like a window with a sandboxed preload: runs `preload` with the `electron` it may
 * require, lets Electron's permission handlers decide, and leaves nothing of itself behind in the page.
 */
export function preloadScript(preload: string): string {
  return `(() => {
  const ask = globalThis.__standIn;
  delete globalThis.__standIn;
  if (window !== window.top || location.href === "about:blank") return;

  const strict = (name, target) => new Proxy(target, { get(object, key) {
    if (typeof key === "string" && !(key in object)) throw new Error("The stand-in for Electron has no " + name + "." + key);
    return object[key];
  } });

  const channels = new Map();
  (async () => {
    for (;;) for (const [channel, args] of await ask("events"))
      for (const listener of channels.get(channel) ?? []) listener({}, ...args);
  })().catch(() => undefined);

  const ipcRenderer = strict("ipcRenderer", {
    invoke: (channel, ...args) => ask("invoke", channel, ...structuredClone(args)),
    on: (channel, listener) => { channels.set(channel, [...(channels.get(channel) ?? []), listener]); },
  });
  const bridged = (value) => typeof value === "function"
    ? (...args) => bridged(value(...args.map((arg) => typeof arg === "function" ? arg : structuredClone(arg))))
    : value;
  const contextBridge = strict("contextBridge", {
    exposeInMainWorld: (key, api) => {
      const copy = Object.fromEntries(Object.entries(api).map(([name, value]) => [name, bridged(value)]));
      Object.defineProperty(window, key, { value: Object.freeze(copy), enumerable: true });
    },
  });
  const module = { exports: {} };
  const require = (name) => {
    if (name === "electron") return strict("electron", { contextBridge, ipcRenderer });
    throw new Error("module not found: " + name);
  };
  ((module, exports, require) => { ${preload}
  })(module, module.exports, require);

  const refused = () => new DOMException("Permission denied", "NotAllowedError");
  const media = navigator.mediaDevices;
  const getUserMedia = media.getUserMedia.bind(media);
  media.getUserMedia = async (constraints) => {
    const types = [constraints.audio ? "audio" : [], constraints.video ? "video" : []].flat();
    if (!(await ask("permission", "media", types))) throw refused();
    return getUserMedia(constraints);
  };
  media.getDisplayMedia = async () => {
    if (!(await ask("permission", "display-capture", []))) throw refused();
    throw new Error("The stand-in grants no screen.");
  };
  const clipboard = navigator.clipboard;
  const writeText = clipboard.writeText.bind(clipboard);
  clipboard.writeText = async (text) => {
    if (!(await ask("permission", "clipboard-sanitized-write", []))) throw refused();
    return writeText(text);
  };
  Notification.requestPermission = async () => (await ask("permission", "notifications", [])) ? "granted" : "denied";
  navigator.geolocation.getCurrentPosition = (done, failed) => {
    void ask("permission", "geolocation", []).then((granted) => granted ? done({}) : failed?.({ code: 1 }));
  };
})();`;
}

/**
 * Stands in for the part of Electron's API that main/electron uses, where no Electron binary is to be had: the real built
 * main and preload run on it, and windows are Chromium pages. What it does not have throws, so that nothing passes by
 * accident. It cannot prove sandbox, isolation and fuses: those are Chromium's and Electron's own.
 * Long, because it is one module by its nature: it takes the place of `electron`.
 */
import { type ChildProcess, fork } from "node:child_process";
import { EventEmitter } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import {
  type BrowserContext,
  chromium,
  type Frame as PageFrame,
  type Page,
  type Request as PageRequest,
  type Route,
} from "playwright-core";
import { chromiumPath } from "../../scripts/setup-system.mjs";
import { preloadScript } from "./preload-script.ts";

type Listener = (...args: never[]) => unknown;
type Preventable = { defaultPrevented: boolean; preventDefault: () => void };
type SchemeHandler = (request: Request) => Promise<Response>;
type Bounds = { x: number; y: number; width: number; height: number };

/** Passing a name that the stand-in does not have is an error, not undefined. */
function strict<T extends object>(name: string, target: T): T {
  return new Proxy(target, {
    get(object, key, receiver) {
      if (typeof key === "string" && !(key in object) && key !== "then")
        throw new Error(`The stand-in for Electron has no ${name}.${key}.`);
      return Reflect.get(object, key, receiver) as unknown;
    },
    set(object, key, value, receiver) {
      if (typeof key === "string" && !(key in object) && !key.startsWith("_"))
        throw new Error(`The stand-in for Electron has no ${name}.${key} to set.`);
      return Reflect.set(object, key, value, receiver);
    },
  });
}

function onlyKnown(what: string, given: object, known: string[]): void {
  for (const key of Object.keys(given))
    if (!known.includes(key)) throw new Error(`The stand-in knows no ${what} "${key}".`);
}

function preventable(): Preventable {
  const event = {
    defaultPrevented: false,
    preventDefault: () => {
      event.defaultPrevented = true;
    },
  };
  return event;
}

// Chromium alone has no schemes of ours: app://tessera is https://tessera.app.invalid there
const toPage = (address: string) => address.replace(/^app:\/\/([^/]+)/, "https://$1.app.invalid");
const fromPage = (address: string) => address.replace(/^https:\/\/([^/]+)\.app\.invalid(?=\/|$)/, "app://$1");
const originOf = (address: string) => /^[a-z-]+:\/\/[^/]+/.exec(fromPage(address))?.[0] ?? "null";

let context: BrowserContext | undefined;
const windows: BrowserWindowStandIn[] = [];
const schemes = new Map<string, SchemeHandler>();
const invokeHandlers = new Map<string, (event: unknown, ...args: unknown[]) => unknown>();
/** What a test may ask for: what was opened outside, which boxes were shown. */
export const witnessed: { openedExternally: string[]; errorBoxes: [string, string][]; focused: number } = {
  openedExternally: [],
  errorBoxes: [],
  focused: 0,
};

let isReady = false;
const ready = Promise.withResolvers<undefined>();

class AppStandIn extends EventEmitter {
  isPackaged = false;
  commandLine = strict("app.commandLine", { appendSwitch: () => undefined });
  #paths = new Map<string, string>([["appData", path.join(homedir(), ".config")]]);
  #lock: string | undefined;
  whenReady = () => ready.promise;
  isReady = () => isReady;
  getPath(name: string): string {
    const found = this.#paths.get(name);
    if (found === undefined) throw new Error(`The stand-in knows no path "${name}".`);
    return found;
  }
  setPath(name: string, folder: string): void {
    if (name !== "userData") throw new Error(`The stand-in knows no path "${name}".`);
    this.#paths.set(name, folder);
  }
  enableSandbox(): void {
    if (this.isReady()) throw new Error("app.enableSandbox() must be called before the app is ready.");
  }
  requestSingleInstanceLock(): boolean {
    const folder = this.getPath("userData");
    mkdirSync(folder, { recursive: true });
    const lock = path.join(folder, "stand-in.lock");
    if (existsSync(lock) && isRunning(Number(readFileSync(lock, "utf8")))) {
      const note = path.join(folder, `${String(process.pid)}.second`);
      writeFileSync(note, JSON.stringify(process.argv));
      // under the name that is looked for it is whole
      renameSync(note, path.join(folder, `second-${String(process.pid)}`));
      return false;
    }
    writeFileSync(lock, String(process.pid));
    this.#lock = lock;
    setInterval(() => {
      for (const name of readdirSync(folder).filter((entry) => entry.startsWith("second-"))) {
        const argv = JSON.parse(readFileSync(path.join(folder, name), "utf8")) as string[];
        rmSync(path.join(folder, name));
        this.emit("second-instance", preventable(), argv, "");
      }
    }, 100).unref();
    return true;
  }
  exit(code = 0): void {
    if (this.#lock !== undefined) rmSync(this.#lock, { force: true });
    void (context?.close() ?? Promise.resolve()).finally(() => process.exit(code));
  }
  quit(): void {
    const event = preventable();
    this.emit("before-quit", event);
    if (event.defaultPrevented) return;
    for (const window of [...windows]) window.leave();
    this.emit("will-quit", preventable());
    this.emit("quit", preventable(), 0);
    this.exit(0);
  }
}
const appTarget = new AppStandIn();
// private members are reached through the object itself, so its methods are bound to it
for (const name of ["getPath", "setPath", "enableSandbox", "requestSingleInstanceLock", "exit", "quit"] as const)
  Object.defineProperty(appTarget, name, { value: appTarget[name].bind(appTarget) });
export const app = strict("app", appTarget);

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** As Electron does once the app's own code has been loaded; `headless`: without a browser. */
export async function becomeReady(browserArguments: string[] | "headless"): Promise<void> {
  isReady = true;
  if (browserArguments === "headless") {
    ready.resolve(undefined);
    return;
  }
  context = await chromium.launchPersistentContext(path.join(app.getPath("userData"), "stand-in"), {
    executablePath: chromiumPath() ?? "chromium",
    args: [
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
      "--use-fake-device-for-media-stream",
      ...browserArguments,
    ],
    viewport: null,
    permissions: ["camera"],
    offline: false,
  });
  await context.route("**", (route) => answerRequest(route));
  context.on("page", (page) => {
    void page.opener().then((opener) => {
      const window = windows.find((each) => each.page === opener);
      if (opener === null || window === undefined) return undefined;
      const answer = window.webContents.windowOpenHandler({ url: fromPage(page.url()) });
      if (answer.action !== "deny") throw new Error("The stand-in can only deny windows.");
      return page.close();
    });
  });
  ready.resolve(undefined);
  appTarget.emit("ready");
}

/** Undefined for the first navigation of a page that another one opened: such are closed. */
function frameOf(request: PageRequest): PageFrame | undefined {
  try {
    return request.frame();
  } catch {
    return undefined;
  }
}

async function answerRequest(route: Route): Promise<void> {
  const request = route.request();
  const address = fromPage(request.url());
  const frame = request.isNavigationRequest() ? frameOf(request) : undefined;
  if (request.isNavigationRequest() && frame === undefined) return route.abort("aborted");
  const window = windows.find((each) => frame !== undefined && each.page === frame.page());
  if (frame !== undefined && window !== undefined && !window.isLoading) {
    const event = Object.assign(preventable(), { url: address, isMainFrame: frame.parentFrame() === null });
    if (event.isMainFrame) window.webContents.emit("will-navigate", event, address);
    window.webContents.emit("will-frame-navigate", event);
    if (event.defaultPrevented) return route.abort("aborted");
  }
  const cancelled = await new Promise<boolean>((resolve) => {
    if (beforeRequest === undefined) resolve(false);
    else
      beforeRequest({ url: address }, (answer) => {
        resolve(answer.cancel === true);
      });
  });
  const handler = schemes.get(address.split(":", 1)[0] ?? "");
  if (cancelled || handler === undefined) return route.abort("blockedbyclient");
  const answer = await handler(new Request(address, { method: request.method() }));
  await route.fulfill({
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    body: Buffer.from(await answer.arrayBuffer()),
  });
}

type BeforeRequest = (details: { url: string }, answer: (answer: { cancel?: boolean }) => void) => void;
type PermissionDetails = { requestingUrl: string; isMainFrame: boolean; mediaTypes?: string[] };
type PermissionHandler = (
  contents: unknown,
  permission: string,
  answer: (granted: boolean) => void,
  details: PermissionDetails,
) => void;
type PermissionCheck = (
  contents: unknown,
  permission: string,
  origin: string,
  details: { isMainFrame: boolean; requestingUrl: string; mediaType?: string },
) => boolean;
let beforeRequest: BeforeRequest | undefined;
let permissionHandler: PermissionHandler | undefined;
let permissionCheck: PermissionCheck | undefined;

class SessionStandIn extends EventEmitter {
  protocol = strict("session.protocol", {
    handle: (scheme: string, handler: SchemeHandler) => {
      schemes.set(scheme, handler);
    },
  });
  webRequest = strict("session.webRequest", {
    onBeforeRequest: (handler: BeforeRequest) => {
      beforeRequest = handler;
    },
  });
  setPermissionRequestHandler = (handler: PermissionHandler) => (permissionHandler = handler);
  setPermissionCheckHandler = (handler: PermissionCheck) => (permissionCheck = handler);
  setDevicePermissionHandler = (_handler: () => boolean) => undefined;
  setSpellCheckerEnabled = (_on: boolean) => undefined;
}
export const session = strict("session", { defaultSession: strict("session", new SessionStandIn()) });

/** As Chromium does: the check first, then the request. */
function askPermission(
  window: BrowserWindowStandIn,
  frame: PageFrame,
  permission: string,
  mediaTypes: string[],
): Promise<boolean> {
  const details = {
    requestingUrl: fromPage(frame.url()),
    isMainFrame: frame.parentFrame() === null,
    ...(permission === "media" ? { mediaTypes } : {}),
  };
  const [mediaType] = mediaTypes;
  const origin = `${originOf(frame.url())}/`;
  const checked =
    mediaTypes.length > 1 ||
    permissionCheck?.(window.webContents, permission, origin, {
      ...details,
      ...(mediaType === undefined ? {} : { mediaType }),
    });
  return new Promise((resolve) => {
    // without a handler Electron grants everything
    if (permissionHandler === undefined) resolve(true);
    else
      permissionHandler(
        window.webContents,
        permission,
        (granted) => {
          resolve(granted && checked !== false);
        },
        details,
      );
  });
}

class WebContentsStandIn extends EventEmitter {
  mainFrame = strict("webContents.mainFrame", { url: "", origin: "", parent: null });
  session = session.defaultSession;
  windowOpenHandler: (details: { url: string }) => { action: string } = () => ({ action: "allow" });
  waiting: [string, unknown[]][] = [];
  wake: () => void = () => undefined;
  isDestroyed = () => false;
  getURL = () => this.mainFrame.url;
  setWindowOpenHandler = (handler: typeof this.windowOpenHandler) => (this.windowOpenHandler = handler);
  send = (channel: string, ...args: unknown[]) => {
    this.waiting.push([channel, structuredClone(args)]);
    this.wake();
  };
}

const knownWindowOptions =
  "x y width height minWidth minHeight show title autoHideMenuBar backgroundColor webPreferences icon";
const knownPreferences =
  "preload contextIsolation sandbox nodeIntegration nodeIntegrationInSubFrames nodeIntegrationInWorker webviewTag webSecurity navigateOnDragDrop spellcheck devTools";
type WindowOptions = Partial<Bounds> & { webPreferences: Record<string, unknown> & { preload: string } };

class BrowserWindowStandIn extends EventEmitter {
  page: Page | undefined;
  isLoading = false;
  webContents = strict("webContents", new WebContentsStandIn());
  options: WindowOptions;
  bounds: Bounds;
  visible = false;
  maximized = false;
  gone = false;
  constructor(options: WindowOptions) {
    super();
    onlyKnown("window option", options, knownWindowOptions.split(" "));
    onlyKnown("web preference", options.webPreferences, knownPreferences.split(" "));
    const { sandbox, contextIsolation, nodeIntegration } = options.webPreferences;
    if (sandbox !== true || contextIsolation !== true || nodeIntegration !== false)
      throw new Error("The stand-in runs a preload as a sandboxed, isolated one and not otherwise.");
    this.options = options;
    this.bounds = {
      x: options.x ?? 40,
      y: options.y ?? 40,
      width: options.width ?? 800,
      height: options.height ?? 600,
    };
    windows.push(this);
    appTarget.emit("web-contents-created", preventable(), this.webContents);
  }
  getNormalBounds = () => this.bounds;
  getBounds = () => this.bounds;
  isMaximized = () => this.maximized;
  isMinimized = () => false;
  isDestroyed = () => this.gone;
  isVisible = () => this.visible;
  maximize = () => (this.maximized = true);
  restore = () => undefined;
  show = () => (this.visible = true);
  focus = () => (witnessed.focused += 1);
  setBounds = (bounds: Partial<Bounds>) => {
    this.bounds = { ...this.bounds, ...bounds };
    this.emit("resize");
    this.emit("move");
  };
  /** As closing does when nothing prevents it. */
  leave(): void {
    if (this.gone) return;
    this.emit("close", preventable());
    this.gone = true;
    windows.splice(
      windows.findIndex((each) => each.webContents === this.webContents),
      1,
    );
    this.emit("closed");
  }
  close = () => {
    this.leave();
    void this.page?.close();
    if (windows.length === 0) appTarget.emit("window-all-closed");
  };
  async loadURL(address: string): Promise<void> {
    if (context === undefined) throw new Error("No window can be loaded before the app is ready.");
    const blank = context.pages().find((page) => page.url() === "about:blank");
    const page = await context.newPage();
    this.page = page;
    await blank?.close();
    await page.exposeBinding("__standIn", (source, call: string, ...args: unknown[]) =>
      this.#asked(source.frame, call, args),
    );
    await page.addInitScript(preloadScript(readFileSync(this.options.webPreferences.preload, "utf8")));
    page.on("framenavigated", (frame) => {
      if (frame !== page.mainFrame()) return;
      this.webContents.mainFrame.url = fromPage(frame.url());
      this.webContents.mainFrame.origin = originOf(frame.url());
    });
    page.once("load", () => this.emit("ready-to-show"));
    this.isLoading = true;
    try {
      await page.goto(toPage(address));
    } finally {
      this.isLoading = false;
    }
  }
  async #asked(frame: PageFrame, call: string, args: unknown[]): Promise<unknown> {
    if (call === "permission") return askPermission(this, frame, args[0] as string, args[1] as string[]);
    if (call === "events") {
      if (this.webContents.waiting.length === 0)
        await new Promise<void>((resolve) => (this.webContents.wake = resolve));
      return this.webContents.waiting.splice(0);
    }
    const [channel, ...sent] = args as [string, ...unknown[]];
    const handler = invokeHandlers.get(channel);
    if (handler === undefined) throw new Error(`No handler registered for '${channel}'`);
    const isMain = frame.parentFrame() === null;
    const senderFrame = isMain
      ? this.webContents.mainFrame
      : { url: fromPage(frame.url()), origin: originOf(frame.url()), parent: {} };
    return handler({ sender: this.webContents, senderFrame }, ...sent);
  }
}
/** Private members of a window are reached through the object itself, so its calls pass the proxy by. */
export const BrowserWindow = strict(
  "BrowserWindow",
  Object.assign(
    function open(options: WindowOptions) {
      const target = new BrowserWindowStandIn(options);
      Object.defineProperty(target, "loadURL", { value: target.loadURL.bind(target) });
      return strict("BrowserWindow", target);
    },
    { getAllWindows: () => windows.map((window) => strict("BrowserWindow", window)) },
  ),
);

export const ipcMain = strict("ipcMain", {
  /** Electron keeps them under this name too; the tests call a handler as another frame would. */
  _invokeHandlers: invokeHandlers,
  handle(channel: string, handler: (event: unknown, ...args: unknown[]) => unknown) {
    if (invokeHandlers.has(channel)) throw new Error(`Attempted to register a second handler for '${channel}'`);
    invokeHandlers.set(channel, handler);
  },
});

export const protocol = strict("protocol", {
  registerSchemesAsPrivileged: () => {
    if (isReady) throw new Error("Schemes must be registered before the app is ready.");
  },
});

export const shell = strict("shell", {
  openExternal: (address: string) => {
    witnessed.openedExternally.push(address);
    return Promise.resolve();
  },
});

export const dialog = strict("dialog", {
  showErrorBox: (title: string, text: string) => {
    witnessed.errorBoxes.push([title, text]);
    process.stderr.write(`[stand-in] ${title}: ${text}\n`);
  },
  showOpenDialog: () => Promise.resolve({ canceled: true, filePaths: [] as string[] }),
  showSaveDialog: () => Promise.resolve({ canceled: true, filePath: "" }),
});

export const Menu = strict("Menu", {
  buildFromTemplate: (template: object[]) => strict("menu", { template }),
  setApplicationMenu: (_menu: object | null) => undefined,
});
export const nativeTheme = strict("nativeTheme", Object.assign(new EventEmitter(), { shouldUseDarkColors: false }));
export const screen = strict("screen", {
  getAllDisplays: () => [{ workArea: { x: 0, y: 0, width: 1920, height: 1040 } }],
});

// in a utility process the other side is process.parentPort
const parentPort = `process.parentPort = { on: (e, l) => process.on(e, (data) => l({ data })), postMessage: (m) => process.send(m) };`;
export const utilityProcess = strict("utilityProcess", {
  fork(file: string, args: string[], options: object) {
    if (!isReady) throw new Error("utilityProcess cannot be created before app is ready.");
    onlyKnown("utility process option", options, ["stdio", "serviceName"]);
    const child: ChildProcess = fork(file, args, {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      execArgv: ["--import", `data:text/javascript,${encodeURIComponent(parentPort)}`],
    });
    return strict("utilityProcess", {
      pid: child.pid,
      postMessage: (message: object) => child.send(message),
      on: (event: string, listener: Listener) => child.on(event, listener as never),
      once: (event: string, listener: Listener) => child.once(event, listener as never),
      kill: () => child.kill(),
    });
  },
});

import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildIfStale } from "../../scripts/build.mjs";
import {
  describeElectron,
  type ElectronDoor,
  launchElectronDoor,
  runSecond,
  runsOn,
  spawnHeadless,
} from "../electron/launch.ts";

const folder = mkdtempSync(path.join(tmpdir(), "tessera-electron-test-"));
const profile = path.join(folder, "profile");
const passphraseFile = path.join(folder, "passphrase");
const args = ["--profile", profile, "--passphrase-file", passphraseFile];
const stateFile = path.join(profile, "window-state.json");
const contents = "const { webContents } = electron.BrowserWindow.getAllWindows()[0];";

let door: ElectronDoor;
/** A server that must never hear of the window. */
let outside: http.Server;
let outsideAddress: string;
const reached: string[] = [];

const inPage = (source: string): Promise<unknown> => door.page.evaluate(source);
const isOurs = async () => {
  expect(await door.inMain(`${contents} return webContents.getURL();`)).toBe("app://tessera/");
  expect(await inPage("typeof window.core.call")).toBe("function");
};

/** Calls the handler of "core:call" as a frame of the test's own making would. */
const callAs = (frame: string, sender = "webContents") =>
  door.inMain(`${contents}
    const handler = electron.ipcMain._invokeHandlers.get("core:call");
    return handler({ sender: ${sender}, senderFrame: ${frame} }, { name: "app.info", input: {} });`);

beforeAll(async () => {
  await buildIfStale();
  writeFileSync(passphraseFile, "a passphrase of this test\n");
  outside = http.createServer((request, response) => {
    reached.push(request.url ?? "");
    response
      .writeHead(200, { "content-type": "text/html", "access-control-allow-origin": "*" })
      .end("<title>outside</title>");
  });
  await once(outside.listen(0, "127.0.0.1"), "listening");
  outsideAddress = `http://127.0.0.1:${String((outside.address() as AddressInfo).port)}`;
  process.stdout.write(`${describeElectron()}\n`);
  door = await launchElectronDoor(args);
});

afterAll(async () => {
  await door.kill();
  outside.closeAllConnections();
  outside.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("the window", () => {
  test("shows our page and asks the host through window.core", async () => {
    await isOurs();
    expect(await inPage(`window.core.call("app.info", {})`)).toMatchObject({
      ok: true,
      value: { door: "electron", protocol: 1 },
    });
  });

  test("has window.core with call and on, and nothing of Node or Electron", async () => {
    expect(await inPage("Object.keys(window.core)")).toEqual(["call", "on"]);
    expect(await inPage("Object.isFrozen(window.core)")).toBe(true);
    const strangers = ["require", "process", "module", "Buffer", "global", "ipcRenderer", "electron", "__standIn"];
    expect(await inPage(`${JSON.stringify(strangers)}.filter((name) => name in window)`)).toEqual([]);
  });

  test("hears events, and a listener that went hears none", async () => {
    // a name of the test's own: the host's events come at any moment
    await inPage(
      `window.heard = []; window.off = window.core.on("test.happened", (...all) => window.heard.push(all)); 0`,
    );
    const send = `${contents} webContents.send("core:event", { event: "test.happened", payload: { at: "ready" }, account: "@a:b" });`;
    await door.inMain(send);
    await until(async () => (await inPage("window.heard.length")) === 1);
    expect(await inPage("window.heard")).toEqual([[{ at: "ready" }, "@a:b"]]);
    await inPage("window.off(); window.last = new Promise((resolve) => window.core.on('test.happened', resolve)); 0");
    await door.inMain(send);
    await inPage("window.last");
    expect(await inPage("window.heard.length")).toBe(1);
  });

  test("gets a failure as data for an unknown command, a wrong shape and what cannot be sent", async () => {
    for (const [source, code] of [
      [`window.core.call("no.such", {})`, "unsupported"],
      [`window.core.call("app.info", { surplus: 1 })`, "bad-request"],
      [`window.core.call("__proto__", {})`, "unsupported"],
      [`window.core.call("timeline.load", { roomId: "!a:b", limit: -5 })`, undefined],
    ] as const)
      expect(await inPage(source)).toMatchObject({ ok: false, ...(code === undefined ? {} : { error: { code } }) });
  });

  test("names no path of the file system: where a file is wanted it is refused", async () => {
    expect(await inPage(`window.core.call("file.choose", { purpose: "open", path: "/etc/passwd" })`)).toMatchObject({
      ok: false,
      error: { code: "bad-request" },
    });
  });
});

describe("the sender check", () => {
  test("answers the main frame of our window", async () => {
    expect(await callAs("webContents.mainFrame")).toMatchObject({ ok: true });
  });

  test.each([
    [
      "a frame inside of our page",
      `{ url: "app://tessera/", origin: "app://tessera", parent: webContents.mainFrame }`,
      "webContents",
    ],
    [
      "a frame of a foreign origin",
      `{ url: "https://evil.example/", origin: "https://evil.example", parent: null }`,
      "webContents",
    ],
    [
      "a frame that pretends to be ours",
      `{ url: "app://tessera/", origin: "app://tessera", parent: null }`,
      "webContents",
    ],
    ["a frame that is gone", "null", "webContents"],
    ["our frame under another sender", "webContents.mainFrame", "{}"],
  ])("refuses %s", async (_what, frame, sender) => {
    expect(await callAs(frame, sender)).toMatchObject({ ok: false, error: { code: "forbidden" } });
  });

  test("an iframe in the page has no window.core", async () => {
    expect(
      await inPage(`(() => { const frame = document.createElement("iframe"); document.body.append(frame);
        const seen = typeof frame.contentWindow.core; frame.remove(); return seen; })()`),
    ).toBe("undefined");
  });
});

describe("what the page cannot do", () => {
  test("navigate elsewhere", async () => {
    for (const target of [
      `${outsideAddress}/navigated`,
      "https://tessera.example/",
      "file:///etc/passwd",
      "app://other/",
    ]) {
      await inPage(
        `setTimeout(() => { location.href = ${JSON.stringify(target)}; }); new Promise((resolve) => setTimeout(resolve, 300))`,
      ).catch(() => undefined);
      await isOurs();
    }
    expect(reached).toEqual([]);
  });

  test("open another window", async () => {
    await inPage(`window.open(${JSON.stringify(`${outsideAddress}/opened`)}); window.open("about:blank"); 0`);
    await inPage(`(() => { const link = document.createElement("a"); link.href = ${JSON.stringify(`${outsideAddress}/link`)};
      link.target = "_blank"; document.body.append(link); link.click(); link.remove(); })()`);
    await inPage("new Promise((resolve) => setTimeout(resolve, 500))");
    expect(await door.inMain("return electron.BrowserWindow.getAllWindows().length;")).toBe(1);
    expect(
      door.page
        .context()
        .pages()
        .filter((page) => !page.isClosed()),
    ).toHaveLength(1);
    expect(reached).toEqual([]);
  });

  test("reach the network by itself, by any way a page has", async () => {
    const tried = await inPage(`(async () => {
      const target = ${JSON.stringify(outsideAddress)};
      const failed = (element) => new Promise((resolve) => {
        element.onload = () => resolve("loaded"); element.onerror = () => resolve("refused");
        document.body.append(element);
      });
      return [
        await fetch(target + "/fetch").then(() => "loaded", () => "refused"),
        await failed(Object.assign(new Image(), { src: target + "/image" })),
        await failed(Object.assign(document.createElement("script"), { src: target + "/script" })),
        await failed(Object.assign(document.createElement("link"), { rel: "stylesheet", href: target + "/style" })),
        await new Promise((resolve) => {
          try {
            const socket = new WebSocket(target.replace("http", "ws"));
            socket.onopen = () => resolve("loaded"); socket.onerror = () => resolve("refused");
          } catch { resolve("refused"); }
        }),
        navigator.sendBeacon(target + "/beacon") ? "refused" : "refused",
      ];
    })()`);
    expect(tried).toEqual(Array.from({ length: 6 }, () => "refused"));
    expect(reached).toEqual([]);
  });

  test("run code that is not in our files", async () => {
    expect(
      await inPage(`(() => { const script = document.createElement("script"); script.textContent = "window.injected = 1";
      document.body.append(script); return window.injected ?? "refused"; })()`),
    ).toBe("refused");
    expect(
      await inPage(`new Promise((resolve) => { const script = document.createElement("script");
        script.src = URL.createObjectURL(new Blob(["window.injected = 1"])); script.onload = () => resolve("ran");
        script.onerror = () => resolve("refused"); document.body.append(script); })`),
    ).toBe("refused");
  });

  test("use a permission but the camera", async () => {
    const ask = (source: string) =>
      inPage(
        `(async () => { try { return await (${source}); } catch (error) { return error.name ?? String(error); } })()`,
      );
    const media = (what: string) =>
      ask(
        `navigator.mediaDevices.getUserMedia(${what}).then((stream) => stream.getTracks().map((track) => (track.stop(), track.kind)).join())`,
      );
    expect(await media("{ video: true }")).toBe("video");
    expect(await media("{ audio: true }")).toBe("NotAllowedError");
    expect(await media("{ audio: true, video: true }")).toBe("NotAllowedError");
    expect(await ask("navigator.mediaDevices.getDisplayMedia({ video: true }).then(() => 'granted')")).not.toBe(
      "granted",
    );
    expect(await ask("navigator.clipboard.writeText('a').then(() => 'granted')")).toBe("NotAllowedError");
    expect(await ask("Notification.requestPermission()")).toBe("denied");
    expect(
      await ask(
        "new Promise((resolve) => navigator.geolocation.getCurrentPosition(() => resolve('granted'), () => resolve('denied')))",
      ),
    ).toBe("denied");
  });
});

test("the keychain's helper runs in a utility process and answers there", async () => {
  const helper = JSON.stringify(path.resolve(import.meta.dirname, "../../dist/main/keychain-process.js"));
  const answer = await door.inMain(`return new Promise((resolve) => {
    const child = electron.utilityProcess.fork(${helper}, [], { stdio: "ignore" });
    child.once("message", (message) => { child.kill(); resolve(message); });
    child.postMessage({ id: 7, operation: "read", service: "Tessera test", entry: "none" });
  });`);
  expect(answer).toMatchObject({ id: 7 });
});

test("with --headless it is the headless door, with nothing else on stdout", async () => {
  const child = spawnHeadless(["--profile", path.join(folder, "headless"), "--passphrase-file", passphraseFile]);
  const ended = once(child, "exit");
  let said = "";
  child.stdout.on("data", (data: Buffer) => (said += data.toString()));
  child.stdin.end('{"id":1,"name":"app.info","input":{}}\n');
  expect(await ended).toEqual([0, null]);
  const lines = said
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines[0]).toMatchObject({ event: "app.ready", payload: { protocol: 1 } });
  expect(lines.find((line) => line["id"] === 1)).toMatchObject({ ok: true, value: { door: "headless" } });
});

describe("app://tessera", () => {
  test("serves the page with the strict policy", async () => {
    const [policy, kind, sniff] = (await inPage(
      `fetch("./").then(({ headers }) => ["content-security-policy", "content-type", "x-content-type-options"].map((name) => headers.get(name)))`,
    )) as string[];
    expect(policy?.split("; ")).toEqual([
      "default-src 'none'",
      "script-src 'self' 'wasm-unsafe-eval'",
      "style-src 'self'",
      "img-src 'self' blob:",
      "connect-src 'self'",
      "font-src 'self'",
      "media-src 'self' blob:",
      "worker-src 'self'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
      "form-action 'none'",
    ]);
    expect(kind).toContain("text/html");
    expect(sniff).toBe("nosniff");
  });

  test("the page breaks none of its own rules", async () => {
    const broken: string[] = [];
    door.page.on("console", (message) => {
      if (message.type() === "error" && message.text().includes("Content Security Policy")) broken.push(message.text());
    });
    await inPage("new Promise((resolve) => setTimeout(resolve, 200))");
    expect(broken).toEqual([]);
  });

  test.each([
    "/..%2fmain%2felectron.js",
    "/%2e%2e/preload/preload.cjs",
    "/..%5cpackage.json",
    "/.built.json",
    "/assets/",
    "/%00",
    "/none.js",
  ])("%s leads nowhere", async (target) => {
    expect(await inPage(`fetch(${JSON.stringify(target)}).then(({ status }) => status)`)).toBe(404);
  });

  test("takes no writing", async () => {
    expect(await inPage(`fetch("./", { method: "POST", body: "x" }).then(({ status }) => status)`)).toBe(405);
  });
});

describe("one instance a profile, its window and its end", () => {
  test("a second start shows the first window and ends", async () => {
    await door.inMain("electron.app.once('second-instance', () => { globalThis.secondSeen = true; });");
    expect(await runSecond(args)).toBe(0);
    await until(async () => (await door.inMain("return globalThis.secondSeen === true;")) === true);
    expect(await door.inMain("return electron.BrowserWindow.getAllWindows()[0].isVisible();")).toBe(true);
    await isOurs();
  });

  test("a link that a second start names waits in the first for its window to ask", async () => {
    const link = "matrix:u/ben:far.example?action=chat";
    expect(await runSecond([...args, link])).toBe(0);
    await until(async () => {
      const answer = (await inPage(`window.core.call("app.takeLink", {})`)) as { value: { text?: string } };
      return answer.value.text === link;
    });
    await isOurs();
  });

  test("size and place are kept over a restart, and the profile is free at once after the end", async () => {
    const bounds = { x: 120, y: 90, width: 1010, height: 700 };
    await door.inMain(`electron.BrowserWindow.getAllWindows()[0].setBounds(${JSON.stringify(bounds)});`);
    const kept = await door.inMain("return electron.BrowserWindow.getAllWindows()[0].getNormalBounds();");
    expect(await door.quit()).toBe(0);
    expect(JSON.parse(readFileSync(stateFile, "utf8"))).toMatchObject(kept as object);
    expect(statSync(stateFile).mode & 0o777).toBe(0o600);
    door = await launchElectronDoor(args);
    expect(await door.inMain("return electron.BrowserWindow.getAllWindows()[0].getNormalBounds();")).toEqual(kept);
    await isOurs();
  });

  test("a damaged window-state.json is no reason not to start", async () => {
    await door.quit();
    writeFileSync(stateFile, '{"x":1e99,"width":"');
    door = await launchElectronDoor(args);
    await isOurs();
  });

  test("a signal ends it in order", async () => {
    expect(await door.quit("SIGTERM")).toBe(0);
    const log = readFileSync(path.join(profile, "logs", "tessera.log"), "utf8");
    expect(log.trimEnd().split("\n").at(-1)).toContain("stopped");
    expect(log).not.toContain("a passphrase of this test");
    door = await launchElectronDoor(args);
    await isOurs();
  });

  test("closing the last window ends it in order", async () => {
    const before = readFileSync(path.join(profile, "logs", "tessera.log"), "utf8").split("stopped").length;
    void door.inMain("electron.BrowserWindow.getAllWindows()[0].close();").catch(() => undefined);
    await until(() => readFileSync(path.join(profile, "logs", "tessera.log"), "utf8").split("stopped").length > before);
    await until(() => runsOn === "electron" || !existsSync(path.join(profile, "browser", "stand-in.lock")));
    door = await launchElectronDoor(args);
    await isOurs();
  });
});

/** The test's own time-out ends it. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}

import { once } from "node:events";
import { mkdtempSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { openOutside, openCommand, writeAddressFile } from "../../main/loopback/open-browser.ts";
import { type LoopbackServer, serveWindow } from "../../main/loopback/server.ts";
import { Sessions } from "../../main/loopback/sessions.ts";
import type { EventMessage, Response } from "../../preload/contract/define.ts";
import { chromiumPath } from "../../scripts/setup-system.mjs";
import { eventually } from "../eventually.ts";

const folder = mkdtempSync(path.join(tmpdir(), "tessera-loopback-test-"));
const renderer = path.join(folder, "renderer");
const asked: unknown[] = [];
let emit: (message: EventMessage) => void = () => undefined;
let server: LoopbackServer;
let browser: Browser;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Stands for the host: answers what it was asked. */
const core = {
  handleText: (text: string | Uint8Array): Promise<Response> => {
    const request = parsed(Buffer.from(text).toString("utf8"));
    asked.push(request);
    const id = typeof request === "object" && request !== null && "id" in request ? (request.id as number) : 0;
    return Promise.resolve({ id, ok: true, value: { echoed: request } });
  },
  on: (listener: (message: EventMessage) => void) => {
    emit = listener;
    return () => undefined;
  },
};

beforeAll(async () => {
  mkdirSync(path.join(renderer, "assets"), { recursive: true });
  writeFileSync(path.join(folder, "secret.js"), "outside");
  writeFileSync(path.join(renderer, ".hidden.js"), "hidden");
  writeFileSync(path.join(renderer, "assets", "page.js"), "window.early = typeof window.core.call;");
  writeFileSync(
    path.join(renderer, "index.html"),
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title><script type="module" src="./assets/page.js"></script></head><body><h1>Window</h1></body></html>',
  );
  server = await serveWindow(core, renderer, new URL("../../main/loopback/bridge.js", import.meta.url));
  browser = await chromium.launch({ executablePath: chromiumPath() ?? "chromium", args: ["--no-sandbox"] });
  process.stdout.write(`[real] Chromium ${browser.version()}\n`);
});

afterAll(async () => {
  await browser.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** fetch() sets Host and Origin itself, so requests are made by hand. */
function get(target: string, headers: Record<string, string> = {}, method = "GET") {
  const { hostname, port } = new URL(server.origin);
  return new Promise<{ status: number; headers: http.IncomingHttpHeaders; body: string }>((resolve, reject) => {
    const request = http.request({ hostname, port, path: target, method, headers }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    request.on("error", reject).end();
  });
}

const tokenOf = (address: string) => new URLSearchParams(new URL(address).hash.slice(1)).get("token") ?? "";

/** A WebSocket that says `first` and collects what it is told, to its end or until `messages` have come. */
async function socket(
  first: unknown,
  more: { headers?: Record<string, string>; messages?: number; then?: string } = {},
) {
  const target = new URL("/core", server.origin.replace("http", "ws"));
  const client = new WebSocket(target, { headers: { origin: server.origin, ...more.headers } });
  const told: Record<string, unknown>[] = [];
  const closed = new Promise<number>((resolve) => {
    client.on("close", resolve);
    client.on("unexpected-response", (_request, response) => {
      resolve(response.statusCode ?? 0);
    });
    client.on("error", () => undefined);
  });
  client.on("open", () => {
    client.send(typeof first === "string" ? first : JSON.stringify(first));
  });
  const enough = new Promise<void>((resolve) => {
    client.on("message", (data: Buffer) => {
      told.push(JSON.parse(data.toString("utf8")) as Record<string, unknown>);
      if (told.length === 1 && more.then !== undefined) client.send(more.then);
      if (told.length === (more.messages ?? 1)) resolve();
    });
  });
  const ended = await Promise.race([closed, enough.then(() => undefined)]);
  return { client, told, ended, closed };
}

describe("what is served", () => {
  test("every answer is no-store and carries the strict policy, with its own WebSocket and nothing unsafe", async () => {
    for (const target of ["/", "/index.html", "/assets/page.js", "/bridge.js", "/nothing.js"]) {
      const { headers } = await get(target);
      expect(headers["cache-control"]).toBe("no-store");
      const policy = headers["content-security-policy"];
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain(`connect-src 'self' ws://${new URL(server.origin).host};`);
      expect(policy).not.toMatch(/unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')|\*/);
      expect(headers["set-cookie"]).toBeUndefined();
      expect(headers["access-control-allow-origin"]).toBeUndefined();
    }
  });

  test("the page is served with the bridge before its own scripts, and holds no token", async () => {
    const { status, body } = await get("/");
    expect(status).toBe(200);
    expect(body.indexOf("/bridge.js")).toBeGreaterThan(0);
    expect(body.indexOf("/bridge.js")).toBeLessThan(body.indexOf("./assets/page.js"));
    expect(body).not.toContain(tokenOf(server.newAddress()));
  });

  test.each([
    "/../secret.js",
    "/..%2fsecret.js",
    "/%2e%2e/secret.js",
    "/assets/..%2f..%2fsecret.js",
    "/assets\\..\\..\\secret.js",
    "/..%5csecret.js",
    "//etc/passwd",
    "/%00index.html",
    "/.hidden.js",
    "/%",
    "/assets",
    "/assets/",
  ])("%s leads nowhere", async (target) => {
    const { status, body } = await get(target);
    expect(status).toBe(404);
    expect(body).toBe("");
  });

  test("only reading is possible", async () => {
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) expect((await get("/", {}, method)).status).toBe(405);
  });
});

describe("other pages", () => {
  test.each(["rebound.example", "localhost", "127.0.0.1", "127.0.0.1:1"])("Host %s is refused", async (host) => {
    expect((await get("/", { host })).status).toBe(421);
    const { ended, told } = await socket({ token: tokenOf(server.newAddress()) }, { headers: { host } });
    expect(ended).toBe(421);
    expect(told).toEqual([]);
  });

  test.each(["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"])(
    "Origin %s is refused, and the token is not spent by it",
    async (origin) => {
      expect((await get("/", { origin })).status).toBe(403);
      const token = tokenOf(server.newAddress());
      expect((await socket({ token }, { headers: { origin } })).ended).toBe(403);
      const { told, client } = await socket({ token });
      expect(told[0]).toHaveProperty("session");
      client.terminate();
    },
  );

  test("a WebSocket without an Origin is no page of ours", async () => {
    const { hostname, port } = new URL(server.origin);
    const headers = {
      upgrade: "websocket",
      connection: "Upgrade",
      "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
      "sec-websocket-version": "13",
    };
    const request = http.request({ hostname, port, path: "/core", headers }).end();
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    expect(response.statusCode).toBe(403);
    response.resume();
  });

  test("a hostile page of another origin gets nothing: no file, no frame, no socket", async () => {
    const hostile = http.createServer((_request, response) => {
      response.writeHead(200, { "content-type": "text/html" });
      response.end("<!doctype html><title>h</title><body>");
    });
    await once(hostile.listen(0, "127.0.0.1"), "listening");
    const origin = `http://127.0.0.1:${String((hostile.address() as AddressInfo).port)}`;
    const page = await browser.newPage();
    await page.goto(origin);
    const token = tokenOf(server.newAddress());
    const before = asked.length;
    const got: unknown = await page.evaluate(`(async () => {
      const target = ${JSON.stringify(server.origin)};
      const fetched = await fetch(target + "/index.html").then(() => "readable", () => "refused");
      const script = await new Promise((resolve) => {
        const element = document.createElement("script");
        element.onload = () => resolve("loaded");
        element.onerror = () => resolve("refused");
        element.src = target + "/bridge.js";
        document.body.append(element);
      });
      const said = await new Promise((resolve) => {
        const socket = new WebSocket(target.replace("http", "ws") + "/core");
        socket.onopen = () => socket.send(${JSON.stringify(JSON.stringify({ token }))});
        socket.onmessage = ({ data }) => resolve(String(data));
        socket.onclose = () => resolve("refused");
      });
      const framed = await new Promise((resolve) => {
        const frame = document.createElement("iframe");
        frame.onload = () => resolve(frame.contentDocument === null ? "refused" : "readable");
        frame.src = target + "/";
        document.body.append(frame);
      });
      return { fetched, script, said, framed };
    })()`);
    expect(got).toEqual({ fetched: "refused", script: "refused", said: "refused", framed: "refused" });
    expect(asked.length).toBe(before);
    await page.close();
    hostile.closeAllConnections();
    hostile.close();
  });
});

describe("the token", () => {
  test("nothing is served without one", async () => {
    const before = asked.length;
    for (const first of [
      { id: 1, name: "app.info", input: {} },
      {},
      { token: "" },
      { token: "guessed" },
      { session: "guessed" },
      { token: 1 },
      "null",
      "no json",
    ]) {
      const { ended, told } = await socket(first, { then: JSON.stringify({ id: 2, name: "app.info", input: {} }) });
      expect(ended).toBe(4401);
      expect(told).toEqual([]);
    }
    expect(asked.length).toBe(before);
  });

  test("opens one session, once; the session's secret opens the way back", async () => {
    const token = tokenOf(server.newAddress());
    const first = await socket({ token });
    const session = first.told[0]?.["session"];
    expect(session).toBeTypeOf("string");
    expect(session).not.toBe(token);
    expect((await socket({ token })).ended).toBe(4401);
    first.client.terminate();
    await first.closed;
    const again = await socket({ session });
    expect(again.ended).toBeUndefined();
    again.client.terminate();
  });

  test("is worth nothing after two minutes", () => {
    const real = Date.now;
    const sessions = new Sessions();
    try {
      const [early, late] = [sessions.issueToken(), sessions.issueToken()];
      const issuedMs = real();
      Date.now = () => issuedMs + 119_000;
      expect(sessions.open(early)).toBeDefined();
      Date.now = () => issuedMs + 121_000;
      expect(sessions.open(late)).toBeUndefined();
    } finally {
      Date.now = real;
    }
  });

  test("what was sent on a connection that was breaking is sent again; a page that missed too much begins anew", async () => {
    const { told, client, closed } = await socket({ token: tokenOf(server.newAddress()) });
    const session = told[0]?.["session"];
    for (let n = 0; n < 5; n++) emit({ event: "rooms.changed", payload: { n } });
    client.terminate();
    await closed;
    const numbers = (messages: Record<string, unknown>[]) =>
      messages.flatMap(({ payload }) => (payload === undefined ? [] : [(payload as { n: number }).n]));
    const back = await socket({ session, heard: 2 }, { messages: 4 });
    expect(numbers(back.told)).toEqual([2, 3, 4]);
    back.client.terminate();
    await back.closed;
    for (const heard of [-1, 1.5, 6, "2"]) {
      const odd = await socket({ session, heard });
      expect(odd.ended).toBe(heard === "2" ? undefined : 4401);
      odd.client.terminate();
      await odd.closed;
    }
    for (let n = 5; n < 1500; n++) emit({ event: "rooms.changed", payload: { n } });
    expect((await socket({ session, heard: 5 })).ended).toBe(4401);
  });

  test("a message over 1 MiB ends the connection and reaches nobody", async () => {
    const before = asked.length;
    const large = JSON.stringify({ id: 1, name: "timeline.send", input: { body: "x".repeat(1024 * 1024) } });
    const { ended } = await socket({ token: tokenOf(server.newAddress()) }, { then: large, messages: 2 });
    expect(ended).toBe(1009);
    expect(asked.length).toBe(before);
  });

  test("what is no JSON goes to the router as nothing, and the connection lives", async () => {
    const { told, client } = await socket({ token: tokenOf(server.newAddress()) }, { then: "{", messages: 2 });
    expect(told).toHaveLength(2);
    expect(asked.at(-1)).toBeUndefined();
    client.terminate();
  });
});

describe("the page", () => {
  test("calls and hears events; the fragment is gone; a second page with the same address gets nothing", async () => {
    const address = server.newAddress();
    const page = await browser.newPage();
    await page.goto(address);
    expect(page.url()).toBe(`${server.origin}/`);
    expect(await page.evaluate("window.early")).toBe("function");
    const called = page.evaluate(`window.core.call("app.info", { a: 1 }, "@a:b")`);
    expect(await called).toMatchObject({
      ok: true,
      value: { echoed: { name: "app.info", input: { a: 1 }, account: "@a:b" } },
    });
    await page.evaluate(
      `window.heard = []; window.off = window.core.on("rooms.changed", (...all) => window.heard.push(all)); 0`,
    );
    emit({ event: "rooms.changed", payload: { roomIds: ["!a"] }, account: "@a:b" });
    await eventually(
      () => page.evaluate("window.heard.length"),
      (length) => length === 1,
    );
    expect(await page.evaluate("window.heard")).toEqual([[{ roomIds: ["!a"] }, "@a:b"]]);
    expect(await page.evaluate("Object.keys(window.core)")).toEqual(["call", "on"]);

    const second = await browser.newPage();
    await second.goto(address);
    expect(await second.evaluate(`window.core.call("app.info", {})`)).toMatchObject({
      ok: false,
      error: { code: "forbidden" },
    });
    const bare = await browser.newPage();
    await bare.goto(server.origin);
    expect(await bare.evaluate(`window.core.call("app.info", {})`)).toMatchObject({
      ok: false,
      error: { code: "forbidden" },
    });
    for (const each of [page, second, bare]) await each.close();
  });

  test("a request that is too large is refused before it is sent, and the next one is answered", async () => {
    const page = await browser.newPage();
    await page.goto(server.newAddress());
    const large = await page.evaluate(`window.core.call("a.b", { body: "ü".repeat(600_000) })`);
    expect(large).toMatchObject({ ok: false, error: { code: "bad-request" } });
    expect(await page.evaluate(`window.core.call("app.info", {})`)).toMatchObject({ ok: true });
    await page.close();
  });

  test("comes back by itself after its connection broke, and has missed no event", async () => {
    const page = await browser.newPage();
    // the page's sockets are held here, so that one can be cut
    await page.addInitScript(`
      const Real = WebSocket; window.opened = [];
      window.WebSocket = class extends Real { constructor(...a) { super(...a); window.opened.push(this); } };`);
    await page.goto(server.newAddress());
    expect(await page.evaluate(`window.core.call("app.info", {})`)).toMatchObject({ ok: true });
    await page.evaluate(
      `window.heard = []; window.core.on("rooms.changed", (p) => window.heard.push(p.n)); window.opened[0].close(); 0`,
    );
    emit({ event: "rooms.changed", payload: { n: 1 } });
    expect(await page.evaluate(`window.core.call("app.info", {})`)).toMatchObject({ ok: true });
    emit({ event: "rooms.changed", payload: { n: 2 } });
    await eventually(
      () => page.evaluate("window.heard.length"),
      (length) => length === 2,
    );
    expect(await page.evaluate("window.heard")).toEqual([1, 2]);
    expect(await page.evaluate("window.opened.length")).toBe(2);
    await page.close();
  });
});

describe("the file that opens the browser", () => {
  test("has mode 0600 in a folder of mode 0700, and leads to the address", async () => {
    const address = server.newAddress();
    const { file, remove } = writeAddressFile(address);
    try {
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(statSync(path.dirname(file)).mode & 0o777).toBe(0o700);
      const page = await browser.newPage();
      await page.goto(`file://${file}`);
      await page.waitForURL(`${server.origin}/`);
      expect(await page.evaluate(`window.core.call("app.info", {})`)).toMatchObject({ ok: true });
      await page.close();
    } finally {
      remove();
    }
    expect(statSync(file, { throwIfNoEntry: false })).toBeUndefined();
  });

  test.each(["linux", "darwin", "win32"] as const)("no argument on %s carries anything but its path", (platform) => {
    const [command, args] = openCommand("F", platform);
    expect([command, ...args].filter((part) => part !== "F").join(" ")).toMatch(
      /^(xdg-open|open|rundll32\.exe url\.dll,FileProtocolHandler)$/,
    );
  });

  test.runIf(process.platform === "linux")("the browser is started with the path alone", async () => {
    const fake = path.join(folder, "bin");
    mkdirSync(fake);
    writeFileSync(path.join(fake, "xdg-open"), `#!/bin/sh\nprintf '%s\\n' "$@" > "${folder}/args"\n`, { mode: 0o755 });
    const before = process.env["PATH"];
    process.env["PATH"] = `${fake}${path.delimiter}${before ?? ""}`;
    try {
      expect(await openOutside("/some/file.html")).toBe(true);
      process.env["PATH"] = folder;
      expect(await openOutside("/some/file.html")).toBe(false);
    } finally {
      process.env["PATH"] = before;
    }
    expect(readFileSync(path.join(folder, "args"), "utf8")).toBe("/some/file.html\n");
  });
});

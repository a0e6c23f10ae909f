import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { maxRequestBytes } from "../../preload/contract/define.ts";
import type { Host } from "../host/host.ts";
import type { Caller } from "../host/router.ts";
import { readWindowFile, windowHeaders } from "../host/window-files.ts";
import { type Session, Sessions } from "./sessions.ts";
/** What the door needs of the host. */
export type WindowHost = Pick<Host, "handleText" | "on">;

export type LoopbackServer = {
  origin: string;
  /** The address that opens one page, once, within two minutes. */
  newAddress: () => string;
  stop: () => Promise<void>;
};

const handshakeMs = 10_000;
const refused = 4401;
const caller: Caller = { door: "loopback", isWindow: true };

/** Serves the window to browsers of this machine: HTTP for its files, one WebSocket a page for its calls. */
export async function serveWindow(app: WindowHost, rendererFolder: string, bridgeFile: URL): Promise<LoopbackServer> {
  const sessions = new Sessions();
  let port = 0;
  const host = () => `127.0.0.1:${String(port)}`;
  const origin = () => `http://${host()}`;

  const http = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      process.stderr.write(`[loopback] ${error instanceof Error ? (error.stack ?? error.message) : "failed"}\n`);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const headers = { ...windowHeaders([`ws://${host()}`]), "cache-control": "no-store" };
    const end = (status: number) => response.writeHead(status, headers).end();
    const status = refusal(request, host(), origin());
    if (status !== undefined) return void end(status);
    const { pathname } = new URL(request.url ?? "/", origin());
    const file =
      pathname === "/bridge.js"
        ? { name: "bridge.js", mimeType: "text/javascript; charset=utf-8", body: await readFile(bridgeFile) }
        : await readWindowFile(rendererFolder, pathname);
    if (file === undefined) return void end(404);
    const body = file.name === "index.html" ? withBridge(file.body) : file.body;
    response.writeHead(200, { ...headers, "content-type": file.mimeType, "content-length": body.byteLength });
    response.end(request.method === "HEAD" ? undefined : body);
  }

  const sockets = new WebSocketServer({ noServer: true, maxPayload: maxRequestBytes });
  http.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on("error", () => socket.destroy());
    // a browser always sends an Origin with a WebSocket; without one it is no page of ours
    const status = request.headers.origin === undefined ? 403 : refusal(request, host(), origin());
    if (status !== undefined || request.url !== "/core") {
      socket.end(
        `HTTP/1.1 ${status === 421 ? "421 Misdirected Request" : "403 Forbidden"}\r\nconnection: close\r\n\r\n`,
      );
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      greet(webSocket, sessions, app);
    });
  });

  await new Promise<void>((resolve, reject) => {
    http.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const address = http.address();
  if (address === null || typeof address === "string") throw new Error("The loopback door got no port.");
  port = address.port;
  const unsubscribe = app.on((message) => {
    sessions.broadcast(JSON.stringify(message));
  });

  return {
    origin: origin(),
    newAddress: () => `${origin()}/#token=${sessions.issueToken()}`,
    stop: async () => {
      unsubscribe();
      for (const client of sockets.clients) client.terminate();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

/**
 * The status to refuse with, or undefined. A name that an attacker's DNS points at 127.0.0.1 shows in Host (421);
 * another page shows in Origin or in Sec-Fetch-Site (403). A navigation may come from elsewhere: the file that opens
 * the browser is such a place, and what it opens is worth nothing without the token.
 */
function refusal(request: IncomingMessage, host: string, origin: string): number | undefined {
  const { headers, method } = request;
  if (headers.host !== host) return 421;
  if (headers.origin !== undefined && headers.origin !== origin) return 403;
  const site = headers["sec-fetch-site"];
  const own = site === undefined || site === "same-origin" || site === "none";
  const opened = headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document";
  if (!own && !opened) return 403;
  return method === "GET" || method === "HEAD" ? undefined : 405;
}

/** Before the page's own scripts, so that window.core is there when they run, as with the preload. */
function withBridge(page: Buffer): Buffer {
  const html = page.toString("utf8");
  const script = '<script src="/bridge.js"></script>';
  const changed = html.replace(/<head[^>]*>/i, (head) => head + script);
  if (changed === html) throw new Error("index.html has no head to put the bridge into.");
  return Buffer.from(changed);
}

/** The first message carries the one-time token or, on a way back, the session's secret and how many events it has heard. Nothing is served before it. */
function greet(socket: WebSocket, sessions: Sessions, app: WindowHost): void {
  const tooLate = setTimeout(() => {
    socket.close(refused);
  }, handshakeMs);
  socket.on("error", () => {
    socket.terminate();
  });
  socket.once("close", () => {
    clearTimeout(tooLate);
  });
  socket.once("message", (data) => {
    clearTimeout(tooLate);
    const said = fieldsOf(data);
    const opened = typeof said["token"] === "string" ? sessions.open(said["token"]) : undefined;
    const session =
      opened?.session ?? (typeof said["session"] === "string" ? sessions.resume(said["session"]) : undefined);
    const missed = session?.after(opened === undefined && typeof said["heard"] === "number" ? said["heard"] : 0);
    if (session === undefined || missed === undefined) {
      socket.close(refused);
      return;
    }
    socket.send(JSON.stringify(opened === undefined ? {} : { session: opened.secret }));
    serve(socket, session, missed, app);
  });
}

function serve(socket: WebSocket, session: Session, missed: string[], app: WindowHost): void {
  const send = (text: string) => {
    if (socket.readyState === socket.OPEN) socket.send(text);
  };
  for (const text of missed) send(text);
  session.send = send;
  socket.once("close", () => {
    if (session.send === send) session.send = undefined;
  });
  socket.on("message", (data) => {
    void app.handleText(bytesOf(data), caller).then((response) => {
      send(JSON.stringify(response));
    });
  });
}

function bytesOf(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return Buffer.isBuffer(data) ? data : Buffer.from(data);
}

/** The fields of a JSON object; none where it is anything else. */
function fieldsOf(data: RawData): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytesOf(data).toString("utf8"));
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

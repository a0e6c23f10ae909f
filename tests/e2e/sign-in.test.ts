import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { freePort } from "../homeserver/free-port.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { openHeadless, type HeadlessApp } from "./headless-app.ts";
import { password } from "./people.ts";

/** Whatever the app would ask of the world outside comes here: it stands as its HTTP and HTTPS proxy. */
let outside: { server: Server; asked: string[] };
let homeserver: Homeserver;
let app: HeadlessApp;
const servers: Server[] = [];

beforeAll(async () => {
  homeserver = await startHomeserver();
  await homeserver.register("ana", { password });
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method ?? ""} ${request.url ?? ""}`);
    response.writeHead(502).end();
  });
  server.on("connect", (request, socket) => {
    asked.push(`CONNECT ${request.url ?? ""}`);
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  outside = { server, asked };
  const proxy = await addressOf(server);
  const settings = {
    http_proxy: proxy,
    https_proxy: proxy,
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    no_proxy: "",
    NO_PROXY: "",
  };
  app = await openHeadless({ env: settings });
});
afterAll(async () => {
  await app.remove();
  await close(outside.server);
  await homeserver.stop();
});
beforeEach(() => {
  outside.asked.length = 0;
});
afterEach(async () => {
  for (const server of servers.splice(0)) await close(server);
});

async function addressOf(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
/** A web server that answers each path with JSON, or with its front page. */
async function webServer(answers: Record<string, unknown>, asked: string[] = []): Promise<string> {
  const server = createServer((request, response) => {
    const path = (request.url ?? "").replace(/\?.*$/, "");
    asked.push(path);
    const answer = answers[path];
    if (answer === undefined)
      response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>Bakery</title>");
    else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  servers.push(server);
  return await addressOf(server);
}
const errorOf = async (name: string, input: unknown) => {
  const response = await app.ask(name, input);
  return response.ok ? response : response.error;
};
const signIn = (server: string, wanted = password) => ({ homeserver: server, user: "ana", password: wanted });

test("a homeserver says what it offers", async () => {
  const found = await app.call("account.discover", { server: homeserver.url });
  expect(found).toMatchObject({ homeserver: homeserver.url, registration: true });
  expect(found.flows).toContain("password");
  expect(found.versions).toContain("v1.11");
});

test("a wrong password is forbidden, and the person may try again", async () => {
  expect(await errorOf("account.login", signIn(homeserver.url, "wrong"))).toMatchObject({
    code: "forbidden",
    retryable: false,
  });
  expect(await app.call("account.status", {})).toEqual({ at: "signed-out" });
});

test("a name that is taken is a conflict", async () => {
  expect(await errorOf("account.register", signIn(homeserver.url))).toMatchObject({ code: "conflict" });
});

test("a web server that is no homeserver is not-a-homeserver", async () => {
  const bakery = await webServer({});
  expect(await errorOf("account.discover", { server: bakery })).toMatchObject({ code: "not-a-homeserver" });
  expect(await errorOf("account.discover", { server: bakery.slice("http://".length) })).toMatchObject({
    code: "not-a-homeserver",
  });
  expect(await errorOf("account.login", signIn(bakery))).toMatchObject({ code: "not-a-homeserver" });
  const half = await webServer({ "/_matrix/client/versions": { versions: "v1.1" } });
  expect(await errorOf("account.discover", { server: half })).toMatchObject({ code: "not-a-homeserver" });
});

test("where nobody listens the server is unreachable, and trying again may help", async () => {
  const nobody = `http://127.0.0.1:${await freePort()}`;
  for (const name of ["account.login", "account.register"])
    expect(await errorOf(name, signIn(nobody))).toMatchObject({ code: "unreachable", retryable: true });
  expect(await errorOf("account.discover", { server: nobody })).toMatchObject({ code: "unreachable", retryable: true });
});

test("http off loopback is refused before any request", async () => {
  for (const server of ["http://matrix.example.org", "http://10.0.0.1:8008", "http://127.0.0.1.example.org"]) {
    expect(await errorOf("account.discover", { server })).toMatchObject({ code: "unsupported" });
    for (const name of ["account.login", "account.register"])
      expect(await errorOf(name, signIn(server))).toMatchObject({ code: "unsupported" });
  }
  expect(outside.asked).toEqual([]);
  // the same with https does ask, and is seen here
  expect(await errorOf("account.discover", { server: "https://matrix.example.org" })).toMatchObject({
    code: "unreachable",
  });
  expect(outside.asked).toContain("CONNECT matrix.example.org:443");
});

test("http off loopback is refused also when .well-known names it", async () => {
  const asked: string[] = [];
  const named = await webServer(
    { "/.well-known/matrix/client": { "m.homeserver": { base_url: "http://matrix.example.org" } } },
    asked,
  );
  const server = named.slice("http://".length);
  expect(await errorOf("account.discover", { server })).toMatchObject({ code: "unsupported" });
  expect(await errorOf("account.login", signIn(server))).toMatchObject({ code: "unsupported" });
  expect(new Set(asked)).toEqual(new Set(["/.well-known/matrix/client"]));
  expect(outside.asked).toEqual([]);
});

test("a password never follows a redirect", async () => {
  const server = createServer((request, response) => {
    if (request.url === "/_matrix/client/versions") {
      response.writeHead(200, { "content-type": "application/json" }).end('{"versions":["v1.11"]}');
      return;
    }
    response.writeHead(307, { location: `http://matrix.example.org${request.url ?? ""}` }).end();
  });
  servers.push(server);
  const address = await addressOf(server);
  expect((await app.ask("account.login", signIn(address))).ok).toBe(false);
  expect(outside.asked).toEqual([]);
});

test(".well-known leads to the homeserver, and signing in twice says so", async () => {
  const named = await webServer({ "/.well-known/matrix/client": { "m.homeserver": { base_url: homeserver.url } } });
  const server = named.slice("http://".length);
  expect(await app.call("account.discover", { server })).toMatchObject({ homeserver: homeserver.url });
  const { userId, deviceId } = await app.call("account.login", { ...signIn(server), deviceName: "Kitchen" });
  expect(await app.call("account.status", {})).toMatchObject({
    at: "signed-in",
    userId,
    deviceId,
    homeserver: homeserver.url,
  });
  expect(await errorOf("account.login", signIn(server))).toMatchObject({ code: "already-signed-in" });
});

test("no answer repeats what was asked", async () => {
  const secret = "Zyxw-9876-never-repeat";
  for (const [name, input] of [
    ["account.login", { homeserver: homeserver.url, user: secret, password: secret }],
    ["account.login", { homeserver: homeserver.url, user: secret, password: secret, [secret]: 1 }],
    ["account.discover", { server: `https://${secret}.example.org` }],
    ["account.discover", { server: `http://${secret}.example.org` }],
    [secret, {}],
  ] as const)
    expect(JSON.stringify(await app.ask(name, input))).not.toContain(secret);
});

import { connect } from "node:net";
import { afterEach, beforeAll, afterAll, expect, test } from "vitest";
import { apiOf } from "../../homeserver/api.ts";
import type { Api } from "../../homeserver/api.ts";
import { startFaultProxy } from "../../homeserver/fault-proxy.ts";
import type { Exchange, FaultProxy } from "../../homeserver/fault-proxy.ts";
import { startHomeserver } from "../../homeserver/homeserver.ts";
import type { Account, Homeserver } from "../../homeserver/homeserver.ts";

const whoami = "/_matrix/client/v3/account/whoami";
let homeserver: Homeserver;
let proxy: FaultProxy;
let alice: Account;
let roomId: string;
let through: Api;

beforeAll(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  through = apiOf(proxy.url);
  alice = await homeserver.register("alice");
  const created = await homeserver.api<{ room_id: string }>("POST", "v3/createRoom", {
    token: alice.accessToken,
    body: {},
  });
  roomId = created.room_id;
});

afterEach(() => {
  proxy.setOnline(true);
  proxy.clear();
});

afterAll(async () => {
  await proxy.stop();
  await homeserver.stop();
});

const whoAmI = async () => await through<{ user_id: string }>("GET", whoami, { token: alice.accessToken });

async function send(transactionId: string, text = transactionId): Promise<string> {
  const path = `v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/${transactionId}`;
  const body = { msgtype: "m.text", body: text };
  return (await through<{ event_id: string }>("PUT", path, { token: alice.accessToken, body })).event_id;
}

/** What the homeserver has, asked past the proxy. */
async function sentTexts(): Promise<string[]> {
  const path = `v3/rooms/${encodeURIComponent(roomId)}/messages`;
  const query = { dir: "b", limit: "50", filter: JSON.stringify({ types: ["m.room.message"] }) };
  type Page = { chunk: { content: { body: string } }[] };
  const { chunk } = await homeserver.api<Page>("GET", path, { token: alice.accessToken, query });
  return chunk.map((event) => event.content.body);
}

const isPoll = { path: /\/sync$/, when: (one: Exchange) => one.query.has("since") };
// presence would end a poll before what a test waits for
const quiet = { set_presence: "offline", filter: JSON.stringify({ presence: { not_types: ["*"] } }) };

let polls = 0;

/** A long poll that begins now, and its request once it is at the proxy. */
async function startPoll(signal?: AbortSignal): Promise<{ answer: Promise<string>; exchange: Exchange }> {
  const token = alice.accessToken;
  // Synapse repeats its answer to the same request for two minutes, and with it an old token
  const query = { ...quiet, timeout: String(++polls) };
  const { next_batch: since } = await through<{ next_batch: string }>("GET", "v3/sync", { token, query });
  const url = `${proxy.url}/_matrix/client/v3/sync?${new URLSearchParams({ ...quiet, since, timeout: "30000" }).toString()}`;
  const request = { headers: { authorization: `Bearer ${token}` }, ...(signal === undefined ? {} : { signal }) };
  const answer = fetch(url, request).then(async (response) => await response.text());
  // a failure is looked at later than it may come
  answer.catch(() => undefined);
  return { answer, exchange: await proxy.waitFor(isPoll, { state: "arrived" }) };
}

const failure = async (work: Promise<unknown>) =>
  await work.then(
    () => "no failure",
    (error: unknown) => (error instanceof TypeError && error.cause instanceof Error ? codeOf(error.cause) : error),
  );

const codeOf = (error: Error) => ("code" in error ? error.code : error.message);

test("without rules a request passes unchanged and is recorded with its answer", async () => {
  const eventId = await send("plain", "a text with ü");
  const [exchange] = proxy.seen({ method: "PUT", path: /\/send\// });
  expect(exchange).toMatchObject({ n: expect.any(Number) as number, method: "PUT", status: 200, outcome: "passed" });
  expect(JSON.parse(String(exchange?.requestBody))).toEqual({ msgtype: "m.text", body: "a text with ü" });
  expect(JSON.parse(String(exchange?.responseBody))).toEqual({ event_id: eventId });
  expect(exchange?.requestHeaders.authorization).toBe(`Bearer ${alice.accessToken}`);
  expect(exchange?.endedMs).toBeGreaterThanOrEqual(exchange?.startedMs ?? Infinity);
  await through("GET", "v3/sync", { token: alice.accessToken, query: { timeout: "0", set_presence: "offline" } });
  expect(proxy.exchanges.at(-1)?.query.get("set_presence")).toBe("offline");
});

test("an answer that is an error passes as one", async () => {
  await expect(through("GET", whoami, { token: "wrong" })).rejects.toMatchObject({
    status: 401,
    errcode: "M_UNKNOWN_TOKEN",
  });
});

test("large bodies pass whole in both directions, while the record is bounded", async () => {
  const small = await startFaultProxy(homeserver.url, { recordBytes: 1000 });
  const bytes = Buffer.alloc(3 * 1024 * 1024, "tessera ");
  const authorization = `Bearer ${alice.accessToken}`;
  const uploaded = await fetch(`${small.url}/_matrix/media/v3/upload`, {
    method: "POST",
    headers: { authorization, "content-type": "application/octet-stream" },
    body: bytes,
  });
  const { content_uri: uri } = (await uploaded.json()) as { content_uri: string };
  const url = `${small.url}/_matrix/client/v1/media/download/${uri.slice("mxc://".length)}`;
  const back = Buffer.from(await (await fetch(url, { headers: { authorization } })).arrayBuffer());
  expect(back.equals(bytes)).toBe(true);
  expect(small.exchanges.map((one) => [one.requestBody.length, one.responseBody?.length])).toEqual([
    [1000, expect.any(Number)],
    [0, 1000],
  ]);
  await small.stop();
});

test("a long poll waits at the homeserver and comes back with what happens meanwhile", async () => {
  const { answer, exchange } = await startPoll();
  expect(exchange.outcome).toBe("open");
  await send("while-polling");
  expect(await answer).toContain("while-polling");
});

test("a client that goes away ends its exchange", async () => {
  const gone = new AbortController();
  const { answer } = await startPoll(gone.signal);
  gone.abort();
  await expect(answer).rejects.toThrow();
  expect((await proxy.waitFor(isPoll)).outcome).toBe("aborted");
});

test("delay: the request waits, then passes", async () => {
  proxy.on({ path: whoami }, { kind: "delay", ms: 300 });
  const startedMs = performance.now();
  await whoAmI();
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(299);
});

test("hold: the request waits for release, and later ones pass", async () => {
  const rule = proxy.on({ path: /\/send\// }, { kind: "hold" });
  const sending = send("held");
  await proxy.waitFor({ path: /\/send\// }, { state: "arrived" });
  expect(await sentTexts()).not.toContain("held");
  rule.release();
  await sending;
  await send("after");
  expect((await sentTexts()).slice(0, 2)).toEqual(["after", "held"]);
  expect(rule.used).toBe(1);
});

test("drop: the connection is reset before the homeserver sees the request", async () => {
  proxy.on({ path: /\/send\// }, { kind: "drop" }, { times: 1 });
  expect(await failure(send("dropped"))).toBe("ECONNRESET");
  expect(proxy.exchanges.at(-1)).toMatchObject({ outcome: "dropped" });
  expect(await sentTexts()).not.toContain("dropped");
  await send("dropped");
  expect((await sentTexts())[0]).toBe("dropped");
});

test("drop-response: the homeserver has it, the client does not know", async () => {
  proxy.on({ path: /\/send\// }, { kind: "drop-response" }, { times: 1 });
  expect(await failure(send("lost-answer"))).toBe("ECONNRESET");
  expect(proxy.exchanges.at(-1)).toMatchObject({ outcome: "answer-dropped" });
  expect((await sentTexts()).filter((text) => text === "lost-answer")).toHaveLength(1);
  await send("lost-answer");
  expect((await sentTexts()).filter((text) => text === "lost-answer")).toHaveLength(1);
});

test.each([0, 5])("cut: the answer breaks off after %d bytes", async (afterBytes) => {
  proxy.on({ path: whoami }, { kind: "cut", afterBytes });
  const response = await fetch(`${proxy.url}${whoami}`, { headers: { authorization: `Bearer ${alice.accessToken}` } });
  expect(response.status).toBe(200);
  let got = 0;
  const reading = async () => {
    for await (const chunk of response.body ?? []) got += (chunk as Uint8Array).length;
  };
  await expect(reading()).rejects.toThrow();
  expect(got).toBe(afterBytes);
  const exchange = await proxy.waitFor({ path: whoami });
  expect(exchange.outcome).toBe("cut");
  expect(exchange.responseBody?.length ?? 0).toBe(afterBytes);
});

test("status: answered without the homeserver, with body and headers", async () => {
  const body = { errcode: "M_LIMIT_EXCEEDED", error: "Too many" };
  proxy.on({ path: /\/send\// }, { kind: "status", status: 429, body, headers: { "retry-after": "1" } }, { times: 2 });
  await expect(send("limited")).rejects.toMatchObject({ status: 429, body });
  const raw = await fetch(`${proxy.url}/_matrix/client/v3/rooms/x/send/y/z`, { method: "PUT", body: "{}" });
  expect(raw.headers.get("retry-after")).toBe("1");
  expect(await sentTexts()).not.toContain("limited");
  expect(proxy.seen({ method: "PUT" }).map((one) => one.outcome)).toEqual(["replaced", "replaced"]);
  await send("limited");
  proxy.on({ path: whoami }, { kind: "status", status: 200, body: "<html>not a homeserver</html>" });
  expect(await through("GET", whoami)).toBe("<html>not a homeserver</html>");
});

test("rewrite-response: the client sees other JSON, and what is recorded is what it saw", async () => {
  proxy.on(
    { path: whoami },
    { kind: "rewrite-response", json: (body) => ({ ...(body as object), user_id: "@mallory:tessera.test" }) },
  );
  expect(await whoAmI()).toMatchObject({ user_id: "@mallory:tessera.test", device_id: alice.deviceId });
  const [exchange] = proxy.seen({ path: whoami });
  expect(exchange?.outcome).toBe("rewritten");
  expect(String(exchange?.responseBody)).toContain("@mallory");
});

test("rewrite-response: a long poll that was under way before the rule was made is answered by it", async () => {
  const { answer } = await startPoll();
  const rule = proxy.on(
    isPoll,
    { kind: "rewrite-response", json: (body) => ({ ...(body as object), rewritten: true }) },
    { times: 1 },
  );
  const never = proxy.on({ ...isPoll, when: () => false }, { kind: "rewrite-response", json: () => ({}) });
  await send("wakes the poll");
  expect(JSON.parse(await answer)).toMatchObject({ rewritten: true });
  expect([rule.used, never.used]).toEqual([1, 0]);
  const next = await startPoll();
  await send("wakes the next");
  expect(await next.answer).not.toContain("rewritten");
});

test("rewrite-response: a poll that its client gives up uses no rule up", async () => {
  const gone = new AbortController();
  const { answer, exchange } = await startPoll(gone.signal);
  const rule = proxy.on(isPoll, { kind: "rewrite-response", json: () => ({}) }, { times: 1 });
  gone.abort();
  await failure(answer);
  await proxy.waitFor({ when: (one) => one.n === exchange.n });
  expect(rule.used).toBe(0);
});

test("rewrite-request: the homeserver gets other JSON than the client sent", async () => {
  proxy.on(
    { path: /\/send\// },
    { kind: "rewrite-request", json: (body) => ({ ...(body as object), body: "swapped" }) },
  );
  await send("original");
  expect((await sentTexts())[0]).toBe("swapped");
  const [exchange] = proxy.seen({ path: /\/send\// });
  expect(exchange?.outcome).toBe("rewritten");
  expect(String(exchange?.requestBody)).toContain("original");
});

test("raw: any bytes come back, HTTP or not", async () => {
  proxy.on({ path: whoami }, { kind: "raw", bytes: "this is no HTTP\r\n\r\n" });
  await expect(whoAmI()).rejects.toMatchObject({ cause: { name: "HTTPParserError" } });
  const half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}";
  proxy.clear();
  proxy.on({ path: whoami }, { kind: "raw", bytes: half });
  await expect(whoAmI()).rejects.toThrow("terminated");
  expect(proxy.exchanges.at(-1)?.outcome).toBe("replaced");
});

test("several rules apply in order, up to the first that ends the matter", async () => {
  const count = (body: unknown) => ({ ...(body as object), count: ((body as { count?: number }).count ?? 0) + 1 });
  proxy.on({ path: whoami }, { kind: "delay", ms: 100 });
  proxy.on({ path: whoami }, { kind: "rewrite-response", json: count });
  proxy.on({ path: whoami }, { kind: "rewrite-response", json: count });
  const startedMs = performance.now();
  expect(await whoAmI()).toMatchObject({ count: 2 });
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(99);
  proxy.on({ path: whoami }, { kind: "status", status: 503 });
  const never = proxy.on({ path: whoami }, { kind: "drop" });
  await expect(whoAmI()).rejects.toMatchObject({ status: 503 });
  expect(never.used).toBe(0);
});

test("a match narrows by method, whole path, pattern and a look at the body", async () => {
  proxy.on({ method: "POST", path: whoami }, { kind: "drop" });
  proxy.on({ path: "/_matrix/client/v3/account" }, { kind: "drop" });
  proxy.on(
    { path: /\/send\//g, when: (one) => String(one.requestBody).includes("second") },
    { kind: "status", status: 500 },
  );
  await whoAmI();
  await send("first");
  await expect(send("second")).rejects.toMatchObject({ status: 500 });
  await expect(send("second again")).rejects.toMatchObject({ status: 500 });
  await send("third");
  expect((await sentTexts()).slice(0, 2)).toEqual(["third", "first"]);
});

test("a rule's own mistake is not taken for the homeserver's", async () => {
  proxy.on({ path: whoami }, { kind: "rewrite-response", json: () => JSON.parse("no JSON") as unknown });
  expect(await failure(whoAmI())).toBe("ECONNRESET");
  expect(proxy.exchanges.at(-1)?.outcome).toBe("rule-failed");
});

test("offline: open requests are reset, new ones refused, and online again at the same address", async () => {
  const { answer } = await startPoll();
  proxy.setOnline(false);
  expect(await failure(answer)).toBe("ECONNRESET");
  expect(await failure(whoAmI())).toBe("ECONNREFUSED");
  expect(proxy.exchanges.at(-1)?.outcome).toBe("offline");
  proxy.setOnline(true);
  expect((await whoAmI()).user_id).toBe(alice.userId);
  proxy.setOnline(false);
  proxy.setOnline(true);
  proxy.setOnline(false);
  expect(await failure(whoAmI())).toBe("ECONNREFUSED");
});

test("a homeserver that is gone is a reset, not an answer", async () => {
  const short = await startHomeserver();
  const before = await startFaultProxy(short.url);
  await short.stop();
  expect(await failure(fetch(before.url))).toBe("ECONNRESET");
  expect(before.exchanges.at(-1)?.outcome).toBe("unreachable");
  await before.stop();
});

test("an answer that breaks off at the homeserver breaks off at the client", async () => {
  const before = await startFaultProxy(proxy.url);
  proxy.on({ path: whoami }, { kind: "cut", afterBytes: 5 });
  const api = apiOf(before.url);
  await expect(api("GET", whoami, { token: alice.accessToken })).rejects.toThrow("terminated");
  expect(before.exchanges.at(-1)).toMatchObject({ status: 200, outcome: "unreachable" });
  await before.stop();
});

test("stop does not wait for what a rule delays or holds", async () => {
  const short = await startFaultProxy(homeserver.url);
  short.on({ path: whoami }, { kind: "delay", ms: 3_600_000 });
  short.on({ path: "/held" }, { kind: "hold" });
  const failures = [failure(fetch(short.url + whoami)), failure(fetch(`${short.url}/held`))];
  await short.waitFor({ path: whoami }, { state: "arrived" });
  await short.waitFor({ path: "/held" }, { state: "arrived" });
  await short.stop();
  expect(await Promise.all(failures)).toEqual(["ECONNRESET", "ECONNRESET"]);
});

test("waitFor counts what was seen before, unless told after which exchange", async () => {
  await whoAmI();
  const first = await proxy.waitFor({ path: whoami });
  const next = proxy.waitFor({ path: whoami }, { after: first.n });
  await whoAmI();
  expect((await next).n).toBeGreaterThan(first.n);
});

test("stop ends open connections, and tells who still waits what was never seen", async () => {
  const short = await startFaultProxy(homeserver.url);
  const waiting = short.waitFor({ method: "PUT", path: /\/never\// });
  const socket = connect(Number(new URL(short.url).port), "127.0.0.1");
  const closed = new Promise((resolve) => socket.on("error", resolve).on("close", resolve));
  await new Promise((resolve) => socket.once("connect", resolve));
  await Promise.all([short.stop(), expect(waiting).rejects.toThrow(/PUT .*never/), closed]);
  expect(await failure(fetch(short.url))).toBe("ECONNREFUSED");
});

test("what the proxy costs is timed beside the bare homeserver", async () => {
  const timed = async (api: Api) => {
    const startedMs = performance.now();
    for (let i = 0; i < 50; i++) await api("GET", whoami, { token: alice.accessToken });
    return (performance.now() - startedMs) / 50;
  };
  await timed(homeserver.api);
  const [bareMs, proxiedMs] = [await timed(homeserver.api), await timed(through)];
  process.stderr.write(`[measured] a request ${bareMs.toFixed(2)} ms, through the proxy ${proxiedMs.toFixed(2)} ms\n`);
  expect(proxy.seen({ path: whoami })).toHaveLength(50);
});

test("only loopback is forwarded to", async () => {
  await expect(startFaultProxy("https://127.0.0.1:1")).rejects.toThrow(/127\.0\.0\.1 alone/);
  await expect(startFaultProxy("http://example.org")).rejects.toThrow(/127\.0\.0\.1 alone/);
});

import { EnvHttpProxyAgent, fetch as undiciFetch, request as undiciRequest } from "undici";
import { CoreError } from "../errors.ts";
import type { ProxySettings } from "../worker-port.ts";
import { onlyAsked } from "./key-query.ts";

/**
 * What the tap sees of a request: the path alone, whether it was acknowledged, and what time the server says it is. Of a question for
 * others' keys also which of their servers the own one could not reach (client-server API, `failures` of /keys/query and /keys/claim).
 */
export type TapListener = (seen: { path: string; ok: boolean; serverMs?: number; failedServers?: string[] }) => void;

export type HttpOptions = {
  /** Base URL without a trailing slash. */
  homeserver: string;
  accessToken?: string;
  proxy: ProxySettings;
  /** Resolves once everything written to crypto.db so far is durable. */
  barrier?: () => Promise<void>;
  /** Called when the server no longer knows the token. `soft`: the device may sign in again as itself. */
  onUnknownToken?: (soft: boolean) => void;
};

export type RequestOptions = {
  query?: Record<string, string | number | undefined>;
  body?: unknown;
  /** In place of `body`: sent as they are, as media are. */
  bytes?: Uint8Array;
  timeoutMs?: number;
  signal?: AbortSignal;
  anonymous?: boolean;
  /** The caller has awaited the barrier since it made what the body carries. */
  isDurable?: boolean;
  /** Sees the body of a refusal, whose words are the server's own: never to be logged or shown. */
  refused?: (status: number, body: Record<string, unknown>) => void;
};

const defaultTimeoutMs = 30_000;
/** A first sync of a large account takes the server long, and its body is large; beyond this it is no sync. */
const largestAnswerBytes = 512 * 1024 * 1024;
const keyQueryTimeoutMs = 20_000;
const carriesSecrets =
  /\/(keys\/(upload|claim|signatures\/upload|device_signing\/upload)|sendToDevice\/|room_keys\/keys|dehydrated_device|rooms\/[^/]+\/send\/m\.room\.encrypted)/;

const asksForKeys = /\/keys\/(query|claim)$/;

export type Http = ReturnType<typeof createHttp>;

/** HTTP to one homeserver: for the SDK (`fetchFn`) and for ourselves (`request`), with the same proxy, time-outs and barrier. */
export function createHttp(options: HttpOptions) {
  assertSafeUrl(options.homeserver);
  const agent = new EnvHttpProxyAgent({
    ...options.proxy,
    noProxy: [options.proxy.noProxy, "localhost,127.0.0.1,::1"].filter(Boolean).join(","),
    connections: 16,
    keepAliveTimeout: 30_000,
    connectTimeout: 10_000,
    maxResponseSize: largestAnswerBytes,
    // a long poll is silent until it ends; time-outs are set per request
    headersTimeout: 0,
    bodyTimeout: 60_000,
  });
  const listeners = new Set<TapListener>();
  let unknownTokenTold = false;

  const beforeLeaving = async (path: string) => {
    if (options.barrier && carriesSecrets.test(path)) await options.barrier();
  };
  const tell = (path: string, ok: boolean, date?: string | string[] | null, failedServers?: string[]) => {
    const serverMs = typeof date === "string" ? Date.parse(date) : Number.NaN;
    const more = {
      ...(Number.isFinite(serverMs) ? { serverMs } : {}),
      ...(failedServers === undefined ? {} : { failedServers }),
    };
    for (const listener of listeners) listener({ path, ok, ...more });
  };

  /** Throws `CoreError`; the answer is parsed JSON of unknown shape. */
  const request = async (
    method: "GET" | "PUT" | "POST" | "DELETE",
    path: string,
    more: RequestOptions = {},
  ): Promise<unknown> => {
    const url = new URL(options.homeserver + path);
    for (const [name, value] of Object.entries(more.query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    if (more.isDurable !== true) await beforeLeaving(path);
    const timeout = AbortSignal.timeout(more.timeoutMs ?? defaultTimeoutMs);
    const signal = more.signal ? AbortSignal.any([more.signal, timeout]) : timeout;
    let status: number;
    let headers: Record<string, string | string[] | undefined>;
    let text: string;
    try {
      const answer = await undiciRequest(url, {
        method,
        dispatcher: agent,
        signal,
        headers: {
          accept: "application/json",
          ...(more.body === undefined ? {} : { "content-type": "application/json" }),
          ...(more.bytes === undefined ? {} : { "content-type": "application/octet-stream" }),
          ...(more.anonymous || options.accessToken === undefined
            ? {}
            : { authorization: `Bearer ${options.accessToken}` }),
        },
        ...(more.body === undefined ? {} : { body: JSON.stringify(more.body) }),
        ...(more.bytes === undefined ? {} : { body: more.bytes }),
      });
      status = answer.statusCode;
      headers = answer.headers;
      text = await answer.body.text();
    } catch (cause) {
      tell(path, false);
      if (more.signal?.aborted) throw new CoreError("cancelled", { cause });
      throw new CoreError(timeout.aborted ? "timeout" : "unreachable", { cause, retryable: true });
    }
    tell(path, status < 300, headers["date"]);
    if (status >= 300) {
      more.refused?.(status, parsedObject(text));
      throw refusal(status, text, retryAfter(headers["retry-after"]), onUnknown);
    }
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new CoreError("unreachable", {
        cause,
        message: "The server's answer is not JSON.",
        details: { kind: "bad-answer" },
      });
    }
  };

  /**
   * A body to be read as it comes, for answers that must never lie whole in memory. Throws `CoreError`, also while it is read;
   * silence of a minute ends it.
   */
  const download = async (
    path: string,
    more: Pick<RequestOptions, "query" | "signal"> = {},
  ): Promise<AsyncIterable<Uint8Array>> => {
    const url = new URL(options.homeserver + path);
    for (const [name, value] of Object.entries(more.query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const failed = (cause: unknown) =>
      more.signal?.aborted === true
        ? new CoreError("cancelled", { cause })
        : new CoreError("unreachable", { cause, retryable: true });
    const answer = await undiciRequest(url, {
      method: "GET",
      dispatcher: agent,
      ...(more.signal === undefined ? {} : { signal: more.signal }),
      headers: { accept: "application/json", authorization: `Bearer ${options.accessToken ?? ""}` },
      headersTimeout: 120_000,
    }).catch((cause: unknown) => {
      throw failed(cause);
    });
    if (answer.statusCode >= 300) {
      const text = await answer.body.text();
      throw refusal(answer.statusCode, text, retryAfter(answer.headers["retry-after"]), onUnknown);
    }
    return (async function* () {
      try {
        for await (const piece of answer.body) yield piece as Uint8Array;
      } catch (cause) {
        throw failed(cause);
      }
    })();
  };

  const onUnknown = (soft: boolean) => {
    if (unknownTokenTold) return;
    unknownTokenTold = true;
    options.onUnknownToken?.(soft);
  };

  /** For matrix-js-sdk's `fetchFn`. A hanging key query would hold up the first message of every new room, so it ends sooner. */
  const fetchFn = async (resource: string | URL | globalThis.Request, init?: RequestInit): Promise<Response> => {
    const url = new URL(typeof resource === "object" && "url" in resource ? resource.url : resource);
    await beforeLeaving(url.pathname);
    const patience = AbortSignal.timeout(url.pathname.endsWith("/keys/query") ? keyQueryTimeoutMs : 60_000);
    const signal = init?.signal ? AbortSignal.any([init.signal, patience]) : patience;
    try {
      const answer = await undiciFetch(url, {
        method: init?.method ?? "GET",
        headers: Object.fromEntries(new Headers(init?.headers)),
        ...(typeof init?.body === "string" ? { body: init.body } : {}),
        signal,
        // a homeserver that sends its requests elsewhere could send them to where nothing is encrypted
        redirect: "error",
        dispatcher: agent,
      });
      const text = await answer.text();
      const failed = asksForKeys.test(url.pathname) ? failedServersIn(text) : undefined;
      tell(url.pathname, answer.ok, answer.headers.get("date"), failed);
      if (answer.status === 401) refusal(answer.status, text, undefined, onUnknown);
      const kept =
        answer.ok && url.pathname.endsWith("/keys/query")
          ? onlyAsked(parsedObject(typeof init?.body === "string" ? init.body : ""), text)
          : text;
      return new Response(answer.status === 204 ? null : kept, {
        status: answer.status,
        headers: Object.fromEntries(answer.headers),
      });
    } catch (error) {
      tell(url.pathname, false);
      throw error;
    }
  };

  return {
    request,
    download,
    fetchFn,
    homeserver: options.homeserver,
    tap: (listener: TapListener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: async () => {
      await agent.destroy();
    },
  };
}

/** An answer with keys is large, and seldom names failures: it is parsed a second time only where it does. */
function failedServersIn(answer: string): string[] {
  if (!/"failures"\s*:\s*\{\s*"/.test(answer)) return [];
  const failures = parsedObject(answer)["failures"];
  return typeof failures === "object" && failures !== null ? Object.keys(failures) : [];
}

/** `https:` anywhere, `http:` on loopback alone. */
export function assertSafeUrl(address: string): void {
  const url = URL.parse(address);
  if (url === null) throw new CoreError("not-a-homeserver");
  if (url.protocol === "https:") return;
  const loopback = url.hostname === "localhost" || url.hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(url.hostname);
  if (url.protocol === "http:" && loopback) return;
  throw new CoreError("unsupported", { message: "Only encrypted connections (https) are used, loopback aside." });
}

/** Seconds or a date (RFC 9110, section 10.2.3), in milliseconds; bounded to an hour. */
function retryAfter(header: string | string[] | undefined): number | undefined {
  const value = Array.isArray(header) ? header[0] : header;
  if (value === undefined) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 3_600_000) : undefined;
}

function parsedObject(text: string): Record<string, unknown> {
  try {
    const parsed = JSON.parse(text) as unknown;
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {}; // a proxy's page in place of the server's answer: the status alone counts
  }
}

/** Matrix's standard error response (client-server API, "Standard error response") as a `CoreError`. */
function refusal(
  status: number,
  text: string,
  retryAfterMs: number | undefined,
  onUnknownToken: (soft: boolean) => void,
): CoreError {
  const body = parsedObject(text);
  const errcode =
    typeof body["errcode"] === "string" && /^[A-Z_a-z.]{1,64}$/.test(body["errcode"]) ? body["errcode"] : undefined;
  const details = { status, ...(errcode === undefined ? {} : { errcode }) };
  if (errcode === "M_UNKNOWN_TOKEN" || errcode === "M_MISSING_TOKEN") {
    onUnknownToken(body["soft_logout"] === true);
    return new CoreError("not-signed-in", { details });
  }
  if (status === 429 || errcode === "M_LIMIT_EXCEEDED") {
    const hinted =
      typeof body["retry_after_ms"] === "number" ? Math.min(Math.max(body["retry_after_ms"], 0), 3_600_000) : undefined;
    const waitMs = retryAfterMs ?? hinted;
    return new CoreError("rate-limited", { details, ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }) });
  }
  if (status === 401) return new CoreError("authentication-required", { details: { ...details, ...flowsOf(body) } });
  if (status === 403) return new CoreError("forbidden", { details });
  if (status === 413 || errcode === "M_TOO_LARGE") return new CoreError("too-large", { details });
  if (errcode === "M_USER_IN_USE" || errcode === "M_ROOM_IN_USE" || errcode === "M_EXCLUSIVE")
    return new CoreError("conflict", { details });
  if (errcode === "M_UNRECOGNIZED" || status === 405) return new CoreError("unsupported", { details });
  if (status === 404) return new CoreError("not-found", { details });
  if (status >= 500)
    return new CoreError("unreachable", { details, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  return new CoreError(status === 400 ? "bad-request" : "unexpected", { details });
}

const flowsOf = (body: Record<string, unknown>) =>
  Array.isArray(body["flows"])
    ? { flows: body["flows"], session: body["session"], completed: body["completed"], params: body["params"] }
    : {};

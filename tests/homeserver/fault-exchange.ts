// Past 300 lines because the life of one exchange, from its rules to its last byte, is read as one.
import { request as httpRequest } from "node:http";
import type { Agent, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { isFinal, matches, pathMatches } from "./fault-rules.ts";
import type { Exchange, Fault, FinalFault, LiveRule, Outcome } from "./fault-rules.ts";

/** What all exchanges of a proxy share. */
export type ProxyState = {
  target: URL;
  agent: Agent;
  rules: LiveRule[];
  lives: Set<ExchangeLife>;
  recordBytes: number;
  /** Something was seen that somebody may wait for. */
  changed: () => void;
};

export function newExchange(n: number, request: IncomingMessage): Exchange {
  const [path = "/", search = ""] = splitOnce(request.url ?? "/");
  return {
    n,
    method: request.method ?? "GET",
    path,
    query: new URLSearchParams(search),
    requestHeaders: request.headers,
    requestBody: Buffer.alloc(0),
    startedMs: Date.now(),
    outcome: "open",
  };
}

function splitOnce(url: string): string[] {
  const at = url.indexOf("?");
  return at < 0 ? [url] : [url.slice(0, at), url.slice(at + 1)];
}

/** Headers that belong to one connection, or whose meaning the proxy changes. */
const ownHeaders = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "te",
  "trailer",
  "upgrade",
  "expect",
  "host",
  "accept-encoding", // recorded answers shall be readable
]);

function passedHeaders(raw: string[], leftOut: string[] = []): OutgoingHttpHeaders {
  const headers: Record<string, string[]> = {};
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? "").toLowerCase();
    if (!ownHeaders.has(name) && !leftOut.includes(name)) (headers[name] ??= []).push(raw[i + 1] ?? "");
  }
  return Object.fromEntries(
    Object.entries(headers).map(([name, values]) => [name, values.length === 1 ? values[0] : values]),
  );
}

/** Takes one request through the rules to its answer. */
export class ExchangeLife {
  private readonly state: ProxyState;
  private readonly exchange: Exchange;
  private readonly request: IncomingMessage;
  private readonly response: ServerResponse;
  private readonly gone = new AbortController();

  constructor(state: ProxyState, exchange: Exchange, request: IncomingMessage, response: ServerResponse) {
    this.state = state;
    this.exchange = exchange;
    this.request = request;
    this.response = response;
    state.lives.add(this);
    response.once("close", () => {
      state.lives.delete(this);
      this.giveUp("aborted");
    });
    // the close that follows says all
    for (const stream of [request, response])
      stream.on("error", () => {
        this.giveUp("aborted");
      });
  }

  /** Nothing is owed to a client that is gone: the homeserver's work on it is given up as well. */
  giveUp(outcome: Outcome): void {
    if (this.exchange.endedMs !== undefined) return;
    this.end(outcome);
    this.gone.abort();
  }

  async run(): Promise<void> {
    const { exchange, state } = this;
    const candidates = state.rules.filter((rule) => pathMatches(rule.match, exchange.method, exchange.path));
    // without a rule in question nothing is collected: bodies stream through
    const whole = candidates.length > 0 ? await collected(this.request) : undefined;
    if (whole !== undefined) exchange.requestBody = whole;
    let body = whole;
    let final: FinalFault | undefined;
    let finalRule: LiveRule | undefined;
    const taken: LiveRule[] = [];
    for (const rule of candidates) {
      // the answer's rules have their turn when there is an answer
      if (rule.fault.kind === "rewrite-response" || !matches(rule.match, exchange) || !rule.take()) continue;
      taken.push(rule);
      if (!isFinal(rule.fault)) continue;
      finalRule = rule;
      break;
    }
    if (whole !== undefined) exchange.requestBody = whole.subarray(0, state.recordBytes);
    state.changed();
    for (const { fault, released } of taken) {
      if (fault.kind === "delay") await sleep(fault.ms, undefined, { signal: this.gone.signal });
      else if (fault.kind === "hold") await released;
      else if (fault.kind === "rewrite-request") body = rewritten(body ?? Buffer.alloc(0), fault.json, exchange);
      else if (isFinal(fault)) final = fault;
    }
    if (this.gone.signal.aborted) return;
    if (final?.kind === "drop") {
      this.reset("dropped");
      return;
    }
    if (final?.kind === "raw") {
      this.answerRaw(final.bytes);
      return;
    }
    if (final?.kind === "status") {
      this.answer(final);
      return;
    }
    const answer = await this.forward(body);
    if (final?.kind === "drop-response") {
      await collected(bodyOf(answer));
      this.reset("answer-dropped");
      return;
    }
    const rewriting = this.answerRules(finalRule).filter((rule) =>
      pathMatches(rule.match, exchange.method, exchange.path),
    );
    if (rewriting.length > 0) {
      await this.passRewritten(answer, rewriting, final);
      return;
    }
    this.begin(answer.statusCode ?? 502, passedHeaders(answer.rawHeaders));
    const changed = taken.some(({ fault }) => fault.kind === "rewrite-request");
    await this.pass(bodyOf(answer), final, changed ? "rewritten" : "passed");
  }

  /** Those of now, not of the request's arrival: a long poll that was under way before a rule was made is answered by it. */
  private answerRules(before: LiveRule | undefined): LiveRule[] {
    const { rules } = this.state;
    const end = before === undefined ? -1 : rules.indexOf(before);
    return (end < 0 ? rules : rules.slice(0, end)).filter((rule) => rule.fault.kind === "rewrite-response");
  }

  fail(error: unknown): void {
    if (this.gone.signal.aborted) return;
    if (error instanceof UpstreamError) {
      this.reset("unreachable");
      return;
    }
    // a SyntaxError's message quotes the body
    const reason = error instanceof SyntaxError ? "a body to rewrite is no JSON" : String(error);
    process.stderr.write(`[fault proxy] ${reason}\n`);
    this.reset("rule-failed");
  }

  private async forward(body: Buffer | undefined): Promise<IncomingMessage> {
    const { target, agent } = this.state;
    const headers = passedHeaders(this.request.rawHeaders, body === undefined ? [] : ["content-length"]);
    return await new Promise((resolve, reject) => {
      const upstream = httpRequest({
        agent,
        host: target.hostname,
        port: target.port,
        method: this.exchange.method,
        path: this.request.url,
        headers: body === undefined ? headers : { ...headers, "content-length": body.length },
        signal: this.gone.signal,
      });
      upstream.once("response", resolve);
      upstream.on("error", (error) => {
        reject(new UpstreamError("The homeserver did not answer.", { cause: error }));
      });
      if (body !== undefined) {
        upstream.end(body);
        return;
      }
      const record = recorder(this.state.recordBytes, (recorded) => {
        this.exchange.requestBody = recorded;
      });
      this.request.on("data", record);
      this.request.pipe(upstream);
    });
  }

  private async pass(
    answer: AsyncIterable<Buffer>,
    final: FinalFault | undefined,
    outcome: Outcome = "passed",
  ): Promise<void> {
    const leftBytes = final?.kind === "cut" ? final.afterBytes : Infinity;
    const record = recorder(this.state.recordBytes, (recorded) => {
      this.exchange.responseBody = recorded;
    });
    let passedBytes = 0;
    for await (const chunk of answer) {
      const part = chunk.subarray(0, leftBytes - passedBytes);
      passedBytes += part.length;
      record(part);
      if (!this.response.write(part)) await drained(this.response, this.gone.signal);
      if (passedBytes >= leftBytes) break;
    }
    if (final?.kind !== "cut") {
      this.finish(outcome);
      return;
    }
    await this.flushed();
    this.reset("cut");
  }

  private async passRewritten(
    answer: IncomingMessage,
    rewriting: LiveRule[],
    final: FinalFault | undefined,
  ): Promise<void> {
    let status = answer.statusCode ?? 502;
    let body = await collected(bodyOf(answer));
    this.exchange.status = status;
    let outcome: Outcome = "passed";
    for (const rule of rewriting) {
      if (rule.fault.kind !== "rewrite-response" || !matches(rule.match, this.exchange) || !rule.take()) continue;
      body = rewritten(body, rule.fault.json, this.exchange);
      status = rule.fault.status ?? status;
      outcome = "rewritten";
    }
    this.begin(status, { ...passedHeaders(answer.rawHeaders), "content-length": body.length });
    await this.pass(one(body), final, outcome);
  }

  /** A reset throws away what has not left yet. */
  private async flushed(): Promise<void> {
    this.response.flushHeaders();
    await new Promise<void>((resolve) => {
      this.response.write("", () => {
        resolve();
      });
      this.gone.signal.addEventListener("abort", () => {
        resolve();
      });
    });
  }

  private answer({ status, body, headers }: Extract<Fault, { kind: "status" }>): void {
    const isText = typeof body === "string" || body instanceof Uint8Array;
    const bytes = Buffer.from(isText ? body : body === undefined ? "" : JSON.stringify(body));
    const type = isText || body === undefined ? {} : { "content-type": "application/json" };
    this.begin(status, { ...type, "content-length": bytes.length, ...headers });
    this.exchange.responseBody = bytes;
    this.finish("replaced", bytes);
  }

  private answerRaw(bytes: string | Uint8Array): void {
    this.end("replaced");
    this.response.socket?.end(bytes);
  }

  private begin(status: number, headers: OutgoingHttpHeaders): void {
    this.exchange.status = status;
    this.response.writeHead(status, headers);
  }

  private finish(outcome: Outcome, body?: Buffer): void {
    // ended before the client reads the last byte, so that a test which got its answer finds the exchange complete
    this.end(outcome);
    this.response.end(body);
  }

  private reset(outcome: Outcome): void {
    this.end(outcome);
    this.request.socket.resetAndDestroy();
  }

  private end(outcome: Outcome): void {
    if (this.exchange.endedMs !== undefined) return;
    this.exchange.outcome = outcome;
    this.exchange.endedMs = Date.now();
    this.state.changed();
  }
}

class UpstreamError extends Error {}

function rewritten(body: Buffer, json: (body: unknown, exchange: Exchange) => unknown, exchange: Exchange): Buffer {
  const before: unknown = body.length === 0 ? undefined : JSON.parse(body.toString("utf8"));
  return Buffer.from(JSON.stringify(json(before, exchange)));
}

async function collected(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function recorder(limitBytes: number, update: (recorded: Buffer) => void): (chunk: Buffer) => void {
  let recorded: Buffer = Buffer.alloc(0);
  return (chunk) => {
    if (recorded.length >= limitBytes) return;
    recorded = Buffer.concat([recorded, chunk.subarray(0, limitBytes - recorded.length)]);
    update(recorded);
  };
}

async function* bodyOf(answer: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer) yield chunk as Buffer;
  } catch (error) {
    throw new UpstreamError("The homeserver's answer broke off.", { cause: error });
  }
}

async function* one(body: Buffer): AsyncGenerator<Buffer> {
  await Promise.resolve();
  yield body;
}

async function drained(response: ServerResponse, gone: AbortSignal): Promise<void> {
  if (gone.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      response.off("drain", done);
      gone.removeEventListener("abort", done);
      resolve();
    };
    response.once("drain", done);
    gone.addEventListener("abort", done);
  });
}

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";

/** One request and what became of it. Bodies are kept up to the proxy's `recordBytes`. */
export type Exchange = {
  /** Counts from 1 in the order of arrival. */
  n: number;
  method: string;
  /** Without the query, as it was sent (percent-encoded). */
  path: string;
  query: URLSearchParams;
  requestHeaders: IncomingHttpHeaders;
  /** As the client sent it, before any rewrite. Whole in `when` and in waitFor's default state, if within the limit. */
  requestBody: Buffer;
  /** As the client got it. */
  status?: number;
  responseBody?: Buffer;
  startedMs: number;
  endedMs?: number;
  outcome: Outcome;
};

/**
 * `replaced`: answered by the proxy. `dropped`: reset before it was forwarded. `answer-dropped`: forwarded, the answer
 * lost. `cut`: the answer broke off. `offline`: reset by setOnline(false). `aborted`: the client went away.
 * `unreachable`: the homeserver did not answer. `rule-failed`: a rule's own function threw, or had no JSON to work on.
 */
export type Outcome =
  | "open"
  | "passed"
  | "rewritten"
  | "replaced"
  | "dropped"
  | "answer-dropped"
  | "cut"
  | "offline"
  | "aborted"
  | "unreachable"
  | "rule-failed";

/** All that is given must hold. A string is the whole path; `when` sees the request with its body. */
export type Match = { method?: string; path?: RegExp | string; when?: (exchange: Exchange) => boolean };

export type Fault =
  /** Waits before forwarding. */
  | { kind: "delay"; ms: number }
  /** Keeps the request until the rule's release(). */
  | { kind: "hold" }
  /** The request's JSON is replaced before it is forwarded. */
  | { kind: "rewrite-request"; json: (body: unknown, exchange: Exchange) => unknown }
  /** The answer's JSON is replaced. */
  | { kind: "rewrite-response"; json: (body: unknown, exchange: Exchange) => unknown; status?: number }
  /** The connection is reset, the homeserver never sees the request. */
  | { kind: "drop" }
  /** The homeserver answers, then the connection is reset. */
  | { kind: "drop-response" }
  /** The answer's head and its first bytes pass, then the connection is reset. */
  | { kind: "cut"; afterBytes: number }
  /** Answered by the proxy alone; an object as body is sent as JSON. */
  | { kind: "status"; status: number; body?: unknown; headers?: OutgoingHttpHeaders }
  /** These bytes are all that comes back on the connection, which then ends; not forwarded. */
  | { kind: "raw"; bytes: string | Uint8Array };

export type Rule = {
  /** How many requests it was applied to. */
  readonly used: number;
  /** Lets go what `hold` keeps, and lets later requests pass. */
  release(): void;
  /** No further request is touched; what is held is released. */
  remove(): void;
};

export type LiveRule = Rule & {
  readonly match: Match;
  readonly fault: Fault;
  readonly released: Promise<void>;
  take(): boolean;
};

export function newRule(match: Match, fault: Fault, times: number): LiveRule {
  let used = 0;
  let removed = false;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const remove = () => {
    removed = true;
    resolve(undefined);
  };
  return {
    match,
    fault,
    released: promise,
    get used() {
      return used;
    },
    take() {
      if (removed || used >= times) return false;
      used++;
      return true;
    },
    release() {
      if (fault.kind === "hold") remove();
    },
    remove,
  };
}

export function pathMatches(match: Match, method: string, path: string): boolean {
  if (match.method !== undefined && match.method !== method) return false;
  if (match.path === undefined) return true;
  // search ignores lastIndex, so that a pattern with the flag g matches each time
  return typeof match.path === "string" ? match.path === path : path.search(match.path) !== -1;
}

export function matches(match: Match, exchange: Exchange): boolean {
  return pathMatches(match, exchange.method, exchange.path) && (match.when === undefined || match.when(exchange));
}

export type FinalFault = Extract<Fault, { kind: "drop" | "drop-response" | "cut" | "status" | "raw" }>;

/** The first fault of these ends the list: what comes after could not be seen any more. */
export function isFinal(fault: Fault): fault is FinalFault {
  return ["drop", "drop-response", "cut", "status", "raw"].includes(fault.kind);
}

export function describeMatch({ method, path, when }: Match): string {
  return [method ?? "any method", String(path ?? "any path"), ...(when === undefined ? [] : ["with a condition"])].join(
    " ",
  );
}

import { Agent, createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { ExchangeLife, newExchange } from "./fault-exchange.ts";
import type { ProxyState } from "./fault-exchange.ts";
import { describeMatch, matches, newRule } from "./fault-rules.ts";
import type { Exchange, Fault, LiveRule, Match, Rule } from "./fault-rules.ts";
import { freePort } from "./free-port.ts";

export type { Exchange, Fault, Match, Rule } from "./fault-rules.ts";

export type FaultProxy = {
  url: string;
  /** All since the start or the last clear(), in order of arrival. */
  exchanges: Exchange[];
  /**
   * Rules apply in the order of on(), the several that match one after the other, up to the first whose fault leaves
   * nothing to add (drop, drop-response, cut, status, raw). A request is judged when it arrives, an answer (rewrite-response)
   * when the homeserver has given it, so that it also takes a long poll that was under way. `times` defaults to every time.
   */
  on(match: Match, fault: Fault, options?: { times?: number }): Rule;
  /** Off: open connections are reset and new ones refused, as with a network that is gone. */
  setOnline(on: boolean): void;
  /**
   * The first exchange that matches and has ended (or arrived, with `state: "arrived"`), also one from before the call
   * unless `after` gives the number of the last one that does not count. Rejects when the proxy stops.
   */
  waitFor(match: Match, options?: { state?: "arrived" | "ended"; after?: number }): Promise<Exchange>;
  seen(match: Match): Exchange[];
  /** Forgets rules and exchanges; requests that a rule held go on. */
  clear(): void;
  stop(): Promise<void>;
};

/** A proxy on a loopback port of its own before a homeserver on loopback, made to misbehave on demand. */
export async function startFaultProxy(
  targetUrl: string,
  { recordBytes = 1024 * 1024 }: { recordBytes?: number } = {},
): Promise<FaultProxy> {
  const target = new URL(targetUrl);
  if (target.protocol !== "http:" || target.hostname !== "127.0.0.1")
    throw new Error("The fault proxy forwards to http://127.0.0.1 alone.");
  const port = await freePort();
  // idle connections go before Synapse closes them, which would cost the request that is just being sent on one
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity, timeout: 15_000 });
  const waiters = new Set<() => void>();
  const exchanges: Exchange[] = [];
  const rules: LiveRule[] = [];
  const lives = new Set<ExchangeLife>();
  const state: ProxyState = { target, agent, rules, lives, recordBytes, changed: tellAll };
  let online = true;
  let counted = 0;
  let stopped = false;
  let server: Server | undefined;
  const sockets = new Set<Socket>();

  function tellAll() {
    for (const waiter of waiters) waiter();
  }

  function handle(request: IncomingMessage, response: ServerResponse) {
    const exchange = newExchange(++counted, request);
    exchanges.push(exchange);
    const life = new ExchangeLife(state, exchange, request, response);
    life.run().catch((error: unknown) => {
      life.fail(error);
    });
  }

  async function goOnline() {
    // without limits of its own: a long poll lasts as long as the homeserver lets it
    const opened = createServer({ requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 600_000 }, handle);
    server = opened;
    opened.on("connection", (socket: Socket) => {
      sockets.add(socket.setNoDelay(true));
      socket.once("close", () => sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      opened.once("error", reject);
      opened.listen(port, "127.0.0.1", resolve);
    });
  }

  function goOffline() {
    server?.close();
    server = undefined;
    for (const life of lives) life.giveUp("offline");
    for (const socket of sockets) socket.resetAndDestroy();
  }

  await goOnline();
  return {
    url: `http://127.0.0.1:${port}`,
    exchanges,
    on(match, fault, { times = Infinity } = {}) {
      const rule = newRule(match, fault, times);
      rules.push(rule);
      return rule;
    },
    setOnline(on) {
      if (stopped || on === online) return;
      online = on;
      if (!on) goOffline();
      // a port that was taken meanwhile ends the test run loudly: nothing could be tested on it
      else void goOnline();
    },
    async waitFor(match, { state: wanted = "ended", after = 0 } = {}) {
      const find = () =>
        exchanges.find(
          (one) => one.n > after && (wanted === "arrived" || one.endedMs !== undefined) && matches(match, one),
        );
      return await new Promise((resolve, reject) => {
        const look = () => {
          const found = find();
          if (found !== undefined) resolve(found);
          else if (stopped) reject(new Error(`The proxy stopped before ${describeMatch(match)} was seen.`));
          else return;
          waiters.delete(look);
        };
        waiters.add(look);
        look();
      });
    },
    seen: (match) => exchanges.filter((one) => matches(match, one)),
    clear() {
      for (const rule of rules.splice(0)) rule.remove();
      exchanges.length = 0;
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      online = false;
      const closing = server;
      const closed = new Promise<void>((resolve) => {
        if (closing === undefined) resolve();
        else closing.once("close", resolve);
      });
      goOffline();
      for (const rule of rules) rule.remove();
      agent.destroy();
      await closed;
      tellAll();
    },
  };
}

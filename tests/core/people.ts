import { afterAll, afterEach, beforeAll } from "vitest";
import { eventually } from "../eventually.ts";
import { startFaultProxy } from "../homeserver/fault-proxy.ts";
import type { Exchange, FaultProxy, Rule } from "../homeserver/fault-proxy.ts";
import { startHomeserver } from "../homeserver/homeserver.ts";
import type { Account, Homeserver } from "../homeserver/homeserver.ts";
import { endCores, sessionOf, startCore } from "./core.ts";
import type { Core } from "./core.ts";

export { eventually };

/** One core, its account on the homeserver, and the proxy between them. */
export type Person = { core: Core; account: Account; userId: string; proxy: FaultProxy };

/** One homeserver a test file, with people on it, each behind a fault proxy of their own. */
export function useHomeserver(config?: Record<string, unknown>) {
  let homeserver: Homeserver | undefined;
  const proxies: FaultProxy[] = [];
  let made = 0;
  beforeAll(async () => {
    homeserver = await startHomeserver(config === undefined ? {} : { config });
  });
  // a test that fails leaves no fault behind for the next one
  afterEach(() => {
    for (const proxy of proxies) {
      proxy.setOnline(true);
      proxy.clear();
    }
  });
  afterAll(async () => {
    await endCores();
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    await homeserver?.stop();
  });
  const server = (): Homeserver => {
    if (homeserver === undefined) throw new Error("The homeserver is there in tests alone.");
    return homeserver;
  };
  const proxyFor = async () => {
    const proxy = await startFaultProxy(server().url);
    proxies.push(proxy);
    return proxy;
  };
  return {
    server,
    proxyFor,
    account: (name: string, displayName?: string) =>
      server().register(`${name}-${++made}`, displayName === undefined ? {} : { displayName }),
    /** Signed in, synced once and with keys on the server, so that others can write to it; a further device of `account` where that is given. */
    person: async (name: string, account?: Account): Promise<Person> => {
      const mine = account ?? (await server().register(`${name}-${++made}`, { displayName: name }));
      const proxy = await proxyFor();
      const core = await startCore({ session: sessionOf(mine, server().url), via: proxy.url });
      await Promise.all([core.sync(), proxy.waitFor(isKeysUploaded)]);
      return { core, account: mine, userId: mine.userId, proxy };
    },
    /** A room of all of them, everyone joined and known to everyone. */
    room: async (
      first: Person,
      others: Person[],
      options: { encrypted?: boolean; name?: string } = {},
    ): Promise<string> => {
      const { roomId } = await first.core.ok("rooms.create", {
        kind: "group",
        invite: others.map((other) => other.userId),
        ...options,
      });
      await Promise.all(
        others.map(async (other) => {
          await other.core.room(roomId);
          await other.core.ok("rooms.join", { room: roomId });
        }),
      );
      await Promise.all([first, ...others].map((person) => person.core.sync()));
      return roomId;
    },
    /** What another client of theirs would do. */
    put: async (account: Account, roomId: string, type: string, content: unknown): Promise<string> => {
      const path = `v3/rooms/${encodeURIComponent(roomId)}/send/${encodeURIComponent(type)}/put${++made}`;
      return (await server().api<{ event_id: string }>("PUT", path, { token: account.accessToken, body: content }))
        .event_id;
    },
    putState: async (
      account: Account,
      roomId: string,
      type: string,
      content: unknown,
      stateKey = "",
    ): Promise<string> => {
      const path = `v3/rooms/${encodeURIComponent(roomId)}/state/${encodeURIComponent(type)}/${encodeURIComponent(stateKey)}`;
      return (await server().api<{ event_id: string }>("PUT", path, { token: account.accessToken, body: content }))
        .event_id;
    },
    event: (account: Account, roomId: string, eventId: string) =>
      server().api<WireEvent>("GET", `v3/rooms/${encodeURIComponent(roomId)}/event/${encodeURIComponent(eventId)}`, {
        token: account.accessToken,
      }),
    /** Whole, oldest first, as the server has it. */
    timeline: async (account: Account, roomId: string): Promise<WireEvent[]> => {
      const path = `v3/rooms/${encodeURIComponent(roomId)}/messages`;
      const answer = await server().api<{ chunk: WireEvent[] }>("GET", path, {
        token: account.accessToken,
        query: { dir: "b", limit: "500" },
      });
      return answer.chunk.reverse();
    },
  };
}

type WireEvent = {
  event_id: string;
  type: string;
  sender: string;
  content: Record<string, unknown>;
  unsigned?: Record<string, unknown>;
};

export const isSync = { path: /\/v3\/sync$/ };
/** Requests that put an event into a room. */
export const isSend = { method: "PUT", path: /\/rooms\/[^/]+\/send\// };
export const isToDevice = { method: "PUT", path: /\/sendToDevice\// };

/** The device is known to the server, with one-time keys of it. */
const isKeysUploaded = {
  method: "POST",
  path: /\/keys\/upload$/,
  when: (one: Exchange) => /"signed_curve25519":[1-9]/.test(String(one.responseBody)),
};

/** No answer of a sync comes until the rule's release(); resolves once the poll that was under way has ended and the next is held. */
export async function holdSync({ core, proxy }: Pick<Person, "core" | "proxy">): Promise<Rule> {
  const hold = proxy.on(isSync, { kind: "hold" });
  // ends the poll that is under way
  void core.call("account.sync", {});
  await eventually(
    () => hold.used,
    (used) => used > 0,
  );
  return hold;
}

/** The type of event that a PUT carries. */
export const sentType = (exchange: Exchange) => decodeURIComponent(/\/send\/([^/]+)\//.exec(exchange.path)?.[1] ?? "");

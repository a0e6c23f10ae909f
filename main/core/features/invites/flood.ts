import { serverOf } from "./link.ts";

/**
 * Bounds on handshake messages, so that strangers cost little and shut out nobody. Before a code is looked for: by sender and by the
 * sender's server, never overall. After one was found: overall, and new people a code. docs/invite-protocol.md, "Floods".
 */
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const limits = {
  sender: { most: 5, withinMs: 10 * minuteMs },
  server: { most: 30, withinMs: minuteMs },
  matched: { most: 120, withinMs: minuteMs },
  joiners: { most: 30, withinMs: hourMs },
  proofs: { most: 10, withinMs: 10 * minuteMs },
} as const;
/** Beyond so many names the oldest are forgotten: their window has mostly passed, and memory stays flat. */
const mostNames = 20_000;

type Limit = { most: number; withinMs: number };
/** The times of the last `most` messages of each name. */
function createBuckets({ most, withinMs }: Limit) {
  const times = new Map<string, number[]>();
  return {
    take: (name: string, nowMs: number): boolean => {
      const recent = (times.get(name) ?? []).filter((ms) => ms > nowMs - withinMs && ms <= nowMs);
      const free = recent.length < most;
      if (free) recent.push(nowMs);
      times.delete(name);
      times.set(name, recent);
      if (times.size > mostNames) for (const oldest of times.keys()) if (times.size > mostNames) times.delete(oldest);
      return free;
    },
  };
}
const serverNameOf = (userId: string): string => serverOf(userId).toLowerCase();
export type Flood = ReturnType<typeof createFlood>;

export function createFlood(nowMs: () => number) {
  const senders = createBuckets(limits.sender);
  const servers = createBuckets(limits.server);
  const matched = createBuckets(limits.matched);
  const joiners = createBuckets(limits.joiners);
  const proofs = createBuckets(limits.proofs);
  const counted = new Map<string, number>();

  return {
    /** A HELLO came, of a code that is not known yet. */
    mayLook: (sender: string): boolean => {
      const now = nowMs();
      // one person's surplus is not their server's
      return senders.take(sender, now) && servers.take(serverNameOf(sender), now);
    },
    /** It named a code of ours. False: the code seems to be in many hands. */
    mayAnswer: (tokenId: string, joiner: string, isKnown: boolean): boolean => {
      const now = nowMs();
      if (!matched.take("", now)) return false;
      if (isKnown) return true;
      const name = `${tokenId}|${joiner}`;
      const at = counted.get(name);
      if (at !== undefined && at > now - hourMs) return true;
      if (!joiners.take(tokenId, now)) return false;
      counted.delete(name);
      counted.set(name, now);
      if (counted.size > mostNames)
        for (const oldest of counted.keys()) if (counted.size > mostNames) counted.delete(oldest);
      return true;
    },
    mayProve: (sender: string): boolean => proofs.take(sender, nowMs()),
  };
}

type Pass = {
  /** A user id. */
  name: string;
  /** No stranger: for them a place is kept, and they wait behind no stranger. */
  known: boolean;
};
/**
 * At most `most` at once, and one fewer of strangers; more than `waiting` strangers more are turned away (`undefined`), and each of
 * them passes once at a time. Of strangers who wait, those come first of whose server nobody is inside: where a server hangs, it holds
 * up its own people.
 */
export function createTurnstile(most: number, waiting: number) {
  const inside: Pass[] = [];
  const line: (Pass & { go: () => void })[] = [];
  const strangers = (passes: Pass[]): Pass[] => passes.filter((one) => !one.known);
  const fits = ({ known }: Pass): boolean =>
    inside.length < most && (known || strangers(inside).length < Math.max(most - 1, 1));
  const hasOneInside = ({ name }: Pass): boolean => inside.some((one) => serverNameOf(one.name) === serverNameOf(name));
  const admitNext = (): void => {
    const next = line.find((one) => one.known) ?? line.find((one) => !hasOneInside(one)) ?? line[0];
    if (next === undefined || !fits(next)) return;
    line.splice(line.indexOf(next), 1);
    inside.push(next);
    next.go();
    admitNext();
  };
  return async <T>(pass: Pass, work: () => Promise<T>): Promise<T | undefined> => {
    const isThere = [...inside, ...line].some((one) => !one.known && one.name === pass.name);
    if (!pass.known && (isThere || strangers(line).length >= waiting)) return undefined;
    const entered = Promise.withResolvers<undefined>();
    const mine = {
      ...pass,
      go: () => {
        entered.resolve(undefined);
      },
    };
    line.push(mine);
    admitNext();
    await entered.promise;
    try {
      return await work();
    } finally {
      inside.splice(inside.indexOf(mine), 1);
      admitNext();
    }
  };
}

/** Somebody whose proof with this master key (unpadded base64) was good. `accepted` false: an identity that was refused beside an earlier one. */
export type Use = {
  userId: string;
  masterKey: string;
  atMs: number;
  deviceId: string;
  /** They came in the window: verified without a question. */
  verify: boolean;
  accepted: boolean;
};
/** Who wrote a register when, by its own count; the clock decides nothing. */
type Written = { rev: number; by: string };
type StateRegister = Written & { at: "active" | "withdrawn"; atMs: number };
type OwnerRegister = Written & { owner: string };

/**
 * A code as one device knows it. State and owner are two registers, so that whoever takes a code over cannot bring a withdrawn one back
 * without having heard of the withdrawal.
 */
export type TokenState = {
  header: Uint8Array;
  secret: Uint8Array;
  roomId: string | undefined;
  createdAtMs: number;
  /** 0: nobody is verified unasked. */
  verifyUntilMs: number;
  state: StateRegister;
  owner: OwnerRegister;
  uses: Use[];
};

const compare = (one: string | number, other: string | number): number => (one < other ? -1 : one > other ? 1 : 0);
/** The first difference; whatever two registers hold, one of them is the later one or they are the same. */
const first = (...differences: number[]): number => differences.find((one) => one !== 0) ?? 0;

const laterState = (a: StateRegister, b: StateRegister): StateRegister => {
  const order = first(
    compare(a.rev, b.rev),
    compare(Number(a.at === "withdrawn"), Number(b.at === "withdrawn")),
    compare(a.by, b.by),
    // the earlier time stands, as everywhere here
    compare(b.atMs, a.atMs),
  );
  return order >= 0 ? a : b;
};
const laterOwner = (a: OwnerRegister, b: OwnerRegister): OwnerRegister =>
  first(compare(a.rev, b.rev), compare(a.by, b.by), compare(a.owner, b.owner)) >= 0 ? a : b;

/** One for each identity of a person: what makes two uses of a code the same. */
export const useKey = (userId: string, masterKey: string): string => JSON.stringify([userId, masterKey]);
/** Two devices may have let the same person in: the earlier entry stands, and what either of them granted was granted. */
const sameUse = (a: Use, b: Use): Use => {
  const earlier = first(compare(a.atMs, b.atMs), compare(a.deviceId, b.deviceId)) <= 0 ? a : b;
  return { ...earlier, verify: a.verify || b.verify, accepted: a.accepted || b.accepted };
};

/** The union, in the order of time. */
export function mergeUses(...lists: Use[][]): Use[] {
  const all = new Map<string, Use>();
  for (const use of lists.flat()) {
    const key = useKey(use.userId, use.masterKey);
    const there = all.get(key);
    all.set(key, there === undefined ? use : sameUse(there, use));
  }
  return [...all.values()].sort((a, b) =>
    first(compare(a.atMs, b.atMs), compare(a.userId, b.userId), compare(a.masterKey, b.masterKey)),
  );
}

/**
 * What two devices know of one code (same header, same secret), put together: commutative, associative, idempotent, so that the order in
 * which notes arrive, and how often, makes no difference.
 */
export function merge(a: TokenState, b: TokenState): TokenState {
  return {
    header: a.header,
    secret: a.secret,
    // written once, by whoever made the code; of two claims one wins everywhere
    roomId: [a.roomId, b.roomId].filter((room) => room !== undefined).sort(compare)[0],
    createdAtMs: Math.min(a.createdAtMs, b.createdAtMs),
    verifyUntilMs: Math.max(a.verifyUntilMs, b.verifyUntilMs),
    state: laterState(a.state, b.state),
    owner: laterOwner(a.owner, b.owner),
    uses: mergeUses(a.uses, b.uses),
  };
}

/**
 * What a note may claim at most: nothing of it is later than when it was sent, and nothing verifies for longer than a device could
 * have granted then. So no clock that is ahead, and no note that comes late or twice, makes a code younger than it is.
 */
export function clamp(state: TokenState, sentAtMs: number, latestVerifyMs: (atMs: number) => number): TokenState {
  return {
    ...state,
    createdAtMs: Math.min(state.createdAtMs, sentAtMs),
    verifyUntilMs: Math.min(state.verifyUntilMs, latestVerifyMs(sentAtMs)),
    state: { ...state.state, atMs: Math.min(state.state.atMs, sentAtMs) },
    uses: state.uses.map((use) => ({ ...use, atMs: Math.min(use.atMs, sentAtMs) })),
  };
}

/** Who was let in, each once, in that order. */
export const acceptedUsers = (uses: Use[]): string[] => [
  ...new Set(uses.filter((use) => use.accepted).map((use) => use.userId)),
];
/** One person, two identities: nothing more happens for them by this code. */
export const isFrozen = (uses: Use[], userId: string): boolean =>
  new Set(uses.filter((use) => use.userId === userId).map((use) => use.masterKey)).size > 1;

type Trouble = {
  kind: "second-key" | "two-users" | "withdrawn-but-used";
  userIds: string[];
  atMs: number;
  withdrawnAtMs?: number;
  /** Of `second-key`: with how many they came. */
  events?: number;
};
/** With how many identities these uses were made. */
export const keysOf = (uses: Use[]): number => new Set(uses.map((use) => use.masterKey)).size;
/** What the person has to be told of a code; each device finds the same. */
export function troubles({ uses, state }: Pick<TokenState, "uses" | "state">, single: boolean): Trouble[] {
  const found: Trouble[] = [];
  for (const userId of new Set(uses.map((use) => use.userId))) {
    if (!isFrozen(uses, userId)) continue;
    const theirs = uses.filter((use) => use.userId === userId);
    const atMs = Math.max(...theirs.map((use) => use.atMs));
    found.push({ kind: "second-key", userIds: [userId], atMs, events: keysOf(theirs) });
  }
  const accepted = uses.filter((use) => use.accepted);
  const users = acceptedUsers(uses);
  if (single && users.length > 1)
    found.push({ kind: "two-users", userIds: users, atMs: Math.max(...accepted.map((use) => use.atMs)) });
  if (state.at === "withdrawn")
    for (const use of accepted.filter((one) => one.atMs > state.atMs))
      found.push({ kind: "withdrawn-but-used", userIds: [use.userId], atMs: use.atMs, withdrawnAtMs: state.atMs });
  return found;
}

import type { Emit } from "../../../../preload/contract/index.ts";
import type { UserTrust } from "../../../../preload/contract/rooms.ts";
import { CoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { DeviceList, KnownUser } from "../../matrix/device-list.ts";
import type { Identity } from "../../matrix/user-identity.ts";
import type { Pin, TrustStore } from "../../storage/trust-store.ts";
import { deviceChanges } from "./device-changes.ts";

type Parts = {
  me: string;
  /** The device that this app is. */
  current: string;
  store: TrustStore;
  devices: () => Promise<DeviceList>;
  /** Their keys as the server has them now; false where it could not be asked. */
  learn: (userIds: string[]) => Promise<boolean>;
  emit: Emit;
  nowMs: () => number;
};
export type Pins = ReturnType<typeof createPins>;
type State = Pin["state"];

/** Between two looks at many people's keys others have their turn. */
const lookedAtOnce = 50;

/**
 * Who everybody is: the identity that was seen first stays theirs until it changes, a verified one stays verified until it changes,
 * and each change is told with its time. The rows are what is shown; what is sent follows `standing`, from the same facts.
 */
export function createPins({ me, current, store, devices, learn, emit, nowMs }: Parts) {
  const waiting = new Set<string>();
  let looking: Promise<void> | undefined;
  let stopped = false;
  /** Those that are not simply pinned or verified, for who asks once a message. */
  let unsettled: Map<string, Pin> | undefined;

  const setPin = (pin: Pin) => {
    store.setPin(pin);
    unsettled = undefined;
  };

  /** What an identity is to us now, given what is remembered of it. */
  const standing = (user: KnownUser): UserTrust["identity"] =>
    user.identity === undefined ? "none" : stateOf(user.identity, store.pin(user.userId), store.carried(user.userId));

  /** Compares what is known now with what was, and writes down the difference. Returns whether the standing changed. */
  const note = (user: KnownUser): boolean => {
    const { userId, identity } = user;
    const atMs = nowMs();
    const before = store.pin(userId);
    if (identity === undefined) return false;
    const carried = store.carried(userId);
    const state = stateOf(identity, before, carried);
    if (state === "verified" && carried !== undefined) store.dropCarried(userId);
    const { fingerprint } = identity;
    const verified = state === "verified" ? fingerprint : (before?.verified ?? null);
    const withdrawn = before?.withdrawn === fingerprint ? fingerprint : null;
    const same = before?.fingerprint === fingerprint && before.state === state;
    if (same && before.verified === verified && before.withdrawn === withdrawn) return false;
    setPin({
      user_id: userId,
      fingerprint,
      state,
      since_ms: same ? before.since_ms : atMs,
      verified,
      withdrawn,
    });
    if (same) return false;
    if (before === undefined) store.append(atMs, "first-seen", userId, fingerprint);
    else if (before.fingerprint !== fingerprint) store.append(atMs, "changed", userId, fingerprint);
    if (state === "verified") store.append(atMs, "verified", userId, fingerprint);
    // nothing of theirs changed: it was our own identity that went, and with it all that it had signed
    else if (before?.state === "verified" && before.fingerprint === fingerprint && withdrawn === null)
      store.append(atMs, "verification-lost", userId, fingerprint);
    // what was encrypted ahead for a room with them was encrypted for somebody else
    if (before !== undefined && (state === "changed" || state === "verification-violated")) store.rotateRooms([userId]);
    return true;
  };

  const lookAt = async (userIds: string[]): Promise<void> => {
    const list = await devices();
    const users = await list.users(userIds);
    const noted = store.transaction(() => users.map((user) => ({ user, ...noteAll(user) })));
    const changed = noted.filter((one) => one.standing).map(({ user }) => user.userId);
    const devicesChanged = noted.filter((one) => one.devices !== "same").map(({ user }) => user.userId);
    const own = noted.some(
      ({ user, standing: mine, devices: theirs }) => user.userId === me && (mine || theirs === "told"),
    );
    if (devicesChanged.length > 0) emit("devices.changed", { userIds: devicesChanged });
    if (changed.length > 0 || own)
      emit("trust.changed", {
        ...(own ? { own: true as const } : {}),
        ...(changed.length > 0 ? { userIds: changed } : {}),
      });
    // verification was lost with our own identity: once that is verified again, theirs counts as seen, not as violated
    if (own) await forgiveAll(list);
  };
  /** `told`: a device other than this one came or went. */
  const noteAll = (user: KnownUser): { standing: boolean; devices: "same" | "seen" | "told" } => {
    const changed = note(user);
    const difference = deviceChanges(user, store.knownDevices(user.userId));
    if (difference === undefined) return { standing: changed, devices: "same" };
    store.setKnownDevices(user.userId, difference.stored);
    for (const { kind, detail, deviceId } of difference.entries)
      store.append(nowMs(), kind, user.userId, detail, deviceId);
    const told = difference.entries.some(({ deviceId }) => user.userId !== me || deviceId !== current);
    return { standing: changed, devices: told ? "told" : "seen" };
  };

  const run = async (): Promise<void> => {
    while (waiting.size > 0 && !stopped) {
      const part = [...waiting].slice(0, lookedAtOnce);
      for (const userId of part) waiting.delete(userId);
      await lookAt(part);
    }
  };
  const look = (userIds: string[]): void => {
    for (const userId of userIds) waiting.add(userId);
    looking ??= run()
      .catch((error: unknown) => {
        if (!stopped) log.error("a change of identities or devices was not taken note of", error);
      })
      .finally(() => {
        looking = undefined;
      });
  };

  /** Takes back in Rust crypto what it holds against people whose identity is still the one that was verified. */
  const forgive = async (list: DeviceList, users: KnownUser[]): Promise<boolean> => {
    const own = await list.user(me);
    if (own.identity?.verified !== true) return false;
    let any = false;
    for (const { userId, identity } of users) {
      if (userId === me || identity?.violated !== true || store.pin(userId)?.verified !== identity.fingerprint)
        continue;
      await list.identities.withdraw(userId, identity.fingerprint);
      list.forget([userId]);
      any = true;
    }
    return any;
  };
  const forgiveAll = async (list: DeviceList) => {
    const once = store.pins().filter((pin) => pin.verified !== null && pin.state !== "verified");
    await forgive(list, await list.users(once.map((pin) => pin.user_id)));
  };

  const trustOf = (userId: string): UserTrust => trustFrom(userId, store.pin(userId));

  /** What is known of somebody once all that a sync said to have changed was asked for; where nothing is, the server is asked. */
  const learned = async (userId: string): Promise<KnownUser> => {
    const list = await devices();
    await learn([userId]);
    const known = await list.user(userId);
    if (known.identity !== undefined) return known;
    await list.identities.query([userId]);
    list.forget([userId]);
    return await list.user(userId);
  };
  const told = async (userId: string): Promise<UserTrust> => {
    const list = await devices();
    list.forget([userId]);
    await lookAt([userId]);
    return trustOf(userId);
  };

  return {
    standing,
    forgive,
    look,
    /** Resolves when all that was asked to be looked at has been. */
    settled: async () => {
      while (looking !== undefined) await looking;
    },
    /** As the rows say it; nobody is asked. */
    trustOf,
    trustIn: (roomId: string): Map<string, UserTrust> =>
      new Map(store.pinsOf(roomId).map((pin) => [pin.user_id, trustFrom(pin.user_id, pin)])),
    /** An identity that changed and was not accepted, for the shield of messages. */
    unsettled: (userId: string): Pin | undefined =>
      (unsettled ??= new Map(store.unsettled().map((pin) => [pin.user_id, pin]))).get(userId),
    user: async (userId: string): Promise<UserTrust> => {
      await learned(userId);
      await lookAt([userId]);
      return trustOf(userId);
    },

    accept: async (userId: string, expected: string | undefined): Promise<UserTrust> => {
      const { identity } = await learned(userId);
      if (identity === undefined) throw new CoreError("not-found", { message: "This person has no identity." });
      if (expected !== undefined && expected !== identity.fingerprint)
        throw new CoreError("conflict", { message: "This identity changed again meanwhile." });
      const list = await devices();
      const before = store.pin(userId);
      if (identity.violated) await list.identities.withdraw(userId, identity.fingerprint);
      await list.identities.pin(userId, identity.fingerprint);
      store.transaction(() => {
        if (before !== undefined) setPin({ ...before, verified: null });
        const unlike = isUnlike(identity, store.carried(userId));
        store.dropCarried(userId);
        if (identity.violated || identity.changed || unlike)
          store.append(nowMs(), "accepted", userId, identity.fingerprint);
      });
      return await told(userId);
    },

    withdraw: async (userId: string): Promise<UserTrust> => {
      const { identity } = await learned(userId);
      if (identity === undefined || userId === me)
        throw new CoreError(userId === me ? "bad-request" : "not-found", {
          message: "There is no verification of this person to take back.",
        });
      const list = await devices();
      await list.identities.withdraw(userId, identity.fingerprint);
      const before = store.pin(userId);
      store.transaction(() => {
        store.withdrawCarried(userId);
        if (before === undefined) return;
        setPin({ ...before, verified: null, withdrawn: identity.verified ? identity.fingerprint : null });
        if (before.state === "verified" || before.state === "verification-violated")
          store.append(nowMs(), "withdrawn", userId, identity.fingerprint);
        store.rotateRooms([userId]);
      });
      return await told(userId);
    },

    /** They were verified anew here: what was taken back before counts no more. */
    verified: async (userId: string): Promise<void> => {
      const pin = store.pin(userId);
      if (pin?.withdrawn != null) setPin({ ...pin, withdrawn: null });
      await told(userId);
    },
    stop: async () => {
      stopped = true;
      await looking;
    },
  };
}

type Carried = { fingerprint: string; verified: number };
/** Another than the device before knew, of which the Rust crypto of this one knows nothing. */
const isUnlike = (identity: Identity, carried: Carried | undefined): carried is Carried =>
  !identity.own && carried !== undefined && carried.fingerprint !== identity.fingerprint;

function stateOf(identity: Identity, pin: Pin | undefined, carried: Carried | undefined): State {
  if (identity.verified) return pin?.withdrawn === identity.fingerprint ? "pinned" : "verified";
  if (identity.violated)
    // Rust crypto blames whoever our own new identity has not signed; theirs is still the one that was verified
    return !identity.own && pin?.verified === identity.fingerprint ? "pinned" : "verification-violated";
  if (isUnlike(identity, carried)) return carried.verified === 1 ? "verification-violated" : "changed";
  return identity.changed ? "changed" : "pinned";
}

function trustFrom(userId: string, pin: Pin | undefined): UserTrust {
  return pin === undefined
    ? { userId, identity: "none" }
    : { userId, identity: pin.state, sinceMs: pin.since_ms, fingerprint: pin.fingerprint };
}

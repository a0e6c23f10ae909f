import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import path from "node:path";
import type { AccountStatus } from "../../preload/contract/account.ts";
import type { EventMessage } from "../../preload/contract/define.ts";
import type { Output, Parsed } from "../../preload/contract/index.ts";
import type { Session } from "../core/worker-port.ts";
import type { CoreHost } from "./core-host.ts";
import { oneAtATime } from "./exclusive.ts";
import { failureOf, HostError } from "./host-error.ts";
import type { Log } from "./log.ts";
import { readRegistry, writeRegistry, type RegisteredAccount, type Registry } from "./registry.ts";
import type { Vault } from "./vault.ts";

/** Who is signed in on this profile, and how one comes in and goes. */
export type Accounts = {
  /** Reads the registry; throws `database-corrupt`. */
  load: () => void;
  /** Starts all of them, and finishes what a kill left of a sign-out. */
  startAll: () => void;
  forget: () => void;
  userIds: () => readonly string[];
  list: () => Output<"account.list">;
  status: (userId: string | undefined) => AccountStatus;
  discover: (input: Parsed<"account.discover">) => Promise<Output<"account.discover">>;
  login: (input: Parsed<"account.login">) => Promise<Output<"account.login">>;
  register: (input: Parsed<"account.register">) => Promise<Output<"account.register">>;
  logout: (userId: string, force: boolean) => Promise<Output<"account.logout">>;
  renew: (userId: string, input: Parsed<"account.renew">) => Promise<Output<"account.renew">>;
  rescue: (userId: string, input: Parsed<"account.rescue">) => Promise<Output<"account.rescue">>;
};

type Options = {
  profile: string;
  accountsFolder: string;
  core: CoreHost;
  vault: () => Pick<Vault, "registryKey">;
  log: Log;
  emit: (event: EventMessage) => void;
  /** A forced sign-out does not wait longer for the server. */
  forcedLogoutMs?: number;
};

export function createAccounts(options: Options): Accounts {
  const { profile, core, log, emit } = options;
  const inTurn = oneAtATime();
  const none: Registry = { accounts: [], doomed: [] };
  let registry = none;

  function save(next: Registry): void {
    writeRegistry(profile, options.vault().registryKey(), next);
    registry = next;
  }

  const find = (userId: string) => registry.accounts.find((account) => account.userId === userId);

  function statusOf(account: RegisteredAccount): Extract<AccountStatus, { at: "signed-in" }> {
    const { userId, deviceId, homeserver } = account;
    return core.status(userId) ?? { at: "signed-in", userId, deviceId, homeserver, sync: { at: "starting" } };
  }

  /** The server ended the session: the person signs in again, as the same device. */
  function isSignedOutSoftly(account: RegisteredAccount): boolean {
    const { sync } = statusOf(account);
    return sync.at === "stopped" && (sync.code === "not-signed-in" || sync.code === "forbidden");
  }

  /** The account that these credentials mean, as far as that can be told before asking the server to sign in. */
  async function alreadyHere(homeserver: string, user: string): Promise<RegisteredAccount | undefined> {
    const whole = find(user);
    if (whole !== undefined || user.startsWith("@")) return whole;
    const sameName = registry.accounts.filter((account) => account.userId.startsWith(`@${user.toLowerCase()}:`));
    if (sameName.length === 0) return undefined;
    const found = await core.guest("guest.discover", { server: homeserver });
    return sameName.find((account) => account.homeserver === found.homeserver);
  }

  async function take(session: Session): Promise<Output<"account.login">> {
    const { userId, deviceId, homeserver, accessToken } = session;
    const known = find(userId);
    if (known !== undefined && known.deviceId !== deviceId) {
      // a device without a place here would stay on the server's list, with a token that works, and be written to for ever
      await core.guest("guest.endSession", session).catch((error: unknown) => {
        log.write(
          "warn",
          `a session that was not taken is still on the server: ${failureOf(error)?.code ?? "unexpected"}`,
        );
      });
      throw new HostError("already-signed-in");
    }
    if (known !== undefined) await core.stop(userId);
    const folder = known?.folder ?? randomBytes(16).toString("hex");
    const account: RegisteredAccount = { folder, userId, deviceId, homeserver, accessToken };
    save({ ...registry, accounts: [...registry.accounts.filter((other) => other.userId !== userId), account] });
    core.start(account);
    emit({ event: "account.changed", payload: { status: statusOf(account) }, account: userId });
    return { userId, deviceId };
  }

  async function login(input: Parsed<"account.login">): Promise<Output<"account.login">> {
    const known = await alreadyHere(input.homeserver, input.user);
    if (known !== undefined && !isSignedOutSoftly(known)) throw new HostError("already-signed-in");
    return take(await core.guest("guest.login", known === undefined ? input : { ...input, deviceId: known.deviceId }));
  }

  /**
   * One write makes the account the new device's: a kill before it leaves the old device, which runs on, and a new one that is ended at
   * the next start; a kill after it leaves the new one, which finds the old one's keys in the account's folder. The old device is not
   * signed out: the profile's other copy is that same device.
   */
  async function renew(userId: string, input: Parsed<"account.renew">): Promise<Output<"account.renew">> {
    const { deviceId } = await replaceDevice(userId, input, async () => {
      await core.internal(userId, "account.salvage", {});
      await core.stop(userId);
    });
    return { userId, deviceId };
  }

  /** The same for an account whose files are damaged: it is not running, and what is left is read without running it. */
  async function rescue(userId: string, input: Parsed<"account.rescue">): Promise<Output<"account.rescue">> {
    const known = find(userId);
    if (known !== undefined && !isDamaged(known)) throw new HostError("conflict");
    const { deviceId, left } = await replaceDevice(userId, input, async (account) => {
      await core.stop(userId);
      return await core.rescue(account);
    });
    return { userId, deviceId, saved: left };
  }

  const isDamaged = (account: RegisteredAccount): boolean => {
    const { sync } = statusOf(account);
    return sync.at === "stopped" && sync.code === "database-corrupt";
  };

  /** `leave`: the old device's keys are put by, and it has stopped. */
  async function replaceDevice<T>(
    userId: string,
    input: { password: string; deviceName?: string | undefined },
    leave: (account: RegisteredAccount) => Promise<T>,
  ): Promise<{ deviceId: string; left: T }> {
    const account = find(userId);
    if (account === undefined) throw new HostError("not-signed-in");
    const { folder, homeserver } = account;
    const stops = core.stops();
    const session = await core.guest("guest.login", { ...input, homeserver, user: userId });
    // the server's answer is not believed: to end a session of the same device would end the account's own
    if (session.deviceId === account.deviceId) throw new HostError("unexpected", { retryable: false });
    const { unclaimed = [] } = registry;
    save({ ...registry, unclaimed: [...unclaimed, session] });
    let renewed: RegisteredAccount;
    let left: T;
    try {
      if (session.userId !== userId) throw new HostError("unexpected", { retryable: false });
      left = await leave(account);
      if (core.stops() !== stops) throw new HostError("cancelled");
      renewed = { ...session, folder };
      const accounts = registry.accounts.map((other) => (other === account ? renewed : other));
      save({ ...registry, accounts, unclaimed });
    } catch (error) {
      await giveUp(account, stops).catch((second: unknown) => {
        log.error("what a new device left unfinished waits for the next start", second);
      });
      throw error;
    }
    core.start(renewed);
    emit({ event: "account.changed", payload: { status: statusOf(renewed) }, account: userId });
    return { deviceId: renewed.deviceId, left };
  }

  /** The old device goes on: it had stopped receiving, so it is started anew. */
  async function giveUp(account: RegisteredAccount, stops: number): Promise<void> {
    if (core.stops() === stops) await core.stop(account.userId);
    // locked, or at its end: the next start begins with the old device
    if (core.stops() !== stops) return;
    core.start(account);
    emit({ event: "account.changed", payload: { status: statusOf(account) }, account: account.userId });
    await endUnclaimed();
  }

  /** Those that cannot be ended now are tried again at the next start. */
  async function endUnclaimed(): Promise<void> {
    const stops = core.stops();
    for (const session of registry.unclaimed ?? []) {
      if (core.stops() !== stops) return;
      try {
        await core.guest("guest.endSession", session);
      } catch (error) {
        const code = failureOf(error)?.code ?? "unexpected";
        log.write("warn", `a session that was not taken is still on the server: ${code}`);
        if (code !== "not-signed-in") continue;
      }
      save({ ...registry, unclaimed: (registry.unclaimed ?? []).filter((other) => other !== session) });
    }
  }

  function removeDoomed(): void {
    for (const folder of registry.doomed) {
      rmSync(path.join(options.accountsFolder, folder), { recursive: true, force: true, maxRetries: 3 });
      save({ ...registry, doomed: registry.doomed.filter((other) => other !== folder) });
    }
  }

  /** True where the server ended the session, or had done so before. */
  async function tellServer(userId: string, force: boolean): Promise<boolean> {
    const asked = core.internal(userId, "account.endSession", {});
    let timer: NodeJS.Timeout | undefined;
    const impatience = new Promise<never>((_resolve, reject) => {
      if (force)
        timer = setTimeout(() => {
          reject(new HostError("timeout"));
        }, options.forcedLogoutMs ?? 5000);
    });
    try {
      await Promise.race([asked, impatience]);
      return true;
    } catch (error) {
      const code = failureOf(error)?.code;
      if (code === "not-signed-in") return true;
      if (!force) throw error;
      log.write("warn", `signed out without the server: ${code ?? "unexpected"}`);
      return false;
    } finally {
      clearTimeout(timer);
      asked.catch(() => undefined);
    }
  }

  async function logout(userId: string, force: boolean): Promise<Output<"account.logout">> {
    const account = find(userId);
    if (account === undefined) throw new HostError("not-signed-in");
    if (!force) {
      const risk = await core.internal(userId, "account.atRisk", {});
      if (risk.unbackedUp > 0) throw new HostError("history-at-risk", { details: risk });
    }
    const serverTold = await tellServer(userId, force);
    await core.stop(userId);
    // one write takes the account out and dooms its folder: a kill before or after it leaves a state that is whole
    save({
      ...registry,
      accounts: registry.accounts.filter((other) => other !== account),
      doomed: [...registry.doomed, account.folder],
    });
    removeDoomed();
    emit({ event: "account.changed", payload: { status: { at: "signed-out" } }, account: userId });
    return { serverTold };
  }

  return {
    load() {
      registry = readRegistry(profile, options.vault().registryKey());
    },
    startAll() {
      for (const account of registry.accounts) core.start(account);
      try {
        removeDoomed();
      } catch (error) {
        log.error("a folder of a signed-out account is still there", error);
      }
      if ((registry.unclaimed ?? []).length > 0)
        inTurn(endUnclaimed).catch((error: unknown) => {
          log.error("a session that was not taken is still on the server", error);
        });
    },
    forget() {
      registry = none;
    },
    userIds: () => registry.accounts.map((account) => account.userId),
    list: () =>
      registry.accounts.map((account) => {
        const { userId, deviceId, homeserver, sync } = statusOf(account);
        return { userId, deviceId, homeserver, sync };
      }),
    status(userId) {
      const account = userId === undefined ? undefined : find(userId);
      return account === undefined ? { at: "signed-out" } : statusOf(account);
    },
    discover: ({ server }) => core.guest("guest.discover", { server }),
    login: (input) => inTurn(() => login(input)),
    register: (input) => inTurn(async () => take(await core.guest("guest.register", input))),
    logout: (userId, force) => inTurn(() => logout(userId, force)),
    renew: (userId, input) => inTurn(() => renew(userId, input)),
    rescue: (userId, input) => inTurn(() => rescue(userId, input)),
  };
}

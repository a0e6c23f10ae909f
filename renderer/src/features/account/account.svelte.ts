/** Who is signed in, and how the connection stands. */
import type { AccountStatus, LoginFlow } from "../../../../preload/contract/account.ts";
import type { Failure } from "../../../../preload/contract/define.ts";
import { call, failureOf, on } from "../../bridge.ts";
import { ownDeviceName } from "../../lib/own-device-name.ts";

export type Discovered = { homeserver: string; flows: LoginFlow[]; registration: boolean };
/** Room keys that are nowhere else, of how many, and of how many conversations. */
export type AtRisk = { unbackedUp: number; total: number; conversations: number };
export type SignOutTask =
  { at: "idle" } | { at: "busy" } | ({ at: "at-risk" } & AtRisk) | { at: "failed"; failure: Failure };

export class Account {
  status = $state.raw<AccountStatus | undefined>();
  failure = $state.raw<Failure | undefined>();
  signOutTask = $state.raw<SignOutTask>({ at: "idle" });
  readonly ownId = $derived(this.status?.at === "signed-in" ? this.status.userId : "");
  /** Told apart by what to do: a soft sign-out wants the password, all else passes or is retried. */
  readonly connection = $derived.by((): "ok" | "offline" | "signed-out-softly" | "stopped" => {
    if (this.status?.at !== "signed-in") return "ok";
    const { sync } = this.status;
    if (sync.at === "offline") return "offline";
    if (sync.at === "stopped")
      return ["not-signed-in", "forbidden"].includes(sync.code) ? "signed-out-softly" : "stopped";
    return "ok";
  });
  /** Its files on this computer do not read; it stands still until somebody decides. */
  readonly damaged = $derived(
    this.status?.at === "signed-in" &&
      this.status.sync.at === "stopped" &&
      this.status.sync.code === "database-corrupt",
  );
  #onSignedIn: () => void;

  constructor(onSignedIn: () => void) {
    this.#onSignedIn = onSignedIn;
    on("account.changed", ({ status }) => {
      this.#take(status);
    });
  }

  async load(): Promise<void> {
    try {
      this.#take(await call("account.status", {}));
      this.failure = undefined;
    } catch (error) {
      this.failure = failureOf(error);
    }
  }

  discover = (server: string): Promise<Discovered> => call("account.discover", { server });

  async signIn(way: "login" | "register", homeserver: string, user: string, password: string): Promise<void> {
    await call(`account.${way}`, { homeserver, user, password, deviceName: ownDeviceName() });
    await this.load();
  }

  /** Without `force` the core refuses while history would be lost. */
  async signOut(force: boolean): Promise<void> {
    this.signOutTask = { at: "busy" };
    try {
      await call("account.logout", force ? { force } : {});
      this.signOutTask = { at: "idle" };
      await this.load();
    } catch (error) {
      const failure = failureOf(error);
      this.signOutTask =
        failure.code === "history-at-risk" ? { at: "at-risk", ...atRisk(failure) } : { at: "failed", failure };
    }
  }

  readonly failureOf = failureOf;

  resetSignOut = (): void => {
    this.signOutTask = { at: "idle" };
  };

  /** Asks the core to try the server now; the answer comes as `account.changed`. */
  async syncNow(): Promise<void> {
    try {
      await call("account.sync", { timeoutMs: 10_000 });
    } catch (error) {
      this.failure = failureOf(error);
    }
  }

  #take(status: AccountStatus): void {
    const wasIn = this.status?.at === "signed-in";
    this.status = status;
    if (status.at === "signed-in" && !wasIn) this.#onSignedIn();
  }
}

function atRisk(failure: Failure): AtRisk {
  const { unbackedUp = 0, total = 0, conversations = 0 } = (failure.details ?? {}) as Partial<AtRisk>;
  return { unbackedUp, total, conversations };
}

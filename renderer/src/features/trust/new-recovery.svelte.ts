/** Making an identity with its way back, for the first time or anew: asks, shows the recovery key once, has its end typed back. */
import type { Failure } from "../../../../preload/contract/define.ts";
import { call, failureOf } from "../../bridge.ts";
import { authenticationOf, type Authentication } from "../../lib/authentication.ts";
import { lastGroup } from "./recovery-key-form.ts";

export type RecoveryChoice = { kind: "key" } | { kind: "passphrase"; passphrase: string };
export type NewRecoveryState =
  | { at: "intro" }
  | { at: "working" }
  | { at: "confirm"; wanted: Authentication; busy: boolean }
  | { at: "failed"; failure: Failure }
  | { at: "key"; recoveryKey: string }
  | { at: "check"; recoveryKey: string; wrong: boolean }
  /** Leaving before it is certain that the key was kept. */
  | { at: "leaving"; recoveryKey: string }
  | { at: "done" };

type Run = (choice: RecoveryChoice, password?: string) => Promise<{ recoveryKey: string }>;

export class NewRecovery {
  state = $state.raw<NewRecoveryState>({ at: "intro" });
  /** The way that was chosen last, for a further try. */
  choice: RecoveryChoice = { kind: "key" };
  #run: Run;

  private constructor(run: Run) {
    this.#run = run;
  }

  static setUp(): NewRecovery {
    return new NewRecovery((recovery, password) =>
      call("trust.setUp", { recovery, ...(password === undefined ? {} : { password }) }),
    );
  }

  static reset(): NewRecovery {
    return new NewRecovery((_choice, password) =>
      call("trust.reset", { keepHistory: true, ...(password === undefined ? {} : { password }) }),
    );
  }

  /** `password`: of the account, after the server wanted it. */
  make = async (choice: RecoveryChoice, password?: string): Promise<void> => {
    this.choice = choice;
    this.state = this.state.at === "confirm" ? { ...this.state, busy: true } : { at: "working" };
    const asked = this.state.at === "confirm";
    try {
      const { recoveryKey } = await this.#run(choice, password);
      this.state = { at: "key", recoveryKey };
    } catch (error) {
      const failure = failureOf(error);
      const wanted = authenticationOf(failure, asked);
      this.state = wanted === undefined ? { at: "failed", failure } : { at: "confirm", wanted, busy: false };
    }
  };

  confirm = (password?: string): Promise<void> => this.make(this.choice, password);

  back = (): void => {
    this.state = { at: "intro" };
  };

  /** The key is said to be kept: its end is asked for. */
  kept = (): void => {
    if (this.state.at === "key") this.state = { at: "check", recoveryKey: this.state.recoveryKey, wrong: false };
  };

  showAgain = (): void => {
    if (this.state.at === "check" || this.state.at === "leaving")
      this.state = { at: "key", recoveryKey: this.state.recoveryKey };
  };

  typedBack = (text: string): void => {
    if (this.state.at !== "check") return;
    const { recoveryKey } = this.state;
    this.state = text.trim() === lastGroup(recoveryKey) ? { at: "done" } : { at: "check", recoveryKey, wrong: true };
  };

  finish = (): void => {
    this.state = { at: "done" };
  };

  /** True: nothing is lost by leaving now. */
  leave = (): boolean => {
    if (this.state.at !== "key" && this.state.at !== "check") return this.state.at !== "working";
    this.state = { at: "leaving", recoveryKey: this.state.recoveryKey };
    return false;
  };
}

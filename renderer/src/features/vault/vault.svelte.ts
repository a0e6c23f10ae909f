/** The vault's state in the window: what holds the profile's keys, and what to do when it does not answer. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { VaultStatus } from "../../../../preload/contract/vault.ts";
import { call, failureOf, on } from "../../bridge.ts";

export type VaultTask =
  { at: "idle" } | { at: "busy"; what: "retry" | "unlock" | "passphrase" } | { at: "failed"; failure: Failure };

export class Vault {
  status = $state.raw<VaultStatus | undefined>();
  failure = $state.raw<Failure | undefined>();
  task = $state.raw<VaultTask>({ at: "idle" });
  #onOpened: () => void;

  /** `onOpened`: runs whenever the vault turns usable, so that others load what they could not before. */
  constructor(onOpened: () => void) {
    this.#onOpened = onOpened;
    on("vault.changed", () => void this.load());
  }

  async load(): Promise<void> {
    const before = this.status?.at;
    try {
      this.status = await call("vault.status", {});
      this.failure = undefined;
    } catch (error) {
      this.failure = failureOf(error);
      return;
    }
    if (this.status.at === "ready" && before !== undefined && before !== "ready") this.#onOpened();
  }

  retryKeychain = (): Promise<boolean> =>
    this.#run("retry", async () => {
      await call("vault.retryKeychain", {});
    });

  unlock = (passphrase: string): Promise<boolean> =>
    this.#run("unlock", async () => {
      await call("vault.unlock", { passphrase });
    });

  /** `null` takes the passphrase away. Answers whether it was done. */
  setPassphrase = (passphrase: string | null, current?: string): Promise<boolean> =>
    this.#run("passphrase", async () => {
      await call("vault.setPassphrase", { passphrase, ...(current === undefined ? {} : { current }) });
    });

  lock = (): Promise<boolean> =>
    this.#run("retry", async () => {
      await call("vault.lock", {});
    });

  clearTask(): void {
    this.task = { at: "idle" };
  }

  async #run(what: "retry" | "unlock" | "passphrase", work: () => Promise<void>): Promise<boolean> {
    this.task = { at: "busy", what };
    try {
      await work();
      this.task = { at: "idle" };
      await this.load();
      return true;
    } catch (error) {
      this.task = { at: "failed", failure: failureOf(error) };
      // The state may have moved with the failure: a keyring that was asked again may now be missing.
      await this.load();
      return false;
    }
  }
}

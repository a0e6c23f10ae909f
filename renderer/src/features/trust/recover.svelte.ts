/** A new device becomes one's own again: by the recovery key or the passphrase, or because another device said so. Also the drill. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Output } from "../../../../preload/contract/index.ts";
import { call, failureOf } from "../../bridge.ts";
import { m } from "../../paraglide/messages.js";

export type Secretive = { recoveryKey: string } | { passphrase: string };
export type RecoverTask<T> =
  { at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure } | { at: "done"; value: T };

class Attempt<T> {
  task = $state.raw<RecoverTask<T>>({ at: "idle" });
  /** The sentence beside the field, where what was typed is what is wrong. */
  readonly fieldError = $derived(
    this.task.at === "failed" && this.task.failure.code === "wrong-key" ? wrongKeyText(this.task.failure) : undefined,
  );
  #run: (given: Secretive) => Promise<T>;

  constructor(run: (given: Secretive) => Promise<T>) {
    this.#run = run;
  }

  go = async (given: Secretive): Promise<void> => {
    this.task = { at: "busy" };
    try {
      this.task = { at: "done", value: await this.#run(given) };
    } catch (error) {
      this.task = { at: "failed", failure: failureOf(error) };
    }
  };

  typed = (): void => {
    if (this.task.at !== "busy") this.task = { at: "idle" };
  };
}

export type Recovery = Attempt<Output<"trust.recover">>;
export type Drill = Attempt<Output<"trust.checkRecovery">>;
export type Repairing = Attempt<Output<"trust.repair">>;
export const repairing = (): Repairing => new Attempt((given) => call("trust.repair", given));
export const recovery = (): Recovery => new Attempt((given) => call("trust.recover", given));
export const drill = (): Drill => new Attempt((given) => call("trust.checkRecovery", given));

function wrongKeyText(failure: Failure): string {
  const { kind } = (failure.details ?? {}) as { kind?: unknown };
  if (kind === "malformed") return m.key_malformed();
  return kind === "passphrase" ? m.passphrase_wrong() : m.key_wrong();
}

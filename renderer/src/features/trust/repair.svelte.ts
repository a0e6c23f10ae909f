/** What is out of step is put right: first by what this device can do alone, then with the recovery key, and looked at again. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Repaired } from "../../../../preload/contract/trust.ts";
import { call, failureOf } from "../../bridge.ts";
import { repairing, type Repairing } from "./recover.svelte.ts";

export type RepairState =
  { at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure } | { at: "done"; result: Repaired };

export class Repair {
  state = $state.raw<RepairState>({ at: "idle" });
  /** The recovery key or passphrase, where that is what helps. */
  readonly withKey: Repairing = repairing();
  /** What came of it, by whichever way. */
  readonly result = $derived.by((): Repaired | undefined => {
    if (this.withKey.task.at === "done") return this.withKey.task.value;
    return this.state.at === "done" ? this.state.result : undefined;
  });

  begin = async (): Promise<void> => {
    this.withKey.typed();
    this.state = { at: "busy" };
    try {
      this.state = { at: "done", result: await call("trust.repair", {}) };
    } catch (error) {
      this.state = { at: "failed", failure: failureOf(error) };
    }
  };

  end = (): void => {
    this.withKey.typed();
    this.state = { at: "idle" };
  };
}

/** The account's own identity on this device, and whom its messages go to. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Practice, TrustStatus } from "../../../../preload/contract/trust.ts";
import { call, failureOf, on } from "../../bridge.ts";

export class Trust {
  status = $state.raw<TrustStatus | undefined>();
  /** When the way back was last tried out. */
  practice = $state.raw<Practice | undefined>();
  failure = $state.raw<Failure | undefined>();
  #loading: Promise<void> | undefined;
  #again = false;
  #onmine: () => void;
  /** This device was seen while it was not yet the account's own. */
  #wasNew = false;

  /** `onmine`: a new device became one's own, and holds what opens the backup. */
  constructor(onmine: () => void) {
    this.#onmine = onmine;
    on("trust.changed", ({ own }) => {
      if (own === true) void this.load();
    });
  }

  /** Reads it once more; changes that come while it is read lead to one further reading. */
  load = async (): Promise<void> => {
    if (this.#loading !== undefined) {
      this.#again = true;
      return this.#loading;
    }
    this.#loading = this.#read();
    await this.#loading;
    this.#loading = undefined;
    if (!this.#again) return;
    this.#again = false;
    await this.load();
  };

  clear(): void {
    this.status = undefined;
    this.practice = undefined;
    this.failure = undefined;
    this.#wasNew = false;
  }

  async #read(): Promise<void> {
    try {
      this.status = await call("trust.status", {});
      this.failure = undefined;
      this.#tellOnceMine(this.status);
      this.practice = await call("trust.practice", {});
    } catch (error) {
      this.failure = failureOf(error);
    }
  }

  #tellOnceMine({ identity, secrets }: TrustStatus): void {
    if (identity === "this-device-unverified") this.#wasNew = true;
    if (!this.#wasNew || identity !== "verified" || !secrets.backup) return;
    this.#wasNew = false;
    this.#onmine();
  }
}

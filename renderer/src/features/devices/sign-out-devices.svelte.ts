/** Signing out other devices: one password for all of them, and which could not be signed out. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Invite } from "../../../../preload/contract/invites.ts";
import { call, failureOf } from "../../bridge.ts";
import { authenticationOf, type Authentication } from "../../lib/authentication.ts";

export type SignOutState =
  | { at: "ask" }
  | { at: "busy" }
  | { at: "confirm"; wanted: Authentication; busy: boolean }
  | { at: "failed"; failure: Failure }
  /** The server refused some of them. */
  | { at: "partly"; failed: { deviceId: string; error: Failure }[] }
  | { at: "done" };

export class SignOutDevices {
  state = $state.raw<SignOutState>({ at: "ask" });
  #deviceIds: string[];

  /** Invite codes that still work and that these devices know: whoever has one of them could use them. */
  codes = $state.raw<Invite[]>([]);
  withdraw = $state(true);

  constructor(deviceIds: string[]) {
    this.#deviceIds = deviceIds;
    // without an answer there is nothing to offer, and nothing that stands in the way of signing out
    call("invites.knownBy", { deviceIds }).then(
      (codes) => (this.codes = codes),
      () => undefined,
    );
  }

  go = async (password?: string): Promise<void> => {
    const asked = this.state.at === "confirm";
    this.state = this.state.at === "confirm" ? { ...this.state, busy: true } : { at: "busy" };
    try {
      const failed = this.#deviceIds.length === 0 ? [] : await this.#signOut(password);
      if (this.withdraw) await this.#withdrawCodes();
      this.state = failed.length === 0 ? { at: "done" } : { at: "partly", failed };
    } catch (error) {
      const failure = failureOf(error);
      const wanted = authenticationOf(failure, asked);
      this.state = wanted === undefined ? { at: "failed", failure } : { at: "confirm", wanted, busy: false };
    }
  };

  async #signOut(password: string | undefined) {
    const { signedOut, failed } = await call("devices.signOut", {
      deviceIds: this.#deviceIds,
      ...(password === undefined ? {} : { password }),
    });
    const gone = new Set(signedOut);
    this.#deviceIds = this.#deviceIds.filter((id) => !gone.has(id));
    return failed;
  }

  async #withdrawCodes(): Promise<void> {
    for (const { tokenId } of this.codes) await call("invites.withdraw", { tokenId });
    this.codes = [];
  }
}

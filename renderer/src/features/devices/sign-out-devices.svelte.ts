/** Signing out other devices: one password for all of them, and which could not be signed out. */
import type { Failure } from "../../../../preload/contract/define.ts";
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

  constructor(deviceIds: string[]) {
    this.#deviceIds = deviceIds;
  }

  go = async (password?: string): Promise<void> => {
    const asked = this.state.at === "confirm";
    this.state = this.state.at === "confirm" ? { ...this.state, busy: true } : { at: "busy" };
    try {
      const { signedOut, failed } = await call("devices.signOut", {
        deviceIds: this.#deviceIds,
        ...(password === undefined ? {} : { password }),
      });
      const gone = new Set(signedOut);
      this.#deviceIds = this.#deviceIds.filter((id) => !gone.has(id));
      this.state = failed.length === 0 ? { at: "done" } : { at: "partly", failed };
    } catch (error) {
      const failure = failureOf(error);
      const wanted = authenticationOf(failure, asked);
      this.state = wanted === undefined ? { at: "failed", failure } : { at: "confirm", wanted, busy: false };
    }
  };
}

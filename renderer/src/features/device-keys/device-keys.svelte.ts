/** The keys with which others reach this device, as the Encryption page tells of them. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { DeviceKeysStatus } from "../../../../preload/contract/device-keys.ts";
import { call, failureOf, on } from "../../bridge.ts";

export type DeviceKeysState =
  { at: "loading" } | { at: "ready"; status: DeviceKeysStatus } | { at: "failed"; failure: Failure };

export class DeviceKeys {
  state = $state.raw<DeviceKeysState>({ at: "loading" });
  #off = on("deviceKeys.changed", ({ status }) => {
    this.state = { at: "ready", status };
  });

  load = async (): Promise<void> => {
    try {
      this.state = { at: "ready", status: await call("deviceKeys.status", {}) };
    } catch (error) {
      this.state = { at: "failed", failure: failureOf(error) };
    }
  };

  end(): void {
    this.#off();
  }
}

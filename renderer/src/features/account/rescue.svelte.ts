/** An account whose files are damaged: what still reads goes into a new device, once somebody has said so, and is reported. */
import type { Rescued } from "../../../../preload/contract/account.ts";
import type { Failure } from "../../../../preload/contract/define.ts";
import { call, failureOf } from "../../bridge.ts";
import { ownDeviceName } from "../../lib/own-device-name.ts";

export type RescueState =
  | { at: "explained" }
  | { at: "ask"; wrong: boolean }
  | { at: "busy" }
  | { at: "failed"; failure: Failure }
  | { at: "saved"; saved: Rescued };

export class Rescue {
  state = $state.raw<RescueState>({ at: "explained" });

  ask = (): void => {
    this.state = { at: "ask", wrong: false };
  };

  go = async (password: string): Promise<void> => {
    this.state = { at: "busy" };
    try {
      const { saved } = await call("account.rescue", { password, deviceName: ownDeviceName() });
      this.state = { at: "saved", saved };
    } catch (error) {
      const failure = failureOf(error);
      this.state = failure.code === "forbidden" ? { at: "ask", wrong: true } : { at: "failed", failure };
    }
  };

  clear = (): void => {
    this.state = { at: "explained" };
  };
}

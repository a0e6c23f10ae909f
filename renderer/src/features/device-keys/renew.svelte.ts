/** A copied profile becomes a device of its own: the password, and some moments in which its history is taken along. */
import type { Failure } from "../../../../preload/contract/define.ts";
import { call, failureOf } from "../../bridge.ts";
import { ownDeviceName } from "../../lib/own-device-name.ts";

export type RenewState =
  { at: "ask"; wrong: boolean } | { at: "busy" } | { at: "failed"; failure: Failure } | { at: "done" };

export class Renew {
  state = $state.raw<RenewState>({ at: "ask", wrong: false });

  go = async (password: string): Promise<void> => {
    this.state = { at: "busy" };
    try {
      await call("account.renew", { password, deviceName: ownDeviceName() });
      this.state = { at: "done" };
    } catch (error) {
      const failure = failureOf(error);
      this.state = failure.code === "forbidden" ? { at: "ask", wrong: true } : { at: "failed", failure };
    }
  };
}

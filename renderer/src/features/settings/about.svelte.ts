/** What this build is, for the About section. */
import type { AppInfo } from "../../../../preload/contract/app.ts";
import { call, failureOf } from "../../bridge.ts";

export class About {
  info = $state.raw<AppInfo | undefined>();

  async load(): Promise<void> {
    try {
      this.info = await call("app.info", {});
    } catch (error) {
      console.warn("app.info failed:", failureOf(error).code);
    }
  }
}

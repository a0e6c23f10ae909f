/** Runs in the page before the window's own script: reads the scenario from the address and stands in for the door. */
import { fakeCore, type Fake, type Scenario } from "../../fakes/bridge.ts";

declare global {
  interface Window {
    fake: Fake;
  }
}

const text = new URLSearchParams(location.search).get("scenario");
const { core, fake } = fakeCore(text === null ? {} : (JSON.parse(text) as Scenario));
Object.defineProperty(window, "core", { value: core });
window.fake = fake;

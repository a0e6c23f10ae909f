/** Short sentences at the foot of the window: what just failed or was done, gone after a while unless there is something to press. */
import type { Failure } from "../../../preload/contract/define.ts";
import { failureText, type Situation } from "../failures.ts";

export type Notice = { id: number; text: string; action?: { label: string; run: () => void } };

export class Notices {
  shown = $state.raw<Notice | undefined>();
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  say(text: string, action?: Notice["action"]): void {
    clearTimeout(this.#timer);
    this.#last += 1;
    this.shown = { id: this.#last, text, ...(action === undefined ? {} : { action }) };
    this.#timer = setTimeout(
      () => {
        this.shown = undefined;
      },
      action === undefined ? 6000 : 12_000,
    );
  }

  fail(failure: Failure, situation?: Situation): void {
    this.say(failureText(failure, situation));
  }

  dismiss(): void {
    clearTimeout(this.#timer);
    this.shown = undefined;
  }
}

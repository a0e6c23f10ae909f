/** Theme, language and the width of the room list, as the host keeps them. */
import type { Preferences as Kept } from "../../../../preload/contract/app.ts";
import { call, failureOf } from "../../bridge.ts";
import { chooseLanguage } from "../../lib/language.svelte.ts";

const widthAfterMs = 300;
/** The shortest lock is a minute. */
const activeEveryMs = 10_000;

export class Preferences {
  theme = $state<Kept["theme"]>("system");
  language = $state<Kept["language"]>("system");
  roomsWidthPx = $state(312);
  /** When the person was last asked to make a way back to their history; 0: never. */
  remindedMs = 0;
  /** The label of the camera that was chosen last. */
  camera = $state("");
  /** The app locks itself after so long without a touch; 0: never. */
  lockAfterMinutes = $state(0);
  #toldActiveMs = 0;
  #dark = matchMedia("(prefers-color-scheme: dark)");
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.#dark.addEventListener("change", () => {
      this.#paint();
    });
    this.#paint();
    chooseLanguage(this.language);
  }

  async load(): Promise<void> {
    try {
      this.#take(await call("app.preferences", {}));
    } catch (error) {
      console.warn("preferences were not read:", failureOf(error).code);
    }
  }

  chooseTheme = (theme: Kept["theme"]): void => {
    this.theme = theme;
    this.#paint();
    void this.#keep({ theme });
  };

  chooseLanguage = (language: Kept["language"]): void => {
    this.language = language;
    chooseLanguage(language);
    void this.#keep({ language });
  };

  resizeRooms = (widthPx: number): void => {
    this.roomsWidthPx = Math.round(Math.min(400, Math.max(240, widthPx)));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#keep({ roomsWidthPx: this.roomsWidthPx }), widthAfterMs);
  };

  reminded = (): void => {
    this.remindedMs = Date.now();
    void this.#keep({ remindedMs: this.remindedMs });
  };

  chooseCamera = (label: string): void => {
    this.camera = label.slice(0, 256);
    void this.#keep({ camera: this.camera });
  };

  lockAfter = (minutes: number): void => {
    this.lockAfterMinutes = minutes;
    void this.#keep({ lockAfterMinutes: minutes });
  };

  /** Somebody touched the window: said now and then, so that the host does not lock it under their hands. */
  active = (): void => {
    const nowMs = Date.now();
    if (this.lockAfterMinutes === 0 || Math.abs(nowMs - this.#toldActiveMs) < activeEveryMs) return;
    this.#toldActiveMs = nowMs;
    call("app.active", {}).catch((error: unknown) => {
      console.warn("the host was not told that somebody is here:", failureOf(error).code);
    });
  };

  async #keep(change: Partial<Kept>): Promise<void> {
    try {
      await call("app.preferences", change);
    } catch (error) {
      console.warn("preferences were not kept:", failureOf(error).code);
    }
  }

  #take(kept: Kept): void {
    this.theme = kept.theme;
    this.language = kept.language;
    this.remindedMs = kept.remindedMs;
    this.camera = kept.camera;
    this.lockAfterMinutes = kept.lockAfterMinutes;
    this.roomsWidthPx = Math.min(400, Math.max(240, kept.roomsWidthPx));
    this.#paint();
    chooseLanguage(kept.language);
  }

  #paint(): void {
    const dark = this.theme === "dark" || (this.theme === "system" && this.#dark.matches);
    document.documentElement.dataset["theme"] = dark ? "dark" : "light";
  }
}

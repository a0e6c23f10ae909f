import * as v from "valibot";
import { command } from "./define.ts";
import { empty } from "./ids.ts";

export type Door = "electron" | "loopback" | "headless";
export type AppInfo = { version: string; protocol: 1; door: Door; platform: string; node: string; electron?: string };
/** What the window remembers for the profile, none of it secret; kept by the host in `preferences.json`. */
export type Preferences = {
  theme: "system" | "light" | "dark";
  language: "system" | "en" | "de";
  roomsWidthPx: number;
  /** When the window last asked to make a way back to the history; 0: never. It asks weekly at most. */
  remindedMs: number;
  /** The label of the camera that was chosen last; empty for whichever comes first. */
  camera: string;
  /** The app locks itself when nobody has touched the window for this long; 0: never. */
  lockAfterMinutes: number;
};

/** Answered by the host. */
export const appCommands = {
  "app.info": command<AppInfo>()(empty),
  /** Without fields: reads. Answers what holds afterwards. */
  "app.preferences": command<Preferences>()(
    v.strictObject({
      theme: v.optional(v.picklist(["system", "light", "dark"])),
      language: v.optional(v.picklist(["system", "en", "de"])),
      roomsWidthPx: v.optional(v.pipe(v.number(), v.integer(), v.minValue(200), v.maxValue(600))),
      remindedMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER))),
      camera: v.optional(v.pipe(v.string(), v.maxLength(256))),
      lockAfterMinutes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(24 * 60))),
    }),
  ),
  /** Somebody uses the window: the lock after idle time begins to count anew. */
  "app.active": command<Record<string, never>>()(empty),
  /** Opens a link of a message in the person's browser, after a click; `https:`, `http:` and `mailto:` alone. */
  "app.openLink": command<Record<string, never>>()(
    v.strictObject({ url: v.pipe(v.string(), v.maxLength(8192), v.regex(/^(https?:\/\/|mailto:)/i)) }),
  ),
  /**
   * The Matrix link that was opened outside of the app, once. Of many that come before it is taken the first counts, and `others`
   * says how many there were beside it: whatever opens fifty links gets one question asked.
   */
  "app.takeLink": command<{ text?: string; others: number }>()(empty),
};

/** A link waits to be taken. The event does not hold it: it may hold an invitation's secret, and events go to every listener. */
export type AppEvents = { "app.linkWaiting": Record<string, never> };

import path from "node:path";
import * as v from "valibot";
import { appCommands, type Preferences } from "../../preload/contract/app.ts";
import { readFileIfThere, writeFileAtomic } from "./atomic-file.ts";

const defaults: Preferences = {
  theme: "system",
  language: "system",
  roomsWidthPx: 320,
  remindedMs: 0,
  camera: "",
  lockAfterMinutes: 0,
};
/** Undefined in a field: leave it as it is. */
type Change = { [K in keyof Preferences]?: Preferences[K] | undefined };

/** `preferences.json`, not secret. What is damaged or of another version counts as not set, field by field. */
export function openPreferences(folder: string): { change(change: Change): Preferences } {
  const file = path.join(folder, "preferences.json");
  const { entries } = appCommands["app.preferences"].input;

  function read(): Preferences {
    let stored: unknown;
    try {
      stored = JSON.parse(readFileIfThere(file)?.toString("utf8") ?? "{}");
    } catch {
      // looks are not worth an error: the defaults hold until something is set
      stored = {};
    }
    const field = <K extends keyof Preferences>(name: K): Preferences[K] => {
      const value: unknown = typeof stored === "object" && stored !== null ? Reflect.get(stored, name) : undefined;
      const parsed = v.safeParse(entries[name], value);
      return (parsed.success ? (parsed.output as Preferences[K] | undefined) : undefined) ?? defaults[name];
    };
    return {
      theme: field("theme"),
      language: field("language"),
      roomsWidthPx: field("roomsWidthPx"),
      remindedMs: field("remindedMs"),
      camera: field("camera"),
      lockAfterMinutes: field("lockAfterMinutes"),
    };
  }

  let current = read();
  return {
    change({ theme, language, roomsWidthPx, remindedMs, camera, lockAfterMinutes }) {
      const next: Preferences = {
        theme: theme ?? current.theme,
        language: language ?? current.language,
        roomsWidthPx: roomsWidthPx ?? current.roomsWidthPx,
        remindedMs: remindedMs ?? current.remindedMs,
        camera: camera ?? current.camera,
        lockAfterMinutes: lockAfterMinutes ?? current.lockAfterMinutes,
      };
      if (JSON.stringify(next) !== JSON.stringify(current)) {
        writeFileAtomic(file, `${JSON.stringify(next)}\n`);
        current = next;
      }
      return current;
    },
  };
}

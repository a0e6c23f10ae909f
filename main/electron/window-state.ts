import { readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { BrowserWindow, Rectangle } from "electron";

/** Device-independent pixels. Without a position the system chooses one. */
export type WindowState = { width: number; height: number; x?: number; y?: number; maximized: boolean };

export const firstState: WindowState = { width: 1200, height: 780, maximized: false };
export const smallest = { width: 360, height: 480 };
const savedAfterMs = 500;

/** What was kept, or the first state where that cannot be read or would put the window off every screen. */
export function readWindowState(file: string, screens: Rectangle[]): WindowState {
  let kept: unknown;
  try {
    kept = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return firstState;
  }
  const state = parseWindowState(kept);
  if (state === undefined) return firstState;
  const { x, y, ...size } = state;
  if (x === undefined || y === undefined) return size;
  const { width } = state;
  const grip = 100; // as much of the title bar must be reachable
  const seen = screens.some(
    (screen) =>
      x + width >= screen.x + grip &&
      x <= screen.x + screen.width - grip &&
      y >= screen.y &&
      y <= screen.y + screen.height - grip,
  );
  return seen ? state : size;
}

export function parseWindowState(kept: unknown): WindowState | undefined {
  if (typeof kept !== "object" || kept === null) return undefined;
  const read = (name: string) => {
    const value: unknown = Reflect.get(kept, name);
    return typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 100_000 ? value : undefined;
  };
  const [width, height, x, y] = [read("width"), read("height"), read("x"), read("y")];
  if (width === undefined || height === undefined || width < smallest.width || height < smallest.height)
    return undefined;
  return {
    width,
    height,
    ...(x === undefined || y === undefined ? {} : { x, y }),
    maximized: Reflect.get(kept, "maximized") === true,
  };
}

/** Writes the window's place and size to the file, a moment after each change and when it closes. */
export function keepWindowState(window: BrowserWindow, file: string): void {
  let timer: NodeJS.Timeout | undefined;
  const save = () => {
    clearTimeout(timer);
    const state = { ...window.getNormalBounds(), maximized: window.isMaximized() };
    const next = path.join(path.dirname(file), `.${path.basename(file)}.new`);
    writeFileSync(next, JSON.stringify(state), { mode: 0o600 });
    renameSync(next, file);
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(save, savedAfterMs);
  };
  window.on("resize", later);
  window.on("move", later);
  window.on("close", save);
}

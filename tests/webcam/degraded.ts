/** A seeded set of frames as webcams give them on bad days, for measuring how many are read. */
import { randomFrom } from "../e2e/random.ts";
import { plain, type Look } from "./scene.ts";

export type Degraded = { kind: string; look: Look };

/** Each kind goes from a little to as much as a person with a webcam will meet; all but `all together` change one thing. */
const kinds: Record<string, (much: number, next: () => number) => Partial<Look>> = {
  tilt: (much, next) => {
    const way = next() * 2 * Math.PI;
    return { tilt: [48 * much * Math.sin(way), 48 * much * Math.cos(way)] };
  },
  turn: (_much, next) => ({ turn: 360 * next() }),
  small: (much) => ({ size: 0.9 - 0.45 * much }),
  blur: (much) => ({ blurPx: 0.4 + 1.9 * much }),
  "dim light": (much) => ({ ink: 30 + 8 * much, paper: 160 - 80 * much, noise: 4 }),
  noise: (much) => ({ noise: 4 + 24 * much }),
  "low contrast": (much) => ({ ink: 60 + 40 * much, paper: 200 - 30 * much }),
  inverted: (much) => ({ ink: 225, paper: 40 + 20 * much }),
  "at the edge": (much, next) => ({ size: 0.7, at: [next() < 0.5 ? 0.31 - 0.04 * much : 0.69 + 0.04 * much, 0.5] }),
  "all together": (much, next) => ({
    ...{ tilt: [20 * much * (next() - 0.5), 20 * much * (next() - 0.5)], turn: 40 * (next() - 0.5) },
    ...{ blurPx: 0.3 + 0.7 * much, ink: 36, paper: 180 - 50 * much, noise: 4 + 5 * much, size: 0.85 },
  }),
};

export function degradedSet(eachKind: number, seed: number): Degraded[] {
  const next = randomFrom(seed);
  return Object.entries(kinds).flatMap(([kind, change]) =>
    Array.from({ length: eachKind }, (_, index) => {
      const much = eachKind === 1 ? 1 : index / (eachKind - 1);
      return { kind, look: { ...plain, ...change(much, next), seed: Math.floor(next() * 2 ** 31) } };
    }),
  );
}

/** Draws a code as a webcam sees it: tilted, turned, blurred, badly lit, noisy, half out of view. The same look gives the same picture. */
import { encode } from "uqr";
import { randomFrom } from "../e2e/random.ts";

export type Look = {
  /** Side of the code, its white edge included, in parts of the picture's height. */
  size: number;
  /** The code's middle, in parts of width and height. */
  at: [x: number, y: number];
  /** In degrees: away from the camera about each axis, and in the picture's plane. */
  tilt: [x: number, y: number];
  turn: number;
  blurPx: number;
  /** Luma of the code's ink and paper, 0 to 255. */
  ink: number;
  paper: number;
  /** Standard deviation of the sensor's noise, in luma. */
  noise: number;
  seed: number;
};
export type Frame = { width: number; height: number; luma: Uint8Array };

export const plain: Look = {
  ...{ size: 0.72, at: [0.5, 0.5], tilt: [0, 0], turn: 0, blurPx: 0, ink: 28, paper: 235, noise: 2, seed: 1 },
};

type Matrix = readonly [number, number, number, number, number, number, number, number, number];
type Point = [x: number, y: number];

/** Of the picture's pixels onto the code's unit square. Source: Heckbert 1989, "Fundamentals of Texture Mapping", 2.2.3. */
function homography([a, b, c, d]: readonly [Point, Point, Point, Point]): Matrix {
  const [dx1, dx2, dx3] = [b[0] - c[0], d[0] - c[0], a[0] - b[0] + c[0] - d[0]];
  const [dy1, dy2, dy3] = [b[1] - c[1], d[1] - c[1], a[1] - b[1] + c[1] - d[1]];
  const det = dx1 * dy2 - dx2 * dy1;
  const g = (dx3 * dy2 - dx2 * dy3) / det;
  const h = (dx1 * dy3 - dx3 * dy1) / det;
  const forward: Matrix = [
    ...([b[0] - a[0] + g * b[0], d[0] - a[0] + h * d[0], a[0]] as const),
    ...([b[1] - a[1] + g * b[1], d[1] - a[1] + h * d[1], a[1]] as const),
    ...([g, h, 1] as const),
  ];
  const [m0, m1, m2, m3, m4, m5, m6, m7, m8] = forward;
  return [
    ...([m4 * m8 - m5 * m7, m2 * m7 - m1 * m8, m1 * m5 - m2 * m4] as const),
    ...([m5 * m6 - m3 * m8, m0 * m8 - m2 * m6, m2 * m3 - m0 * m5] as const),
    ...([m3 * m7 - m4 * m6, m1 * m6 - m0 * m7, m0 * m4 - m1 * m3] as const),
  ];
}

/** Where the square's corners come to lie in the picture, seen by a camera of an ordinary angle of view. */
function corners(look: Look, width: number, height: number): [Point, Point, Point, Point] {
  const half = (look.size * height) / 2;
  const focal = 1.3 * height;
  const [tiltX, tiltY, turn] = [look.tilt[0], look.tilt[1], look.turn].map((degrees) => (degrees * Math.PI) / 180) as [
    number,
    number,
    number,
  ];
  return (
    [
      [-1, -1],
      [1, -1],
      [1, 1],
      [-1, 1],
    ] as Point[]
  ).map(([cornerX, cornerY]): Point => {
    const [x, y] = [
      half * (cornerX * Math.cos(turn) - cornerY * Math.sin(turn)),
      half * (cornerX * Math.sin(turn) + cornerY * Math.cos(turn)),
    ];
    const z = x * Math.sin(tiltY) + y * Math.sin(tiltX);
    const scale = focal / (focal + z);
    return [look.at[0] * width + x * Math.cos(tiltY) * scale, look.at[1] * height + y * Math.cos(tiltX) * scale];
  }) as [Point, Point, Point, Point];
}

const quietModules = 4;

/** A code's modules, its white edge included, row by row. */
export type Flat = { size: number; dark: Uint8Array };
/** What is to be read, or a code as some window draws it. */
export type CodeContent = Uint8Array | string | Flat;

function flatCode(content: CodeContent): Flat {
  if (typeof content === "object" && "dark" in content) return content;
  const { size, data } = encode(typeof content === "string" ? content : Array.from(content), {
    ecc: "L",
    border: quietModules,
  });
  return { size, dark: Uint8Array.from(data.flat(), Number) };
}

/** Without `content` the desk alone. */
export function drawFrame(content: CodeContent | undefined, look: Look, width = 640, height = 480): Frame {
  const light = new Float32Array(width * height);
  const code = content === undefined ? undefined : flatCode(content);
  const map = homography(corners(look, width, height));
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let quarter = 0; quarter < 4; quarter++) {
        const px = x + 0.25 + 0.5 * (quarter & 1);
        const py = y + 0.25 + 0.5 * (quarter >> 1);
        sum += (code === undefined ? undefined : lumaOfCode(code, map, look, px, py)) ?? lumaOfRoom(look, x, y);
      }
      light[y * width + x] = sum / 4;
    }
  const seen = look.blurPx > 0 ? blur(light, width, height, look.blurPx) : light;
  return { width, height, luma: sensed(seen, width, height, look) };
}

function lumaOfCode(code: Flat, map: Matrix, look: Look, px: number, py: number): number | undefined {
  const w = map[6] * px + map[7] * py + map[8];
  const u = (map[0] * px + map[1] * py + map[2]) / w;
  const v = (map[3] * px + map[4] * py + map[5]) / w;
  if (u < 0 || u >= 1 || v < 0 || v >= 1) return undefined;
  return code.dark[Math.floor(v * code.size) * code.size + Math.floor(u * code.size)] === 1 ? look.ink : look.paper;
}

/** Soft, with a few edges. */
const lumaOfRoom = (look: Look, x: number, y: number): number =>
  (look.ink + look.paper) / 2 - 20 + (Math.sin(x / 47) * Math.cos(y / 61) > 0.3 ? 18 : 0);

/** What a sensor makes of the light: brighter to one side, and noisy. */
function sensed(light: Float32Array, width: number, height: number, look: Look): Uint8Array {
  const next = randomFrom(look.seed);
  const [slopeX, slopeY] = [(next() - 0.5) * 50, (next() - 0.5) * 50];
  const luma = new Uint8Array(width * height);
  for (let index = 0; index < luma.length; index++) {
    const slope = slopeX * ((index % width) / width - 0.5) + slopeY * (index / luma.length - 0.5);
    // the sum of four is near enough to a bell
    const noise = (next() + next() + next() + next() - 2) * 1.73 * look.noise;
    luma[index] = Math.max(0, Math.min(255, Math.round((light[index] ?? 0) + slope + noise)));
  }
  return luma;
}

/** A bell of the given standard deviation, one direction after the other. */
function blur(from: Float32Array, width: number, height: number, sigma: number): Float32Array {
  const reach = Math.ceil(sigma * 2.5);
  const bell = Float32Array.from({ length: 2 * reach + 1 }, (_, index) =>
    Math.exp(-((index - reach) ** 2) / (2 * sigma ** 2)),
  );
  const total = bell.reduce((sum, weight) => sum + weight, 0);
  const across = new Float32Array(from.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let index = 0; index < bell.length; index++)
        sum += (bell[index] ?? 0) * (from[y * width + Math.max(0, Math.min(width - 1, x + index - reach))] ?? 0);
      across[y * width + x] = sum / total;
    }
  const down = new Float32Array(from.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let index = 0; index < bell.length; index++)
        sum += (bell[index] ?? 0) * (across[Math.max(0, Math.min(height - 1, y + index - reach)) * width + x] ?? 0);
      down[y * width + x] = sum / total;
    }
  return down;
}

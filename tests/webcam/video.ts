/** Frames as a YUV4MPEG2 file, which Chromium plays as its camera, again and again. Source: mjpegtools, yuv4mpeg(5). */
import { closeSync, openSync, writeSync } from "node:fs";
import path from "node:path";
import { drawFrame, plain, type CodeContent, type Frame, type Look } from "./scene.ts";

const framesASecond = 12;

export function writeVideo(file: string, frames: readonly Frame[]): void {
  const [first] = frames;
  if (first === undefined) throw new Error("a video has at least one frame");
  const output = openSync(file, "w");
  try {
    writeSync(output, `YUV4MPEG2 W${first.width} H${first.height} F${framesASecond}:1 Ip A1:1 C420jpeg\n`);
    // grey: both colour planes in the middle
    const colour = Buffer.alloc((first.width * first.height) / 2, 128);
    for (const frame of frames) {
      writeSync(output, "FRAME\n");
      writeSync(output, frame.luma);
      writeSync(output, colour);
    }
  } finally {
    closeSync(output);
  }
}

const mixed = (from: Look, to: Look, part: number): Look => {
  const between = (a: number, b: number): number => a + (b - a) * part;
  return {
    ...to,
    size: between(from.size, to.size),
    at: [between(from.at[0], to.at[0]), between(from.at[1], to.at[1])],
    tilt: [between(from.tilt[0], to.tilt[0]), between(from.tilt[1], to.tilt[1])],
    turn: between(from.turn, to.turn),
    seed: from.seed + Math.round(part * 100),
  };
};

/** A hand brings the code in from the side, tilted, in dim light and out of focus, and holds it there. */
export function approach(content: CodeContent): Frame[] {
  const dim = { ...plain, ink: 38, paper: 118, noise: 7 };
  const outside: Look = { ...dim, at: [1.16, 0.72], size: 0.86, tilt: [18, -24], turn: 21, blurPx: 2.4, seed: 11 };
  const held: Look = { ...dim, at: [0.52, 0.49], size: 0.8, tilt: [10, 14], turn: 7, blurPx: 0.8, seed: 41 };
  const coming = Array.from({ length: 14 }, (_, index) => mixed(outside, held, index / 14));
  const holding = Array.from({ length: 10 }, (_, index) => ({ ...held, seed: 300 + index }));
  return [...coming, ...holding].map((look) => drawFrame(content, look));
}

/** The desk, with nothing to be read on it. */
export const nothing = (count = 6): Frame[] =>
  Array.from({ length: count }, (_, index) => drawFrame(undefined, { ...plain, noise: 6, seed: 900 + index }));

/** One code, held well. */
export const held = (content: CodeContent, count = 6): Frame[] =>
  Array.from({ length: count }, (_, index) => drawFrame(content, { ...plain, seed: 700 + index, tilt: [6, -8] }));

/** What Chromium is started with to play the frames as its camera. */
export function asCamera(folder: string, name: string, frames: readonly Frame[]): string[] {
  const file = path.join(folder, `${name}.y4m`);
  writeVideo(file, frames);
  return ["--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${file}`];
}

/** Frames of the camera, and pictures, to the codes in them. Gives bytes and decides nothing. */
import { Camera, type CameraOptions } from "./camera.svelte.ts";
import { Decoder } from "./decoder.ts";
import { openPicture } from "./picture.ts";

/** What came of the last picture that was handed over. */
export type PictureState = { at: "idle" } | { at: "reading" } | { at: "no-picture" } | { at: "no-code" };
export type CodeSource = "camera" | "picture";
export type ScannerOptions = CameraOptions & {
  /** The codes of one frame or picture. A code that stays in view is told once. */
  oncodes: (codes: Uint8Array[], from: CodeSource) => void;
};

/** 15 frames a second at most. */
const betweenFramesMs = 1000 / 15;
/** A code that was out of view for this long is told again when it comes back. */
const forgetAfterMs = 1500;
/** A decoder that fails is replaced; after this many in a row codes cannot be read here. */
const mostFailures = 3;

export class Scanner {
  readonly camera: Camera;
  picture = $state.raw<PictureState>({ at: "idle" });
  /** The decoder cannot run here: neither frames nor pictures can be read. */
  broken = $state(false);
  #oncodes: ScannerOptions["oncodes"];
  #decoder: Decoder | undefined;
  #seen = "";
  #seenMs = 0;
  #failures = 0;

  constructor({ oncodes, ...camera }: ScannerOptions) {
    this.camera = new Camera(camera);
    this.#oncodes = oncodes;
  }

  open(): void {
    this.broken = false;
    this.#failures = 0;
    this.#decoder ??= new Decoder();
    this.camera.open();
  }

  close(): void {
    this.camera.close();
    this.#decoder?.close();
    this.#decoder = undefined;
  }

  /** Reads the video's frames until the function that it answers is called. */
  watch(video: HTMLVideoElement): () => void {
    let handle = 0;
    let lastMs = -Infinity;
    const frame = (nowMs: number): void => {
      handle = video.requestVideoFrameCallback(frame);
      if (nowMs - lastMs < betweenFramesMs || this.#decoder?.busy !== false) return;
      lastMs = nowMs;
      void this.#readFrame(video);
    };
    handle = video.requestVideoFrameCallback(frame);
    return () => {
      video.cancelVideoFrameCallback(handle);
    };
  }

  readPicture = async (file: File): Promise<void> => {
    this.picture = { at: "reading" };
    const bitmap = await openPicture(file);
    if (bitmap === undefined) {
      this.picture = { at: "no-picture" };
      return;
    }
    // a decoder of its own: the camera's frames go on meanwhile
    const decoder = new Decoder();
    try {
      const answer = await decoder.read(bitmap);
      if (answer.at === "failed") this.picture = { at: "no-picture" };
      else if (answer.codes.length === 0) this.picture = { at: "no-code" };
      else {
        this.picture = { at: "idle" };
        this.#oncodes(answer.codes, "picture");
      }
    } finally {
      decoder.close();
    }
  };

  async #readFrame(video: HTMLVideoElement): Promise<void> {
    const decoder = this.#decoder;
    const frame = frameOf(video);
    if (decoder === undefined || frame === undefined) return;
    const answer = await decoder.read(frame);
    // closed, or opened anew, in the meantime
    if (decoder !== this.#decoder) return;
    if (answer.at === "read") {
      this.#failures = 0;
      this.#take(answer.codes);
      return;
    }
    this.#failures += 1;
    if (this.#failures < mostFailures) {
      decoder.close();
      this.#decoder = new Decoder();
    } else {
      this.broken = true;
      this.close();
    }
  }

  #take(codes: Uint8Array[]): void {
    const nowMs = performance.now();
    if (codes.length === 0) {
      if (nowMs - this.#seenMs > forgetAfterMs) this.#seen = "";
      return;
    }
    const seen = codes.map((code) => code.join()).join("|");
    this.#seenMs = nowMs;
    if (seen === this.#seen) return;
    this.#seen = seen;
    this.picture = { at: "idle" };
    this.#oncodes(codes, "camera");
  }
}

/** Undefined while the camera has none, as between two cameras. */
function frameOf(video: HTMLVideoElement): VideoFrame | undefined {
  try {
    return new VideoFrame(video, { timestamp: 0 });
  } catch {
    return undefined;
  }
}

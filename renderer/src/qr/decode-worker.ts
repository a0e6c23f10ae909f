/** Reads QR codes from pictures, in a worker of its own: a frame costs milliseconds that the window's own thread does not have. */
import { prepareZXingModule, readBarcodes, type ReaderOptions } from "zxing-wasm/reader";
import wasmUrl from "zxing-wasm/reader/zxing_reader.wasm?url";

/** A code's content as it was written: bytes, for Matrix codes are no text. */
export type DecodeAnswer = { at: "read"; codes: Uint8Array[]; tookMs: number } | { at: "failed"; message: string };
export type Picture = ImageBitmap | VideoFrame;

const options: ReaderOptions = {
  formats: ["QRCode"],
  tryHarder: true,
  // QR codes are found at any angle without it
  tryRotate: false,
  tryInvert: true,
  tryDownscale: true,
  // looking for a second one costs ten times as much as finding the first
  maxNumberOfSymbols: 1,
};
/** Neither a camera's frame nor a picture needs to be read any larger. */
const largestPx = { frame: 1280, picture: 4096 };

prepareZXingModule({ overrides: { locateFile: () => wasmUrl } });
const canvas = new OffscreenCanvas(1, 1);
// read back again and again: kept where the processor can reach it
const context = canvas.getContext("2d", { willReadFrequently: true });

function pixels(picture: Picture): ImageData {
  if (context === null) throw new Error("no canvas");
  const live = picture instanceof VideoFrame;
  const [width, height] = live ? [picture.displayWidth, picture.displayHeight] : [picture.width, picture.height];
  const scale = Math.min(1, largestPx[live ? "frame" : "picture"] / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

self.onmessage = ({ data: picture }: MessageEvent<Picture>): void => {
  void (async () => {
    const startedMs = performance.now();
    try {
      const found = await readBarcodes(pixels(picture), options);
      const codes = found.filter((one) => one.isValid && one.bytes.length > 0).map((one) => one.bytes);
      self.postMessage({ at: "read", codes, tookMs: performance.now() - startedMs } satisfies DecodeAnswer);
    } catch (error) {
      const message = error instanceof Error ? error.message : "unreadable";
      self.postMessage({ at: "failed", message } satisfies DecodeAnswer);
    } finally {
      picture.close();
    }
  })();
};

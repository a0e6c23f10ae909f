// Runs in a page of its own: hands frames to the window's decoder, each as the camera would, and says what came of them.
/* global window, VideoFrame */
import { Decoder } from "../../renderer/src/qr/decoder.ts";

// What Chromium itself brings on some systems. It gives text, so of a binary code only its time can be compared.
const peer = "BarcodeDetector" in window ? new window.BarcodeDetector({ formats: ["qr_code"] }) : undefined;
const decoder = new Decoder();
window.hasPeer = peer !== undefined;

window.readFrame = async (luma, width, height) => {
  const grey = Uint8Array.from(atob(luma), (letter) => letter.charCodeAt(0));
  const rgba = new Uint8ClampedArray(grey.length * 4);
  grey.forEach((value, index) => {
    rgba.fill(value, index * 4, index * 4 + 3);
    rgba[index * 4 + 3] = 255;
  });
  const frame = new VideoFrame(rgba, { format: "RGBA", codedWidth: width, codedHeight: height, timestamp: 0 });
  const fromMs = performance.now();
  if (peer !== undefined) await peer.detect(frame);
  const peerMs = performance.now() - fromMs;
  const answer = await decoder.read(frame);
  if (answer.at === "failed") throw new Error(answer.message);
  const [code] = answer.codes;
  return {
    code: code === undefined ? "" : btoa(String.fromCharCode(...code)),
    decodeMs: answer.tookMs,
    ...(peer === undefined ? {} : { peerMs }),
  };
};

/** Notes every camera that the page gets, so that a test can ask whether its light is still on. */
import type { Page } from "playwright-core";

declare global {
  interface Window {
    recordedTracks: MediaStreamTrack[];
    releaseCamera: () => void;
  }
}

export type Tracks = {
  states: () => Promise<string[]>;
  labels: () => Promise<string[]>;
  /** Lets the cameras come that were held back. */
  release: () => Promise<void>;
};

/** `hold`: a camera that is asked for comes only when told. */
export async function recordTracks(page: Page, { hold = false }: { hold?: boolean } = {}): Promise<Tracks> {
  await page.evaluate((held) => {
    window.recordedTracks = [];
    const gate = Promise.withResolvers<undefined>();
    window.releaseCamera = () => {
      gate.resolve(undefined);
    };
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (constraints) => {
      const stream = await ask(constraints);
      window.recordedTracks.push(...stream.getVideoTracks());
      if (held) await gate.promise;
      return stream;
    };
  }, hold);
  return {
    states: () => page.evaluate(() => window.recordedTracks.map((track) => track.readyState)),
    labels: () => page.evaluate(() => window.recordedTracks.map((track) => track.label)),
    release: () =>
      page.evaluate(() => {
        window.releaseCamera();
      }),
  };
}

/** The window's side of the worker that reads codes: one picture at a time. */
import type { DecodeAnswer, Picture } from "./decode-worker.ts";

export class Decoder {
  #worker = new Worker(new URL("./decode-worker.ts", import.meta.url), { type: "module" });
  #waiting: PromiseWithResolvers<DecodeAnswer> | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<DecodeAnswer>) => {
      this.#settle(data);
    };
    // the script or its wasm did not load
    this.#worker.onerror = ({ message }) => {
      this.#settle({ at: "failed", message });
    };
  }

  get busy(): boolean {
    return this.#waiting !== undefined;
  }

  /** Takes the picture over, also where it is refused because another is being read. */
  async read(picture: Picture): Promise<DecodeAnswer> {
    if (this.#waiting !== undefined) {
      picture.close();
      return { at: "failed", message: "busy" };
    }
    this.#waiting = Promise.withResolvers();
    const { promise } = this.#waiting;
    this.#worker.postMessage(picture, [picture]);
    return promise;
  }

  close(): void {
    this.#worker.terminate();
    this.#settle({ at: "failed", message: "closed" });
  }

  #settle(answer: DecodeAnswer): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(answer);
  }
}

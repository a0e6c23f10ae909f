/** How good the passphrase that is being typed is. The judge is fetched when the first letter is. */
import type { QualityAnswer, QualityQuestion } from "./passphrase-worker.ts";

/** What it locks lies on a server, whose keeper may guess for years: only the best mark will do. */
const enough = 4;

export class PassphraseQuality {
  /** 0 to 4; undefined until it has been judged. */
  score = $state.raw<QualityAnswer["score"] | undefined>();
  readonly enough = $derived(this.score !== undefined && this.score >= enough);
  #worker: Worker | undefined;
  #id = 0;
  #known: string[];

  /** `known`: what anybody would try first, as the person's own name. */
  constructor(known: string[]) {
    this.#known = known;
  }

  judge(passphrase: string): void {
    this.#id += 1;
    if (passphrase === "") {
      this.score = undefined;
      return;
    }
    this.#worker ??= this.#start();
    const question: QualityQuestion = { id: this.#id, passphrase, known: this.#known };
    this.#worker.postMessage(question);
  }

  end(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  #start(): Worker {
    const worker = new Worker(new URL("./passphrase-worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<QualityAnswer>) => {
      if (data.id === this.#id) this.score = data.score;
    });
    return worker;
  }
}

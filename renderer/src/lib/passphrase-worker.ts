/** Judges how hard a passphrase is to guess, beside the page: its lists of words are long. What is judged stays in this computer's memory. */
import { ZxcvbnFactory } from "@zxcvbn-ts/core";
import { adjacencyGraphs, dictionary as common } from "@zxcvbn-ts/language-common";
import { dictionary as english } from "@zxcvbn-ts/language-en";

export type QualityQuestion = { id: number; passphrase: string; known: string[] };
export type QualityAnswer = { id: number; score: 0 | 1 | 2 | 3 | 4 };

// The judge's time grows with the square of the length; what is longer than this is judged by its beginning.
const judged = 128;
const judge = new ZxcvbnFactory({ graphs: adjacencyGraphs, dictionary: { ...common, ...english } });

addEventListener("message", ({ data }: MessageEvent<QualityQuestion>) => {
  const { score } = judge.check(data.passphrase.slice(0, judged), data.known);
  const answer: QualityAnswer = { id: data.id, score };
  postMessage(answer);
});

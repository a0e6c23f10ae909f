import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { CoreError } from "../errors.ts";
import type { FromBackup } from "./backed-up-key.ts";
import type { Fetched } from "./backup-fetch.ts";

export type DecryptRequest = { id: number; sessions: Fetched[] };
export type DecryptAnswer = { id: number; keys: FromBackup[] };
export type Decryptor = {
  decrypt: (sessions: Fetched[]) => Promise<FromBackup[]>;
  /** How many chunks are worth having under way at once. */
  width: number;
  close: () => Promise<void>;
};

const mostWorkers = 3;

/** Threads that decrypt a backup: one beside this one, more where there are more cores. The key goes to them and nowhere else. */
export function startDecryptor(
  workerUrl: URL,
  key: string,
  workers = Math.max(1, Math.min(mostWorkers, availableParallelism() - 1)),
): Decryptor {
  const waiting = new Map<number, { resolve: (keys: FromBackup[]) => void; reject: (error: Error) => void }>();
  let last = 0;
  let closed = false;
  const fail = (cause?: unknown) => {
    const error = closed ? new CoreError("cancelled") : new CoreError("unexpected", { cause });
    for (const one of waiting.values()) one.reject(error);
    waiting.clear();
  };
  const pool = Array.from({ length: workers }, () => {
    const worker = new Worker(workerUrl, { workerData: { key }, name: "backup", stdout: true, stderr: true });
    worker.stdout.resume();
    worker.stderr.resume();
    worker.on("message", ({ id, keys }: DecryptAnswer) => {
      waiting.get(id)?.resolve(keys);
      waiting.delete(id);
    });
    worker.on("error", fail);
    worker.on("exit", () => {
      fail();
    });
    return worker;
  });
  return {
    width: workers + 1,
    decrypt: (sessions) =>
      new Promise((resolve, reject) => {
        if (closed) {
          reject(new CoreError("cancelled"));
          return;
        }
        const id = ++last;
        waiting.set(id, { resolve, reject });
        const request: DecryptRequest = { id, sessions };
        pool[id % pool.length]?.postMessage(request);
      }),
    close: async () => {
      closed = true;
      await Promise.all(pool.map((worker) => worker.terminate()));
    },
  };
}

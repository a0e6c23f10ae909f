import { createServer } from "node:net";
import type { Server } from "node:net";
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Runs `work` while no other process on this machine runs work of the same name; others wait.
 * The lock is an abstract socket of Linux: the kernel lets go of it when its holder dies, so it is never stale.
 */
export async function withLock<T>(name: string, onWaiting: () => void, work: () => Promise<T>): Promise<T> {
  const address = `\0tessera-${createHash("sha256").update(name).digest("hex").slice(0, 32)}`;
  let held = await tryToHold(address);
  if (held === undefined) onWaiting();
  while (held === undefined) {
    await sleep(200);
    held = await tryToHold(address);
  }
  const server = held;
  try {
    return await work();
  } finally {
    await new Promise((closed) => server.close(closed));
  }
}

async function tryToHold(address: string): Promise<Server | undefined> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(address, () => {
      resolve(server);
    });
  });
}

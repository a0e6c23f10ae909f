import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * A loopback port that nothing listens on, below the range from which the system takes ports for outgoing connections:
 * so a server that goes and comes back finds its port still free.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = randomInt(20_000, 32_000);
    if (await isFree(port)) return port;
  }
  throw new Error("No free port between 20000 and 32000 on 127.0.0.1.");
}

export async function isFree(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => {
      resolve(false);
    });
    server.listen(port, "127.0.0.1", () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

import { shareWarm } from "./warm.ts";

/** For vitest's `globalSetup`: installs Synapse once and keeps one warm process for all workers of the run. */
export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (process.env["HOMESERVER_URL"] !== undefined) return undefined;
  const warm = await shareWarm();
  return warm === undefined ? undefined : () => warm.stop();
}

import { readFileSync } from "node:fs";

/** Where a door finds what it starts, seen from its entry: `main/<door>/main.ts`, or `dist/main/<door>.js` of the bundle. */
export type Places = { workerUrl: URL; keychainUrl: URL; version: string };

/** `entryUrl`: the entry's own `import.meta.url`. */
export function placesFrom(entryUrl: string): Places {
  const fromSource = entryUrl.endsWith(".ts");
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", entryUrl), "utf8")) as { version: string };
  return {
    workerUrl: new URL(fromSource ? "../core/worker.ts" : "./worker.js", entryUrl),
    keychainUrl: new URL(fromSource ? "../host/keychain-process.ts" : "./keychain-process.js", entryUrl),
    version,
  };
}

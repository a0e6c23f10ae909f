// `npm run --silent headless -- --profile DIR`: the app without a window. In this very process, so that signals and the
// end of stdin reach it directly; stdout is its protocol's from here on.
import module from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

// who has just built it, as the tests and benches have, says so
if (process.env.TESSERA_BUILT === undefined) {
  const { buildIfStale } = await import("./build.mjs");
  await buildIfStale();
}
module.enableCompileCache(fileURLToPath(new URL("../.cache/compiled", import.meta.url)));
const entry = path.join(import.meta.dirname, "..", "dist", "main", "headless.js");
await import(new URL(`file://${entry}`).href);

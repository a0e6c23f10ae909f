// `npm run --silent headless -- --profile DIR`: the app without a window. In this very process, so that signals and the
// end of stdin reach it directly; stdout is its protocol's from here on.
import module from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { buildIfStale } from "./build.mjs";

await buildIfStale();
module.enableCompileCache(fileURLToPath(new URL("../.cache/compiled", import.meta.url)));
const entry = path.join(import.meta.dirname, "..", "dist", "main", "headless.js");
await import(new URL(`file://${entry}`).href);

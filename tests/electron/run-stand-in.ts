/** The process that takes the place of Electron's: `node run-stand-in.ts ENTRY ...arguments of the app`. */
import { existsSync, readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { runInThisContext } from "node:vm";

const standIn = new URL("./stand-in.ts", import.meta.url).href;
registerHooks({
  resolve: (specifier, context, next) => next(specifier === "electron" ? standIn : specifier, context),
});
const electron = await import("./stand-in.ts");

const [entry = "", ...args] = process.argv.slice(2);
// as Electron has it, unpackaged: its executable, the folder it was pointed at, the app's own
process.argv = [process.execPath, path.resolve(entry, "../../.."), ...args];

process.on("message", (message: { id: number; source: string }) => {
  const { id, source } = message;
  const run = runInThisContext(`async (electron) => { ${source} }`) as (api: object) => Promise<unknown>;
  run(electron).then(
    (value) => process.send?.({ id, value }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});

await import(pathToFileURL(path.resolve(entry)).href);
if (args.includes("--headless")) await electron.becomeReady("headless");
else {
  await electron.becomeReady(["--remote-debugging-port=0"]);
  const portFile = path.join(electron.app.getPath("userData"), "stand-in", "DevToolsActivePort");
  while (!existsSync(portFile)) await new Promise((resolve) => setTimeout(resolve, 20));
  process.send?.({ port: Number(readFileSync(portFile, "utf8").split("\n", 1)[0]) });
}

import { app } from "electron";
import { runHeadless } from "../headless/run.ts";
import { parseDoorArguments } from "../host/door-arguments.ts";
import { placesFrom } from "../host/places.ts";
import { utilityHelper } from "./helper.ts";
import { startWindowed } from "./windowed.ts";

// Nothing here waits: what Electron must be told before it is ready, it is told while this module runs.
const places = placesFrom(import.meta.url);
// unpackaged, the first argument is the folder that Electron was pointed at
const args = process.argv.slice(app.isPackaged ? 1 : 2);

if (args.includes("--headless")) {
  // there need be no display
  app.commandLine.appendSwitch("ozone-platform", "headless");
  void app.whenReady().then(() =>
    runHeadless({
      args,
      version: places.version,
      workerUrl: places.workerUrl,
      startHelper: utilityHelper(places.keychainUrl),
      electronVersion: process.versions.electron,
    }),
  );
} else {
  const callersFolder = process.env["TESSERA_CALLERS_FOLDER"] ?? process.cwd();
  startWindowed(parseDoorArguments(args, callersFolder), places, new URL("../", import.meta.url));
}

import { forkHelper } from "../host/helper-process.ts";
import { placesFrom } from "../host/places.ts";
import { runHeadless } from "./run.ts";

const { workerUrl, keychainUrl, version } = placesFrom(import.meta.url);
await runHeadless({ args: process.argv.slice(2), version, workerUrl, startHelper: forkHelper(keychainUrl) });

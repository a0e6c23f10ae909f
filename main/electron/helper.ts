import { fileURLToPath } from "node:url";
import { utilityProcess } from "electron";
import type { StartHelper } from "../host/helper-process.ts";

/** A helper in Electron's own kind of process: the fuse that lets the executable run as Node is off. */
export function utilityHelper(file: URL): StartHelper {
  return () => {
    const child = utilityProcess.fork(fileURLToPath(file), [], { stdio: "ignore", serviceName: "Tessera keychain" });
    return {
      send: (message) => {
        child.postMessage(message);
      },
      onMessage: (listener) => {
        child.on("message", listener);
      },
      onExit: (listener) => {
        child.once("exit", listener);
      },
      kill: () => {
        // kill() asks; an open prompt of the keyring would not let it end
        if (child.pid === undefined) child.kill();
        else process.kill(child.pid, "SIGKILL");
      },
    };
  };
}

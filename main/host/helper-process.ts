import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

/** A process of its own that takes and gives plain messages. */
export type HelperProcess = {
  /** May throw where the process has ended. */
  send: (message: unknown) => void;
  onMessage: (listener: (message: unknown) => void) => void;
  /** Also called where it could not be started. */
  onExit: (listener: () => void) => void;
  /** At once, without waiting for anything it does. */
  kill: () => void;
};

/** The door supplies it: `utilityProcess` in Electron, {@link forkHelper} elsewhere. */
export type StartHelper = () => HelperProcess;

/** A plain Node process. It inherits no stdio: the headless door's stdout belongs to its protocol. */
export function forkHelper(file: URL): StartHelper {
  return () => {
    const child = fork(fileURLToPath(file), [], { stdio: ["ignore", "ignore", "ignore", "ipc"], execArgv: [] });
    let ended = false;
    const listeners: (() => void)[] = [];
    const onEnd = () => {
      if (ended) return;
      ended = true;
      for (const listener of listeners) listener();
    };
    child.on("exit", onEnd);
    child.on("error", onEnd);
    // it must not keep the app alive by itself: whoever waits for its answer does
    child.unref();
    child.channel?.unref();
    return {
      send: (message) => {
        child.send(message as NonNullable<Parameters<typeof child.send>[0]>);
      },
      onMessage: (listener) => {
        child.on("message", listener);
      },
      onExit: (listener) => {
        listeners.push(listener);
      },
      kill: () => {
        child.kill("SIGKILL");
      },
    };
  };
}

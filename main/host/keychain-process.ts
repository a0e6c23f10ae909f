/** The process that holds keytar: see keychain.ts. One call in, one answer out; it is ended by a kill. */

export type KeychainCall = {
  id: number;
  operation: "read" | "write" | "remove";
  service: string;
  entry: string;
  value?: string;
};
export type KeychainAnswer =
  { kind: "value"; id: number; value: string | null } | { kind: "failed"; id: number; message: string };

type Keytar = Pick<typeof import("keytar"), "getPassword" | "setPassword" | "deletePassword">;
/** What Electron's `utilityProcess` puts in the place of a fork's channel. */
type ParentPort = {
  on: (event: "message", listener: (message: { data: unknown }) => void) => void;
  postMessage: (message: unknown) => void;
};

let loading: Promise<Keytar> | undefined;
// loaded at the first call, so that a keytar that was not built is an answer and not a death
const keytar = () => (loading ??= import("keytar").then((module) => module.default));

async function perform(call: KeychainCall): Promise<string | null> {
  const driver = await keytar();
  switch (call.operation) {
    case "read":
      return driver.getPassword(call.service, call.entry);
    case "write":
      await driver.setPassword(call.service, call.entry, call.value ?? "");
      return null;
    case "remove":
      await driver.deletePassword(call.service, call.entry);
      return null;
  }
}

async function answer(message: unknown): Promise<KeychainAnswer> {
  const call = message as KeychainCall;
  try {
    return { kind: "value", id: call.id, value: await perform(call) };
  } catch (error) {
    return { kind: "failed", id: call.id, message: error instanceof Error ? error.message : "" };
  }
}

const { parentPort } = process as { parentPort?: ParentPort };
if (parentPort === undefined) {
  process.on("message", (message) => {
    void answer(message).then((result) => process.send?.(result));
  });
  // an open prompt holds a thread, and an ordinary exit would wait for it
  process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
} else {
  parentPort.on("message", ({ data }) => {
    void answer(data).then((result) => {
      parentPort.postMessage(result);
    });
  });
}

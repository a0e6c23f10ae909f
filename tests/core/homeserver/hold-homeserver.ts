// Started by launcher.test.ts to be killed: holds a homeserver and says which processes must not outlive it.
import { readFileSync } from "node:fs";
import { startHomeserver } from "../../homeserver/homeserver.ts";

const { pid } = await startHomeserver();
if (pid === undefined) throw new Error("A homeserver that runs already says nothing about the launcher.");
const parent = Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
process.stdout.write(JSON.stringify({ pid, parent }));
setInterval(() => undefined, 60_000);

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { filesOf, temporaryFolder } from "./folder.ts";
import { startHeadless } from "./headless-process.ts";

const fixture = fileURLToPath(new URL("./fixtures/headless.ts", import.meta.url));

function parentOf(processId: number): number {
  const stat = readFileSync(`/proc/${processId}/stat`, "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

function runs(processId: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${processId}/stat`, "latin1"));
  } catch {
    return false;
  }
}

/** `npm run` → shell → a script that starts the app with its own stdio, and forwards no signal → the app. */
async function startChain() {
  const folder = temporaryFolder();
  writeFileSync(path.join(folder, "pass"), "correct horse\n");
  writeFileSync(
    path.join(folder, "starter.cjs"),
    `require("node:child_process").spawn(${JSON.stringify(process.execPath)}, [${JSON.stringify(fixture)}, ...process.argv.slice(2)], { stdio: "inherit" })`,
  );
  // "; exit" keeps the shell from becoming the script itself
  const script = `${JSON.stringify(process.execPath)} starter.cjs --profile profile --passphrase-file pass; exit $?`;
  writeFileSync(
    path.join(folder, "package.json"),
    JSON.stringify({ name: "chain", version: "1.0.0", scripts: { headless: script } }),
  );
  const env = { ...process.env, TESSERA_CALLERS_FOLDER: folder };
  const app = startHeadless(["--prefix", folder, "run", "--silent", "headless"], env, ["npm"]);
  expect(
    await app.ask("account.login", { homeserver: "http://127.0.0.1:1", user: "alice", password: "p" }),
  ).toMatchObject({ ok: true });
  await app.ask("rooms.list");
  const profile = path.join(folder, "profile");
  const chain = [Number(readFileSync(path.join(profile, "profile.lock"), "utf8"))];
  while (chain[0] !== undefined && chain[0] !== app.child.pid) chain.unshift(parentOf(chain[0]));
  return { app, chain, profile };
}

test.each([
  ["npm", 0],
  ["the shell", 1],
  ["the starter", 2],
  ["the app", 3],
])("SIGTERM to %s ends the whole chain, the app in order", async (_name, place) => {
  const { chain, profile } = await startChain();
  expect(chain.length).toBe(4);
  process.kill(chain[place] ?? 0, "SIGTERM");
  const startedMs = Date.now();
  while (chain.some(runs)) await sleep(20);
  console.log(`ended after ${Date.now() - startedMs} ms; 3,000 are promised`);
  const files = filesOf(profile);
  expect([...files].find(([file]) => file.endsWith("/stops"))?.[1].toString()).toBe("orderly\n");
});

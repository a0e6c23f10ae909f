// `npm run check`: what CI runs of the static kind. Each tool prints only when it finds something; then one line a tool.
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { buildIfStale } from "./build.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Every tool with its arguments, in the order of its slowness. */
export const tools = {
  // without its cache: a rule that knows types may find a fault in a file that did not change
  lint: ["eslint", "--max-warnings=0", "."],
  types: ["tsc", "--noEmit", "-p", "tsconfig.json"],
  "window types": ["svelte-check", "--tsconfig", "renderer/tsconfig.json", "--fail-on-warnings", "--output", "human"],
  layers: ["depcruise", "--config", "dependency-cruiser.config.cjs", "main", "preload", "renderer/src"],
  "dead code": ["knip", "--no-progress", "--no-config-hints"],
  format: ["prettier", "--check", "--log-level", "warn", "--cache", "--cache-location", ".cache/prettier", "."],
};

/** Runs one tool of node_modules/.bin in `folder`; answers its exit code and all that it said. */
export function runTool([name, ...args], folder = root) {
  return new Promise((resolve, reject) => {
    const windows = process.platform === "win32";
    const command = path.join(root, "node_modules", ".bin", windows ? `${name}.cmd` : name);
    const child = spawn(command, args, {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
      shell: windows,
      // the tools want the pinned Node too, and are found by it
      env: { ...process.env, PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH ?? ""}` },
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text) => {
        said += text;
      });
    child.once("error", reject).once("close", (code) => resolve({ code: code ?? 1, said }));
  });
}

async function check() {
  const failed = [];
  // the window's messages are code that a build makes, and types and lint need it to be there
  await buildIfStale().catch(() => failed.push("build"));
  const waiting = Object.entries(tools);
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [what, tool] = next;
      const startedMs = Date.now();
      const { code, said } = await runTool(tool);
      if (code !== 0) {
        failed.push(what);
        console.log(said.trimEnd());
      }
      console.log(
        `${code === 0 ? "ok    " : "FAILED"} ${what} (${tool[0]}, ${((Date.now() - startedMs) / 1000).toFixed(1)} s)`,
      );
    }
  };
  await Promise.all(Array.from({ length: Math.min(3, Math.max(2, availableParallelism())) }, worker));
  console.log(failed.length === 0 ? "All checks passed." : `Failed: ${failed.join(", ")}.`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}

if (import.meta.main) await check();

import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { isBuiltin } from "node:module";
import path from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import { buildIfStale } from "../../scripts/build.mjs";

const root = path.resolve(import.meta.dirname, "../..");
const dist = (...parts: string[]) => path.join(root, "dist", ...parts);
const run = promisify(execFile);
/** As the headless door does: in a process of its own, its stdout watched. */
const buildElsewhere = () =>
  run(process.execPath, [
    "-e",
    `import(${JSON.stringify(path.join(root, "scripts/build.mjs"))}).then((m) => m.buildIfStale())`,
  ]);

beforeAll(() => buildIfStale());

test("makes every entry of the three bundles", () => {
  for (const entry of ["electron", "worker", "keychain-process", "loopback", "headless"])
    expect(existsSync(dist("main", `${entry}.js`))).toBe(true);
  expect(readdirSync(dist("preload")).filter((name) => !name.startsWith(".") && !name.endsWith(".map"))).toEqual([
    "preload.cjs",
  ]);
  expect(readFileSync(dist("renderer", "index.html"), "utf8")).toMatch(/src="\.\/assets\//);
});

test("a sandboxed preload can load: it requires electron and nothing else", () => {
  const required = [...readFileSync(dist("preload", "preload.cjs"), "utf8").matchAll(/require\("([^"]+)"\)/g)];
  expect(required.map(([, name]) => name)).toEqual(["electron"]);
});

test("what the packaged app carries stays outside of the bundle, all else is inside", () => {
  const code = readdirSync(dist("main"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".js") && name !== "loopback-bridge.js")
    .map((name) => readFileSync(dist("main", name), "utf8"))
    .join("\n");
  const imported = [
    ...code.matchAll(/^\s*(?:import|export)\b[^;\n]*?from\s*"([^"]+)"|\bimport\("([^"]+)"\)|^import "([^"]+)"/gm),
  ]
    .map(([, a, b, c]) => a ?? b ?? c ?? "")
    .filter((name) => !name.startsWith(".") && !isBuiltin(name));
  const { dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    dependencies: object;
  };
  const outside = new Set(
    imported.map((name) => (name.startsWith("@") ? name.split("/", 2).join("/") : name.split("/", 1)[0])),
  );
  const allowed = new Set(["electron", ...Object.keys(dependencies)]);
  expect([...outside].filter((name) => name !== undefined && !allowed.has(name))).toEqual([]);
});

test("nothing of the page breaks the policy: no inline script or style, no data: URL", () => {
  const html = readFileSync(dist("renderer", "index.html"), "utf8");
  expect(html).not.toMatch(/<script(?![^>]*\bsrc=)/);
  expect(html).not.toMatch(/<style|\bstyle=|\bon\w+=|data:/);
});

test("the window is made for production, whoever had it built: nothing in it warns developers", () => {
  const files = readdirSync(dist("renderer", "assets")).filter((name) => name.endsWith(".js"));
  expect(files.length).toBeGreaterThan(0);
  expect(files.filter((name) => readFileSync(dist("renderer", "assets", name), "utf8").includes("%c[svelte]"))).toEqual(
    [],
  );
});

test("is quick and silent where nothing changed, and writes nothing", async () => {
  const before = statSync(dist("main", "electron.js")).mtimeMs;
  const { stdout } = await buildElsewhere();
  expect(stdout).toBe("");
  expect(statSync(dist("main", "electron.js")).mtimeMs).toBe(before);
});

test("two at once build once, what they made works, and their stdout stays empty", async () => {
  const source = path.join(root, "preload", "preload.ts");
  const { atime, mtime } = statSync(source);
  utimesSync(source, atime, new Date());
  const made = () => statSync(dist("preload", "preload.cjs")).mtimeMs;
  const before = made();
  try {
    const both = await Promise.all([buildElsewhere(), buildElsewhere()]);
    expect(both.map(({ stdout }) => stdout)).toEqual(["", ""]);
    // none of the two where another test file's app has just built it
    expect(
      both
        .map(({ stderr }) => stderr)
        .join("")
        .match(/\[build\].*preload/g)?.length ?? 0,
    ).toBeLessThanOrEqual(1);
    expect(made()).toBeGreaterThan(before);
    expect(readdirSync(dist()).sort()).toEqual(["main", "preload", "renderer"]);
  } finally {
    utimesSync(source, atime, mtime);
    await buildIfStale();
  }
});

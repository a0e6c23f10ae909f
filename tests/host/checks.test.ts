import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runTool, tools } from "../../scripts/check.mjs";

/** `npm run check` is itself checked: each of its tools, with its own configuration, on a small project with planted faults. */
const root = path.resolve(import.meta.dirname, "../..");
const folder = mkdtempSync(path.join(tmpdir(), "tessera-checks-test-"));

function plant(file: string, content: string): void {
  const whole = path.join(folder, file);
  mkdirSync(path.dirname(whole), { recursive: true });
  writeFileSync(whole, content);
}

/** What a tool says without and with the planted files, which are gone again afterwards. */
async function withAndWithout(tool: keyof typeof tools, planted: Record<string, string>) {
  const before = await runTool(tools[tool], folder);
  for (const [file, content] of Object.entries(planted)) plant(file, content);
  const after = await runTool(tools[tool], folder);
  for (const file of Object.keys(planted)) rmSync(path.join(folder, file));
  return { before, after };
}

beforeAll(() => {
  for (const file of [
    ...["tsconfig.json", "renderer/tsconfig.json", "eslint.config.js", "svelte.config.js", "knip.json"],
    ...["dependency-cruiser.config.cjs", ".prettierrc.json", ".prettierignore"],
  ])
    cpSync(path.join(root, file), path.join(folder, file));
  symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  plant("package.json", `{\n  "name": "planted",\n  "private": true,\n  "type": "module"\n}\n`);
  plant("main/electron/main.ts", 'import { sum } from "../host/sum.ts";\n\nprocess.exitCode = sum(1, -1);\n');
  plant("main/host/sum.ts", "export function sum(a: number, b: number): number {\n  return a + b;\n}\n");
  plant("preload/preload.ts", 'import type { Name } from "./contract/name.ts";\n\nexport const name: Name = "a";\n');
  plant("preload/contract/name.ts", 'export type Name = "a" | "b";\n');
  plant("renderer/src/main.ts", 'import App from "./App.svelte";\n\ndocument.title = App.name;\n');
  plant("renderer/src/App.svelte", '<script lang="ts">\n  let count = $state(0);\n</script>\n\n<p>{count}</p>\n');
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

test("a planted type error fails the types", async () => {
  const { before, after } = await withAndWithout("types", {
    "main/host/planted.ts": 'export const planted: number = "text";\n',
  });
  expect(before).toEqual({ code: 0, said: "" });
  expect(after.code).not.toBe(0);
  expect(after.said).toContain("main/host/planted.ts(1,14): error TS2322");
});

test("a planted type error in a component fails the window's types", async () => {
  const planted = '<script lang="ts">\n  const planted: number = "text";\n</script>\n\n<p>{planted}</p>\n';
  const { before, after } = await withAndWithout("window types", { "renderer/src/Planted.svelte": planted });
  expect(before.said).toContain("0 errors");
  expect(before.code).toBe(0);
  expect(after.code).not.toBe(0);
  expect(after.said).toContain("Planted.svelte");
});

test("an unused export and an unused file fail the dead code", async () => {
  const { before, after } = await withAndWithout("dead code", {
    "main/electron/main.ts":
      'import { used } from "../host/planted.ts";\nimport { sum } from "../host/sum.ts";\n\nprocess.exitCode = sum(used, 0);\n',
    "main/host/planted.ts": "export const used = 0;\nexport const unusedExport = 1;\n",
    "main/host/unused-file.ts": "export const alone = 1;\n",
  });
  plant("main/electron/main.ts", 'import { sum } from "../host/sum.ts";\n\nprocess.exitCode = sum(1, -1);\n');
  expect(before).toEqual({ code: 0, said: "" });
  expect(after.code).not.toBe(0);
  expect(after.said).toContain("unusedExport");
  expect(after.said).toContain("main/host/unused-file.ts");
});

test("a file that is not formatted fails the format", async () => {
  const { before, after } = await withAndWithout("format", {
    "main/host/planted.ts": "export   const planted = 'text'\n",
  });
  expect(before).toEqual({ code: 0, said: "" });
  expect(after.code).not.toBe(0);
  expect(after.said).toContain("main/host/planted.ts");
});

describe("layers", () => {
  const clean = 'export const value = "a";\n';
  /** Which rule refuses which import; the targets are planted too. */
  const forbidden: [rule: string, from: string, imports: string][] = [
    ["contract-is-a-leaf", "preload/contract/planted.ts", "node:fs"],
    ["preload-knows-contract-and-electron", "preload/preload.ts", "../main/host/sum.ts"],
    ["window-reaches-only-the-contract", "renderer/src/planted.ts", "../../main/host/sum.ts"],
    ["window-uses-no-node", "renderer/src/planted.ts", "node:path"],
    ["only-rune-modules-call-the-bridge", "renderer/src/features/rooms/planted.ts", "../../bridge.ts"],
    ["window-lib-knows-no-feature", "renderer/src/lib/planted.ts", "../features/rooms/planted.ts"],
    ["main-knows-no-window", "main/host/planted.ts", "../../renderer/src/planted.ts"],
    ["doors-do-not-know-each-other", "main/loopback/planted.ts", "../electron/main.ts"],
    ["core-knows-no-door-and-no-host", "main/core/planted.ts", "../host/sum.ts"],
    ["host-knows-no-door", "main/host/planted.ts", "../loopback/planted.ts"],
    ["doors-and-host-know-no-core", "main/host/planted.ts", "../core/planted.ts"],
    ["worker-port-is-types-alone", "main/host/planted.ts", "../core/worker-port.ts"],
    ["features-are-strangers", "main/core/features/rooms/planted.ts", "../timeline/planted.ts"],
    ["only-the-electron-door-imports-electron", "main/host/planted.ts", "electron"],
    ["only-core-matrix-imports-sdk-values", "main/core/sync/planted.ts", "matrix-js-sdk"],
    ["only-core-storage-imports-the-database", "main/core/sync/planted.ts", "better-sqlite3"],
    ["only-the-keychain-imports-keytar", "main/host/planted.ts", "keytar"],
    ["production-imports-no-tests", "main/host/planted.ts", "../../tests/planted.ts"],
    ["everything-imported-exists", "main/host/planted.ts", "./nowhere.ts"],
    ["no-cycles", "main/core/storage/one.ts", "./two.ts"],
  ];
  const allowed: Record<string, string> = {
    "main/host/types-of-core.ts":
      'import type { Port } from "../core/worker-port.ts";\n\nexport const port: Port = 1;\n',
    "main/host/keychain-planted.ts": 'import keytar from "keytar";\n\nexport const read = keytar.getPassword;\n',
    "main/core/sync/types-of-sdk.ts":
      'import type { MatrixClient } from "matrix-js-sdk";\n\nexport type Client = MatrixClient;\n',
    "renderer/src/features/rooms/state.svelte.ts": 'export * from "../../bridge.ts";\n',
  };

  test("are kept by what is allowed, and every planted import is refused by its own rule", async () => {
    const sources = new Map<string, string>(Object.entries(allowed));
    for (const [, from, imports] of forbidden) {
      const earlier = sources.get(from) ?? "";
      sources.set(from, `${earlier}export * as from${String(earlier.length)} from ${JSON.stringify(imports)};\n`);
    }
    const targets = ["renderer/src/bridge.ts", "main/core/features/timeline/planted.ts", "tests/planted.ts"];
    for (const file of targets) sources.set(file, clean);
    sources.set("main/core/worker-port.ts", "export type Port = 1;\nexport const value = 1;\n");
    sources.set("main/core/storage/two.ts", 'export * as one from "./one.ts";\n');
    const [name, ...args] = tools.layers;
    const json: typeof tools.layers = [name, "--output-type", "json", ...args];
    const before = await runTool(tools.layers, folder);
    for (const [file, content] of sources) plant(file, content);
    const plain = await runTool(tools.layers, folder);
    const { said } = await runTool(json, folder);
    for (const file of sources.keys()) rmSync(path.join(folder, file));
    plant("preload/preload.ts", 'import type { Name } from "./contract/name.ts";\n\nexport const name: Name = "a";\n');

    expect(before.code).toBe(0);
    expect(plain.code).not.toBe(0);
    const { summary } = JSON.parse(said) as { summary: { violations: { from: string; rule: { name: string } }[] } };
    const found = summary.violations.map(({ from, rule }) => `${rule.name}: ${from}`);
    for (const [rule, from] of forbidden) expect(found).toContain(`${rule}: ${from}`);
    for (const file of Object.keys(allowed)) expect(found.filter((each) => each.endsWith(`: ${file}`))).toEqual([]);
  });
});

test("lint refuses floating promises, calls that look up a Room, raw HTML, empty catches and window.core", async () => {
  const { before, after } = await withAndWithout("lint", {
    "main/host/floating.ts": "export async function work(): Promise<void> {\n  await Promise.resolve();\n}\nwork();\n",
    "main/core/room-call.ts":
      'export function send(client: { sendEvent: (text: string) => void }): void {\n  client.sendEvent("a");\n}\n',
    "main/core/room-call-2.ts":
      "type Sdk = { getRoom: () => void };\nexport class Sender {\n  client: Sdk;\n  constructor(client: Sdk) {\n    this.client = client;\n    this.client.getRoom();\n  }\n}\n",
    "main/core/matrix/starts.ts":
      "export function start(client: { startClient: () => void }): void {\n  client.startClient();\n}\n",
    "main/host/empty-catch.ts":
      "export function swallow(work: () => void): void {\n  try {\n    work();\n  } catch {}\n}\n",
    "renderer/src/Raw.svelte": '<script lang="ts">\n  const html = "<b>a</b>";\n</script>\n\n{@html html}\n',
    "renderer/src/core-user.ts":
      'export const asked = (window as Window & { core?: unknown }).core ?? Reflect.get(window, "core");\nexport const found: unknown = "core" in window ? window.core : undefined;\n',
  });
  expect(before).toEqual({ code: 0, said: "" });
  expect(after.code).not.toBe(0);
  for (const said of [
    "no-floating-promises",
    "room-call.ts",
    "room-call-2.ts",
    "looks up a Room",
    "the SDK's client is never started",
    "no-empty",
    "No raw HTML",
    "Only bridge.ts speaks to the core",
  ])
    expect(after.said).toContain(said);
});

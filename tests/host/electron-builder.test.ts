import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { describe, expect, test } from "vitest";

type Configuration = Record<string, unknown> & {
  files: { filter: string[] }[];
  electronFuses: Record<string, boolean>;
};
type BuilderConfig = {
  getConfig: (folder: string, file: string, more: null) => Promise<Configuration>;
  validateConfiguration: (configuration: unknown, log: unknown) => Promise<void>;
};

const root = path.resolve(import.meta.dirname, "../..");
const require = createRequire(import.meta.url);
const { getConfig, validateConfiguration } = require("app-builder-lib/out/util/config/config.js") as BuilderConfig;
const { DebugLogger } = require("builder-util") as { DebugLogger: new (on: boolean) => object };
const read = () => getConfig(root, "electron-builder.yml", null);

describe("electron-builder.yml", () => {
  test("is valid by electron-builder's own schema", async () => {
    await validateConfiguration(await read(), new DebugLogger(false));
  });

  test("would not be with a word that the schema does not know", async () => {
    const wrong = { ...(await read()), electronFuses: { runAsNod: false } };
    await expect(validateConfiguration(wrong, new DebugLogger(false))).rejects.toThrow(/electronFuses/);
  });

  test("closes the fuses that would let others run code in the app", async () => {
    expect((await read()).electronFuses).toMatchObject({
      runAsNode: false,
      enableNodeOptionsEnvironmentVariable: false,
      enableNodeCliInspectArguments: false,
      enableEmbeddedAsarIntegrityValidation: true,
      onlyLoadAppFromAsar: true,
      grantFileProtocolExtraPrivileges: false,
    });
  });

  test("leaves out the loopback door, source maps and the tools' own Node", async () => {
    const filter = (await read()).files.flatMap((each) => each.filter);
    for (const left of ["!dist/main/loopback*", "!**/*.map", "!**/node_modules/node-{linux,darwin,win}-*/**"])
      expect(filter).toContain(left);
  });

  test("names icons that are there, and an entry that the build makes", async () => {
    const config = (await read()) as unknown as Record<"linux" | "mac" | "win", { icon: string }>;
    for (const platform of ["linux", "mac", "win"] as const)
      expect(existsSync(path.join(root, config[platform].icon))).toBe(true);
    const { main } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { main: string };
    expect(main).toBe("dist/main/electron.js");
  });
});

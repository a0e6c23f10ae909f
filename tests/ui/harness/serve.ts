/** Builds the window with the fake core and serves it from loopback under the policy that the real doors send. */
import { createServer } from "node:http";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { build, mergeConfig } from "vite";
import renderer from "../../../renderer/vite.config.ts";

export const contentSecurityPolicy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; font-src 'self'; " +
  "connect-src 'self'; media-src 'self' blob:; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const types: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".wasm": "application/wasm",
};

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export type Harness = { url: string; folder: string; stop: () => Promise<void> };

async function buildInto(folder: string): Promise<void> {
  await build(mergeConfig(renderer, { configFile: false, logLevel: "warn", build: { outDir: folder } }));
  await build({
    configFile: false,
    logLevel: "warn",
    build: {
      outDir: folder,
      emptyOutDir: false,
      lib: { entry: at("./bridge-page.ts"), formats: ["iife"], name: "bridge", fileName: () => "bridge.js" },
    },
  });
}

/** What the built window depends on, as one word. */
async function stamp(): Promise<string> {
  const hash = createHash("sha256");
  for (const root of [
    "../../../renderer",
    "../../fakes",
    ".",
    "../../../preload/contract",
    "../../../package-lock.json",
  ].map(at)) {
    const names = (await stat(root)).isDirectory() ? await readdir(root, { recursive: true }) : [""];
    for (const name of names.filter((one) => !one.includes("paraglide")).sort()) {
      const { mtimeMs, size, isFile } = await stat(join(root, name)).then((one) => ({
        mtimeMs: one.mtimeMs,
        size: one.size,
        isFile: one.isFile(),
      }));
      if (isFile) hash.update(`${name} ${mtimeMs} ${size}\n`);
    }
  }
  return hash.digest("hex").slice(0, 16);
}

/** The folder of the built window: built once for all test files, each of which runs in a process of its own. */
async function builtWindow(): Promise<string> {
  const cache = at("../../../.cache/window");
  await mkdir(cache, { recursive: true });
  const folder = join(cache, await stamp());
  const lock = `${folder}.lock`;
  for (;;) {
    if (existsSync(join(folder, "index.html"))) return folder;
    try {
      await mkdir(lock);
      break;
    } catch {
      const age = await stat(lock).then(
        (one) => Date.now() - one.mtimeMs,
        () => 0,
      );
      if (age > 120_000) await rm(lock, { recursive: true, force: true });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  try {
    const temporary = `${folder}.${process.pid}`;
    await buildInto(temporary);
    await rename(temporary, folder);
    for (const old of await readdir(cache)) {
      const path = join(cache, old);
      const age = await stat(path).then(
        (one) => Date.now() - one.mtimeMs,
        () => 0,
      );
      if (path !== folder && age > 3_600_000) await rm(path, { recursive: true, force: true });
    }
  } finally {
    await rm(lock, { recursive: true, force: true });
  }
  return folder;
}

export async function serveWindow(): Promise<Harness> {
  const folder = await builtWindow();
  const index = (await readFile(join(folder, "index.html"), "utf8")).replace(
    "<head>",
    '<head><script src="./bridge.js"></script>',
  );

  const server = createServer((request, response) => {
    void (async () => {
      const path = normalize(new URL(request.url ?? "/", "http://127.0.0.1").pathname);
      const headers = {
        "content-security-policy": contentSecurityPolicy,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
      };
      if (path === "/") {
        response.writeHead(200, { ...headers, "content-type": "text/html; charset=utf-8" }).end(index);
        return;
      }
      try {
        const bytes = await readFile(join(folder, path));
        response
          .writeHead(200, { ...headers, "content-type": types[extname(path)] ?? "application/octet-stream" })
          .end(bytes);
      } catch {
        response.writeHead(404, headers).end();
      }
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the harness has no port");
  return {
    url: `http://127.0.0.1:${address.port}/`,
    folder,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

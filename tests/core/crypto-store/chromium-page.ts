import { chromium, type Page } from "playwright-core";
import { createServer, type Server } from "node:http";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { tmpdir } from "node:os";
import { extname, join, resolve, sep } from "node:path";
import type { AddressInfo } from "node:net";

const repository = resolve(import.meta.dirname, "../../..");
const sdk = join(repository, "node_modules/@matrix-org/matrix-sdk-crypto-wasm");
const executablePath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
const contentTypes: Record<string, string> = {
  ".ts": "text/javascript",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};
const html = `<!doctype html><meta charset="utf-8"><title>crypto store</title>
<script type="importmap">{"imports":{"@matrix-org/matrix-sdk-crypto-wasm":"/sdk/index.mjs"}}</script>`;

async function bodyOf(path: string): Promise<{ type: string; body: string | Buffer } | undefined> {
  if (path === "/") return { type: "text/html", body: html };
  const base = path.startsWith("/sdk/") ? sdk : join(repository, "tests");
  const file = join(base, path.replace(/^\/(sdk|tests)\//, ""));
  const type = contentTypes[extname(file)];
  if (!file.startsWith(base + sep) || type === undefined) return undefined;
  const body = await readFile(file);
  return { type, body: file.endsWith(".ts") ? stripTypeScriptTypes(body.toString()) : body };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolvePort) => {
    server.listen(0, "127.0.0.1", () => {
      resolvePort((server.address() as AddressInfo).port);
    });
  });
}

export interface ChromiumPage {
  page: Page;
  version: string;
  /** Calls an export of a module that the page is served, with `globalThis` before the (JSON) arguments. */
  call(module: string, name: string, ...parameters: unknown[]): Promise<unknown>;
  close(): Promise<void>;
}

/**
 * A page of the real Chromium, on a profile on disk (an incognito context would keep IndexedDB in memory), served from
 * loopback: `/tests/…` are this repository's tests with their types stripped, `/sdk/…` the crypto wasm.
 */
export async function openChromiumPage(): Promise<ChromiumPage> {
  const server = createServer((request, response) => {
    void bodyOf(new URL(request.url ?? "/", "http://127.0.0.1").pathname)
      .catch(() => undefined)
      .then((found) => {
        response.writeHead(found ? 200 : 404, { "content-type": found?.type ?? "text/plain" });
        response.end(found?.body);
      });
  });
  const port = await listen(server);
  const profile = await mkdtemp(join(tmpdir(), "tessera-chromium-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath, args: ["--no-sandbox"] });
  const page = context.pages()[0] ?? (await context.newPage());
  await page.goto(`http://127.0.0.1:${port}/`);
  return {
    page,
    version: await page.evaluate(() => navigator.userAgent.replace(/.*Chrome\/(\d+).*/, "Chromium $1")),
    // A string: test runners rewrite an `import()` in a function, and their rewriting means nothing in the page.
    call: (module, name, ...parameters) => {
      const list = ["globalThis", ...parameters.map((parameter) => JSON.stringify(parameter))].join(", ");
      return page.evaluate(`import(${JSON.stringify(module)}).then((module) => module.${name}(${list}))`);
    },
    close: async () => {
      await context.close();
      server.closeAllConnections();
      server.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

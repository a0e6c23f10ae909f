import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { build } from "vite";
import { chromiumPath } from "../../scripts/setup-system.mjs";
import { readWindowFile } from "../../main/host/window-files.ts";
import type { Homeserver } from "../homeserver/homeserver.ts";
import type { BackupAccount } from "./backup-account.ts";

type Restore = (input: Record<string, string>) => Promise<{ total: number; imported: number; tookMs: number }>;

/** matrix-js-sdk's restore in the real Chromium, on a profile on disk: an incognito context would keep IndexedDB in memory. */
export async function sdkInChromium() {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-sdk-"));
  await build({
    configFile: false,
    logLevel: "error",
    base: "./",
    build: {
      outDir: path.join(folder, "page"),
      target: "chrome150",
      assetsInlineLimit: 0,
      rolldownOptions: {
        input: fileURLToPath(new URL("./sdk-restore-page.js", import.meta.url)),
        output: { entryFileNames: "page.js" },
      },
    },
  });
  const html = '<!doctype html><meta charset="utf-8"><title>SDK</title><script type="module" src="page.js"></script>';
  const server = createServer((request, response) => {
    void (async () => {
      const { pathname } = new URL(request.url ?? "/", "http://127.0.0.1");
      const file =
        pathname === "/"
          ? { mimeType: "text/html; charset=utf-8", body: html }
          : await readWindowFile(path.join(folder, "page"), pathname);
      response.writeHead(file === undefined ? 404 : 200, file === undefined ? {} : { "content-type": file.mimeType });
      response.end(file?.body);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const context = await chromium.launchPersistentContext(path.join(folder, "profile"), {
    executablePath: chromiumPath() ?? "/usr/bin/chromium",
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  let runs = 0;
  return {
    restore: async (homeserver: Homeserver, { account, privateKey, version }: BackupAccount) => {
      const page = await context.newPage();
      try {
        await page.goto(`http://127.0.0.1:${port}/`);
        await page.waitForFunction("globalThis.restore !== undefined");
        const device = await homeserver.login(account);
        const input = {
          baseUrl: homeserver.url,
          userId: device.userId,
          deviceId: device.deviceId,
          accessToken: device.accessToken,
          privateKey,
          version,
          prefix: `restore-${++runs}`,
        };
        return await page.evaluate((given) => (globalThis as unknown as { restore: Restore }).restore(given), input);
      } finally {
        await page.close();
      }
    },
    close: async () => {
      await context.close();
      server.closeAllConnections();
      server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

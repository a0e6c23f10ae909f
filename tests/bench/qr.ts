import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { build } from "vite";
import { readWindowFile, windowHeaders } from "../../main/host/window-files.ts";
import type { Fake } from "../fakes/bridge.ts";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { verificationCode } from "../fakes/bridge-verification.ts";
import { launch, openWindow } from "../ui/harness/browser.ts";
import { serveWindow } from "../ui/harness/serve.ts";
import { degradedSet } from "../webcam/degraded.ts";
import { drawFrame, plain, type Frame } from "../webcam/scene.ts";
import { approach, asCamera, nothing } from "../webcam/video.ts";
import { atLeast, atMost, quantile, rounded, type BenchResult } from "./result.ts";

const eachKind = 30;
const seed = 20_261_121;
const scanningMs = 10_000;
const code = verificationCode(2);

/** The decoder alone in a page, under the policy of the real doors. */
export async function serveDecoder(folder: string): Promise<{ url: string; server: Server }> {
  await build({
    configFile: false,
    logLevel: "warn",
    base: "./",
    worker: { format: "es" },
    build: {
      outDir: folder,
      emptyOutDir: true,
      target: "chrome150",
      assetsInlineLimit: 0,
      rolldownOptions: {
        input: fileURLToPath(new URL("./qr-page.js", import.meta.url)),
        output: { entryFileNames: "page.js" },
      },
    },
  });
  const html =
    '<!doctype html><meta charset="utf-8"><title>Decoder</title><script type="module" src="page.js"></script>';
  const server = createServer((request, response) => {
    void (async () => {
      const { pathname } = new URL(request.url ?? "/", "http://127.0.0.1");
      const file =
        pathname === "/"
          ? { mimeType: "text/html; charset=utf-8", body: html }
          : await readWindowFile(folder, pathname);
      response.writeHead(file === undefined ? 404 : 200, {
        ...windowHeaders(),
        ...(file === undefined ? {} : { "content-type": file.mimeType }),
      });
      response.end(file?.body);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the decoder's page has no port");
  return { url: `http://127.0.0.1:${address.port}/`, server };
}

type FrameResult = { code: string; decodeMs: number; peerMs?: number };
type Read = FrameResult & { kind: string };
/** What qr-page.js puts into its page, and the fake core into the window's. */
type PageSide = {
  readFrame: (luma: string, width: number, height: number) => Promise<FrameResult>;
  hasPeer: boolean;
  fake: Fake;
};

export const readFrame = (page: Page, { luma, width, height }: Frame): Promise<FrameResult> =>
  page.evaluate(([text, w, h]) => (globalThis as unknown as PageSide).readFrame(text, w, h), [
    Buffer.from(luma).toString("base64"),
    width,
    height,
  ] as const);

async function readSet(page: Page): Promise<Read[]> {
  const bytes = Uint8Array.from(Buffer.from(code, "base64"));
  const reads: Read[] = [];
  for (const { kind, look } of degradedSet(eachKind, seed)) {
    reads.push({ ...(await readFrame(page, drawFrame(bytes, look))), kind });
  }
  return reads;
}

/** The built window scanning without end, as nothing can be read: every long task of its own thread. */
async function longTasks(folder: string): Promise<number[]> {
  const bytes = Uint8Array.from(Buffer.from(code, "base64"));
  // the first frames of an approach have a code cut by the edge, which is the hardest to give up on
  const frames = [...nothing(), ...approach(bytes).slice(0, 8)];
  const [browser, harness] = await Promise.all([launch(asCamera(folder, "searching", frames)), serveWindow()]);
  try {
    const { page } = await openWindow(browser, harness, {
      scenario: { lastOpened: roomIds.ana },
      context: { permissions: ["camera"] },
    });
    await page.getByText("page 12 is the one").first().waitFor();
    await page.evaluate((roomId) => {
      (globalThis as unknown as PageSide).fake.verification.put({
        ...{ flowId: "$flow", userId: "@ana:example.org", mine: true, requestedAtMs: Date.now(), roomId },
        ...{ methods: ["emoji", "qr-show", "qr-scan"], state: { at: "ready" } },
      });
    }, roomIds.ana);
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("button", { name: "Scan", exact: true }).click();
    await page.locator('[data-camera="on"]').waitFor();
    return await page.evaluate(async (ms) => {
      const tasks: number[] = [];
      const observer = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) tasks.push(entry.duration);
      });
      // a browser's kind of entry, of which Node's types know nothing
      observer.observe({ type: "longtask" as "measure" });
      await new Promise((resolve) => setTimeout(resolve, ms));
      observer.disconnect();
      return tasks;
    }, scanningMs);
  } finally {
    await browser.close();
    await harness.stop();
  }
}

/** Codes read from a generated set of degraded frames by the window's own worker in Chromium, and what scanning costs the window's thread. */
export async function bench(): Promise<BenchResult> {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-qr-"));
  const { url, server } = await serveDecoder(path.join(folder, "page"));
  const browser = await launch();
  try {
    const page = await (await browser.newContext()).newPage();
    await page.goto(url);
    // the first frame pays for the wasm
    await readFrame(page, drawFrame(undefined, plain));
    const reads = await readSet(page);
    const hasPeer = await page.evaluate(() => (globalThis as unknown as PageSide).hasPeer);
    const tasks = await longTasks(folder);
    const readShare = (some: Read[]): number =>
      (100 * some.filter((one) => one.code === code).length) / Math.max(1, some.length);
    const decodeMs = reads.map((one) => one.decodeMs);
    const p95Ms = quantile(decodeMs, 0.95);
    const peerMs = reads.flatMap((one) => one.peerMs ?? []);
    const longestMs = Math.max(0, ...tasks);
    const kinds = [...new Set(reads.map((one) => one.kind))];
    return {
      name: "qr",
      rows: [
        ...kinds.map((kind) => {
          const some = reads.filter((one) => one.kind === kind);
          const times = some.map((one) => one.decodeMs);
          return {
            frames: kind,
            count: some.length,
            "read, %": rounded(readShare(some)),
            "decode p50, ms": rounded(quantile(times, 0.5)),
            "decode p95, ms": rounded(quantile(times, 0.95)),
          };
        }),
        {
          frames: "all",
          count: reads.length,
          "read, %": rounded(readShare(reads)),
          "decode p50, ms": rounded(quantile(decodeMs, 0.5)),
          "decode p95, ms": rounded(p95Ms),
          "peer's p95 / ours": hasPeer ? rounded(quantile(peerMs, 0.95) / p95Ms, 2) : "none: no BarcodeDetector here",
        },
      ],
      targets: [
        atLeast("degraded frames read", readShare(reads), 95, "%"),
        atMost("decoding a frame, p95", p95Ms, 30, "ms"),
        atMost("longest task of the window's thread in 10 s of scanning", longestMs, 50, "ms"),
      ],
    };
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

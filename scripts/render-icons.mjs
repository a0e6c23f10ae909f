// Renders assets/icon.svg to assets/icons/NxN.png with Chromium: `node scripts/render-icons.mjs` after the drawing changed.
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { chromiumPath, ensureSystem } from "./setup-system.mjs";

const assets = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), "assets");
const svg = readFileSync(path.join(assets, "icon.svg"), "utf8");
await ensureSystem(["chromium"]);
const browser = await chromium.launch({
  executablePath: chromiumPath(),
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
const page = await browser.newPage();
mkdirSync(path.join(assets, "icons"), { recursive: true });
for (const sizePx of [16, 24, 32, 48, 64, 128, 256, 512, 1024]) {
  await page.setViewportSize({ width: sizePx, height: sizePx });
  await page.setContent(`<style>*{margin:0}svg{display:block;width:${sizePx}px;height:${sizePx}px}</style>${svg}`);
  await page.screenshot({ path: path.join(assets, "icons", `${sizePx}x${sizePx}.png`), omitBackground: true });
}
await browser.close();

/**
 * The window's bundle. The build script takes this as it is and only names its own output folder:
 * `build(mergeConfig(renderer, { configFile: false, build: { outDir } }))`; `root` is absolute, so any working folder will do.
 */
import { fileURLToPath } from "node:url";
import { paraglideVitePlugin } from "@inlang/paraglide-js";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: at("./"),
  base: "./",
  plugins: [
    paraglideVitePlugin({
      project: at("./project.inlang"),
      outdir: at("./src/paraglide"),
      // The language comes from the preferences at run time (src/lib/language.svelte.ts), never from a cookie or an address.
      strategy: ["baseLocale"],
      isServer: "false",
      disableAsyncLocalStorage: true,
      emitReadme: false,
    }),
    svelte({ configFile: at("../svelte.config.js") }),
  ],
  build: {
    target: "chrome150",
    emptyOutDir: true,
    sourcemap: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});

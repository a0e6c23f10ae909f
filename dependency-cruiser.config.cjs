// The rules of direction of ARCHITECTURE.md. Each name says what holds.
const rule = (name, from, to) => ({ name, severity: "error", from, to });
const electron = "(^|/)node_modules/electron/";
const doors = "electron|loopback|headless";

module.exports = {
  forbidden: [
    rule(
      "contract-is-a-leaf",
      { path: "^preload/contract/" },
      { pathNot: ["^preload/contract/", "(^|/)node_modules/valibot/"] },
    ),
    rule(
      "preload-knows-contract-and-electron",
      { path: "^preload/preload\\.ts$" },
      { pathNot: ["^preload/contract/", electron] },
    ),
    rule(
      "window-reaches-only-the-contract",
      { path: "^renderer/" },
      { path: "^(main|preload)/", pathNot: "^preload/contract/" },
    ),
    rule("window-uses-no-node", { path: "^renderer/src/" }, { dependencyTypes: ["core"] }),
    rule(
      "only-rune-modules-call-the-bridge",
      { path: "^renderer/src/", pathNot: "\\.svelte\\.ts$" },
      { path: "^renderer/src/bridge\\.ts$", dependencyTypesNot: ["type-only"] },
    ),
    rule("window-lib-knows-no-feature", { path: "^renderer/src/lib/" }, { path: "^renderer/src/features/" }),
    rule("main-knows-no-window", { path: "^(main|preload)/" }, { path: "^renderer/" }),
    rule(
      "doors-do-not-know-each-other",
      { path: `^main/(${doors})/` },
      // Electron's executable is also the headless door's: tessera --headless
      { path: `^main/(${doors})/`, pathNot: ["^main/$1/", "^main/headless/"] },
    ),
    rule("core-knows-no-door-and-no-host", { path: "^main/core/" }, { path: `^main/(${doors}|host)/` }),
    rule("host-knows-no-door", { path: "^main/host/" }, { path: `^main/(${doors})/` }),
    rule(
      "doors-and-host-know-no-core",
      { path: `^main/(${doors}|host)/` },
      { path: "^main/core/", pathNot: "^main/core/worker-port\\.ts$" },
    ),
    rule(
      "worker-port-is-types-alone",
      { path: `^main/(${doors}|host)/` },
      { path: "^main/core/worker-port\\.ts$", dependencyTypesNot: ["type-only"] },
    ),
    rule(
      "features-are-strangers",
      { path: "^main/core/features/([^/]+)/" },
      { path: "^main/core/features/", pathNot: "^main/core/features/$1/" },
    ),
    rule("only-the-electron-door-imports-electron", { path: "^main/", pathNot: "^main/electron/" }, { path: electron }),
    rule(
      "only-core-matrix-imports-sdk-values",
      { path: "^(main|preload|renderer)/", pathNot: "^main/core/matrix/" },
      { path: "(^|/)node_modules/(matrix-js-sdk|@matrix-org)/", dependencyTypesNot: ["type-only"] },
    ),
    rule(
      "only-core-storage-imports-the-database",
      { path: "^(main|preload|renderer)/", pathNot: "^main/core/storage/" },
      { path: "(^|/)node_modules/better-sqlite3", dependencyTypesNot: ["type-only"] },
    ),
    rule(
      "only-the-keychain-imports-keytar",
      { path: "^(main|preload|renderer)/", pathNot: "^main/host/keychain" },
      { path: "(^|/)node_modules/keytar/" },
    ),
    rule("production-imports-no-tests", { path: "^(main|preload|renderer)/" }, { path: "^(tests|scripts)/" }),
    // what ends in ?url is a file that Vite puts beside the code; its build fails where there is none
    rule("everything-imported-exists", {}, { couldNotResolve: true, pathNot: "/paraglide/|\\?url$" }),
    rule(
      "no-cycles",
      { path: "^(main|preload|renderer)/" },
      { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    ),
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(dist|\\.cache)/|/paraglide/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      extensions: [".ts", ".svelte", ".js", ".mjs", ".json"],
      conditionNames: ["svelte", "import", "node", "default", "types"],
      exportsFields: ["exports"],
    },
  },
};

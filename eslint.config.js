import js from "@eslint/js";
import svelte from "eslint-plugin-svelte";
import { defineConfig, globalIgnores } from "eslint/config";
import globals from "globals";
import ts from "typescript-eslint";
import svelteConfig from "./svelte.config.js";

/** Calls of matrix-js-sdk that look up a Room: one that it does not know is written to in clear, or joined without its keys. */
const onTheSdksClient = ":matches([callee.object.name=/client$/i], [callee.object.property.name=/client$/i])";
const roomCalls = [
  "sendEvent",
  "sendMessage",
  "sendTextMessage",
  "sendStateEvent",
  "getRoom",
  "getRooms",
  "invite",
  "joinRoom",
];
const neverStart = {
  selector: "MemberExpression[property.name='startClient']",
  message: "The sync loop is our own: the SDK's client is never started.",
};
const noRoomLookup = {
  selector: `CallExpression[callee.property.name=/^(${roomCalls.join("|")})$/]${onTheSdksClient}`,
  message: "This call of the SDK looks up a Room that it does not have. Use the narrow client of main/core/matrix.",
};
const noWindowCore = {
  selector: "MemberExpression[object.name=/^(window|globalThis)$/][property.name='core']",
  message: "Only bridge.ts speaks to the core.",
};
const noRawHtml = {
  selector: "SvelteMustacheTag[kind=raw]",
  message: "No raw HTML: a message's is parsed, sanitised and put in as nodes.",
};

export default defineConfig(
  globalIgnores(["dist/", "release/", "node_modules/", ".cache/", ".svelte-kit/", "renderer/src/paraglide/"]),
  js.configs.recommended,
  ts.configs.strictTypeChecked,
  svelte.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    languageOptions: {
      parserOptions: {
        project: ["./tsconfig.json", "./renderer/tsconfig.json"],
        tsconfigRootDir: import.meta.dirname,
        extraFileExtensions: [".svelte"],
      },
    },
  },
  {
    files: ["**/*.{ts,svelte}"],
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/consistent-type-imports": [
        "error",
        { fixStyle: "inline-type-imports", disallowTypeAnnotations: false },
      ],
      "@typescript-eslint/no-unused-vars": [
        "error",
        { argsIgnorePattern: "^_", varsIgnorePattern: "^_", ignoreRestSiblings: true },
      ],
      "no-restricted-syntax": ["error", neverStart],
    },
  },
  // what tests take apart are objects of closures, which need no `this`
  { files: ["tests/**/*.ts"], rules: { "@typescript-eslint/unbound-method": "off" } },
  {
    files: ["main/**/*.ts"],
    ignores: ["main/core/matrix/**"],
    rules: { "no-restricted-syntax": ["error", neverStart, noRoomLookup] },
  },
  {
    files: ["renderer/**/*.{ts,svelte}"],
    languageOptions: { globals: globals.browser },
    rules: { "no-restricted-syntax": ["error", neverStart, noWindowCore, noRawHtml] },
  },
  { files: ["renderer/src/bridge.ts"], rules: { "no-restricted-syntax": ["error", neverStart] } },
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: { parserOptions: { parser: ts.parser, svelteConfig } },
    rules: {
      // state that is not drawn needs no reactive collection
      "svelte/prefer-svelte-reactivity": "off",
      // reports comments that the compiler does need; svelte-check fails on warnings anyway
      "svelte/no-unused-svelte-ignore": "off",
    },
  },
  {
    // TypeScript alone sees an imported component as `any`; svelte-check sees its real type, and checks the same
    files: ["**/*.svelte"],
    rules: {
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-call": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-return": "off",
      "@typescript-eslint/restrict-plus-operands": "off",
      "@typescript-eslint/restrict-template-expressions": "off",
    },
  },
  {
    files: ["**/*.{js,mjs,cjs}", "**/*.d.mts", "*.config.ts", "renderer/*.config.ts"],
    extends: [ts.configs.disableTypeChecked],
    languageOptions: { globals: globals.node, parserOptions: { project: null } },
  },
  { files: ["**/*.cjs"], languageOptions: { sourceType: "commonjs" } },
  { files: ["main/loopback/bridge.js"], languageOptions: { globals: globals.browser, sourceType: "script" } },
);

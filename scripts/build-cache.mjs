// What a build of the window need not do again: compiling the packages' own components, and messages that did not change.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";

/**
 * Wraps each plugin's transform so that what it made of a file of node_modules is kept in `folder`. `epoch` names what the
 * outcome depends on besides the file: another one, and everything is made anew.
 */
export function rememberTransforms(plugins, folder, epoch) {
  mkdirSync(folder, { recursive: true });
  for (const plugin of plugins) {
    const { transform } = plugin;
    if (transform === undefined) continue;
    const original = typeof transform === "function" ? transform : transform.handler;
    const handler = async function (code, id, ...rest) {
      if (!id.includes("/node_modules/") || id.includes("?")) return original.call(this, code, id, ...rest);
      const key = createHash("sha256").update([epoch, plugin.name, id, code].join("\0")).digest("hex");
      const file = path.join(folder, `${key}.json`);
      if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8"));
      const made = await original.call(this, code, id, ...rest);
      // a component with styles of its own hands them on in the plugin's memory
      if (typeof made?.code !== "string" || made.code.includes("type=style")) return made;
      const kept = {
        code: made.code,
        map: null,
        ...(made.moduleType === undefined ? {} : { moduleType: made.moduleType }),
      };
      writeFileSync(`${file}.${process.pid}`, JSON.stringify(kept));
      renameSync(`${file}.${process.pid}`, file);
      return kept;
    };
    plugin.transform = typeof transform === "function" ? handler : { ...transform, handler };
  }
  return plugins;
}

/** The plugins without the one that compiles the messages, where what it would make is there already. */
export function withoutIdleCompiler(plugins, { made, mark, fingerprint }) {
  const current = existsSync(made) && existsSync(mark) && readFileSync(mark, "utf8") === fingerprint;
  return current ? plugins.filter((plugin) => !/paraglide/.test(plugin.name)) : plugins;
}

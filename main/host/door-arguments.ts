import { homedir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

/** What the two doors with a window understand; switches of Chromium's own may stand between. */
export type DoorArguments = { profile: string; passphraseFile?: string; verbose: boolean; open: boolean };

/** Relative paths start at `callersFolder`. */
export function parseDoorArguments(args: string[], callersFolder: string): DoorArguments {
  const { values } = parseArgs({
    args,
    strict: false,
    options: {
      profile: { type: "string" },
      "passphrase-file": { type: "string" },
      verbose: { type: "boolean" },
      "no-open": { type: "boolean" },
    },
  });
  const fileOf = (value: unknown) =>
    typeof value === "string" && value !== "" ? path.resolve(callersFolder, value) : undefined;
  const passphraseFile = fileOf(values["passphrase-file"]);
  return {
    profile: fileOf(values.profile) ?? defaultProfile(process.platform, process.env, homedir()),
    ...(passphraseFile === undefined ? {} : { passphraseFile }),
    verbose: values.verbose === true,
    open: values["no-open"] !== true,
  };
}

/** Where Electron keeps an application's data too, so that both doors with a window open the same profile. */
export function defaultProfile(platform: NodeJS.Platform, env: NodeJS.ProcessEnv, home: string): string {
  const name = "Tessera";
  if (platform === "win32") return path.join(env["APPDATA"] ?? path.join(home, "AppData", "Roaming"), name);
  if (platform === "darwin") return path.join(home, "Library", "Application Support", name);
  return path.join(env["XDG_CONFIG_HOME"] ?? path.join(home, ".config"), name);
}

import path from "node:path";
import { parseArgs } from "node:util";
import { HostError } from "../host/host-error.ts";
import { readPassphraseFile } from "../host/passphrase-file.ts";

export type HeadlessArguments = { profile: string; passphrase: string | undefined; verbose: boolean };

/** `--profile DIR [--passphrase-file FILE] [--verbose]`, paths relative to `folder`. Throws `bad-request`, `not-found`. */
export function readArguments(args: readonly string[], folder: string): HeadlessArguments {
  const { profile, passphraseFile, verbose } = parse(args);
  if (profile === undefined || profile === "")
    throw new HostError("bad-request", { message: "--profile DIR is missing." });
  return {
    profile: path.resolve(folder, profile),
    passphrase: passphraseFile === undefined ? undefined : readPassphraseFile(path.resolve(folder, passphraseFile)),
    verbose,
  };
}

function parse(args: readonly string[]): { profile?: string; passphraseFile?: string; verbose: boolean } {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        headless: { type: "boolean" },
        profile: { type: "string" },
        "passphrase-file": { type: "string" },
        verbose: { type: "boolean" },
      },
    });
    return {
      ...(values.profile === undefined ? {} : { profile: values.profile }),
      ...(values["passphrase-file"] === undefined ? {} : { passphraseFile: values["passphrase-file"] }),
      verbose: values.verbose ?? false,
    };
  } catch (error) {
    throw new HostError("bad-request", {
      message: "Usage: --profile DIR [--passphrase-file FILE] [--verbose]",
      cause: error,
    });
  }
}

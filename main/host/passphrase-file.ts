import { readFileSync } from "node:fs";
import { HostError } from "./host-error.ts";

/** The file's first line without its newline. Throws `not-found`, or `bad-request` where that line is empty or too long. */
export function readPassphraseFile(file: string): string {
  let content: string;
  try {
    content = readFileSync(file, "utf8");
  } catch (error) {
    throw new HostError("not-found", { message: "The passphrase file cannot be read.", cause: error });
  }
  const [line = ""] = content.split(/\r?\n/, 1);
  if (line === "") throw new HostError("bad-request", { message: "The passphrase file's first line is empty." });
  if (line.length > 1024)
    throw new HostError("bad-request", { message: "The passphrase is longer than 1024 characters." });
  return line;
}

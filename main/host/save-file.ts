import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { HostError, systemCode } from "./host-error.ts";

/** A file that a person chose, for this person alone (0600); under its name it is whole. Throws `forbidden`, `not-found`. */
export async function saveFile(file: string, bytes: Uint8Array): Promise<void> {
  // beside the file: a rename does not cross file systems
  const temporary = `${file}.${randomUUID()}.tmp`;
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    const code = systemCode(error);
    if (code === "EACCES" || code === "EPERM" || code === "EROFS") throw new HostError("forbidden", { cause: error });
    if (code === "ENOENT" || code === "ENOTDIR") throw new HostError("not-found", { cause: error });
    throw error;
  }
}

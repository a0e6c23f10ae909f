import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { announce } from "./homeserver/homeserver.ts";

export type SmallDisk = {
  folder: string;
  /** Until nothing more fits but about so much. */
  fill: (leaveBytes?: number) => void;
  /** Takes all of that away again. */
  empty: () => void;
  remove: () => void;
};

/** A file system of its own that can really be full. Undefined where it cannot be mounted, which only root can; and then it is said. */
export function smallDisk(sizeMb: number, what: string): SmallDisk | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    announce(`no full disk for ${what}: only root can mount one`);
    return undefined;
  }
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeMb}m`, "tmpfs", folder]);
  const ballast = path.join(folder, "ballast");
  return {
    folder,
    fill: (leaveBytes = 0) => {
      for (let sizeBytes = 4 * 1024 * 1024; sizeBytes >= 512;)
        try {
          writeFileSync(ballast, Buffer.alloc(sizeBytes), { flag: "a" });
        } catch {
          sizeBytes /= 2; // as much as fits
        }
      if (leaveBytes > 0) truncateSync(ballast, Math.max(0, statSync(ballast).size - leaveBytes));
    },
    empty: () => {
      rmSync(ballast, { force: true });
    },
    remove: () => {
      execFileSync("umount", ["-l", folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

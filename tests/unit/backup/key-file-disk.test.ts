import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { toFailure } from "../../../main/core/errors.ts";
import { openKeyFile } from "../../../main/core/features/backup/key-file/read.ts";
import { writeKeyFile } from "../../../main/core/features/backup/key-file/write.ts";
import { smallDisk } from "../../small-disk.ts";

const passphrase = "correct horse battery staple";
const signal = new AbortController().signal;
const megabyte = 1024 * 1024;
const piece = (n: number) =>
  Array.from({ length: 500 }, (_, index) => JSON.stringify({ n, index, x: "x".repeat(1000) }));

/** Writes four pieces of half a megabyte; `before` is called before each. */
const write = (file: string, before: (n: number) => void = () => undefined) => {
  async function* sessions() {
    for (let n = 0; n < 4; n++) {
      before(n);
      yield piece(n);
      await Promise.resolve();
    }
  }
  return writeKeyFile({ path: file, passphrase, sessions: sessions(), signal, wrote: () => undefined, rounds: 1000 });
};
const outcome = (work: Promise<unknown>) =>
  work.then(
    () => "written",
    (error: unknown) => toFailure(error).code,
  );

test("a disk that is full while a key file is written keeps the file of before, and nothing of the new one", async () => {
  const disk = smallDisk(8, "a key file");
  if (disk === undefined) return;
  try {
    const file = path.join(disk.folder, "keys.txt");
    writeFileSync(file, "the export of before");
    disk.fill(megabyte);
    expect(await outcome(write(file))).toBe("disk-full");
    expect(readFileSync(file, "utf8")).toBe("the export of before");
    expect(readdirSync(disk.folder).toSorted()).toEqual(["ballast", "keys.txt"]);
    disk.empty();
    expect(await outcome(write(file))).toBe("written");
  } finally {
    disk.remove();
  }
});

test("a disk that is full for a moment only leaves no hole: the file is whole, or there is none", async () => {
  const disk = smallDisk(8, "a key file");
  if (disk === undefined) return;
  try {
    const file = path.join(disk.folder, "keys.txt");
    disk.fill(megabyte);
    // the piece before this one found room for its beginning alone
    const written = await outcome(
      write(file, (n) => {
        if (n === 2) disk.empty();
      }),
    );
    if (written === "written") {
      const opened = await openKeyFile(file, passphrase, signal);
      await opened.close();
    } else {
      expect(written).toBe("disk-full");
      expect(readdirSync(disk.folder)).toEqual(["ballast"]);
    }
  } finally {
    disk.remove();
  }
});

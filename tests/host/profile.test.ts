import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { failureOf } from "../../main/host/host-error.ts";
import { openProfile, takeFile } from "../../main/host/profile.ts";
import { temporaryFolder } from "./folder.ts";

const nobody = 65_534;

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "ok",
    (error: unknown) => failureOf(error)?.code ?? "thrown",
  );

/** Another process that takes the profile, tells what came of it, and keeps it. */
async function otherProcess(folder: string, first: "openProfile" | "takeFile" = "openProfile") {
  const source = new URL("../../main/host/profile.ts", import.meta.url).href;
  const script = `
    import { ${first} as take } from ${JSON.stringify(source)};
    try { await take(process.argv[1]); console.log("taken"); setInterval(() => {}, 1000); }
    catch (error) { console.log(error.failure.code); }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, folder], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  return {
    said: said.toString().trim(),
    async end() {
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
    },
  };
}

test("a profile folder is made for its owner alone", async () => {
  const folder = path.join(temporaryFolder(), "a", "b");
  const profile = await openProfile(folder);
  onTestFinished(profile.release);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(readFileSync(path.join(folder, "profile.lock"), "utf8")).toBe(`${process.pid}\n`);
  expect(statSync(path.join(folder, "profile.lock")).mode & 0o777).toBe(0o600);
});

test("a profile that others could read is closed to them; a folder that is not ours keeps its mode", async () => {
  const ours = temporaryFolder();
  writeFileSync(path.join(ours, "vault.json"), "{}");
  chmodSync(ours, 0o755);
  await (await openProfile(ours)).release();
  expect(statSync(ours).mode & 0o777).toBe(0o700);
  const foreign = temporaryFolder();
  writeFileSync(path.join(foreign, "letter.txt"), "");
  chmodSync(foreign, 0o755);
  await (await openProfile(foreign)).release();
  expect(statSync(foreign).mode & 0o777).toBe(0o755);
});

test.each(["openProfile", "takeFile"] as const)(
  "two processes: the second gets a conflict, after a SIGKILL it gets the profile (%s)",
  async (way) => {
    const folder = temporaryFolder();
    const first = await otherProcess(folder, way);
    expect(first.said).toBe("taken");
    expect((await otherProcess(folder, way)).said).toBe("conflict");
    await first.end();
    const third = await otherProcess(folder, way);
    expect(third.said).toBe("taken");
    expect((await otherProcess(folder, way)).said).toBe("conflict");
  },
);

test("of many that come at once after a SIGKILL one gets it", async () => {
  const folder = temporaryFolder();
  await (await otherProcess(folder)).end();
  const said = await Promise.all([1, 2, 3, 4].map(async () => (await otherProcess(folder)).said));
  expect(said.sort()).toEqual(["conflict", "conflict", "conflict", "taken"]);
});

test("two ways of writing the path are one profile; released, it is free", async () => {
  const folder = temporaryFolder();
  const link = path.join(temporaryFolder(), "link");
  symlinkSync(folder, link);
  const profile = await openProfile(folder);
  expect(await codeOf(openProfile(link))).toBe("conflict");
  await profile.release();
  const again = await openProfile(link);
  await again.release();
});

test("a path that cannot be a profile is refused in a sentence", async () => {
  const folder = temporaryFolder();
  writeFileSync(path.join(folder, "file"), "");
  for (const wrong of [path.join(folder, "file"), path.join(folder, "file", "below"), "/proc/tessera", "/proc/self"])
    expect(await codeOf(openProfile(wrong))).toBe("forbidden");
});

test.each([
  ["read-only", 0o500],
  ["unreadable", 0o300],
])("a folder that is %s is refused", async (_what, mode) => {
  const outer = temporaryFolder();
  chmodSync(outer, 0o755);
  const folder = path.join(outer, "closed");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "letter.txt"), "");
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) chownSync(folder, nobody, nobody);
  chmodSync(folder, mode);
  // no mode binds root
  if (isRoot) process.seteuid?.(nobody);
  try {
    expect(await codeOf(openProfile(folder))).toBe("forbidden");
  } finally {
    if (isRoot) process.seteuid?.(0);
    chmodSync(folder, 0o700);
  }
});

test("a lock file of a dead process does not hold anybody up", async () => {
  const folder = temporaryFolder();
  for (const stale of ["999999999\n", "", "nonsense"]) {
    writeFileSync(path.join(folder, "profile.lock"), stale);
    const release = takeFile(folder);
    expect(readFileSync(path.join(folder, "profile.lock"), "utf8")).toBe(`${process.pid}\n`);
    await release();
  }
});

// `npm test` and `npm run test:full`: sets up what the tests run against, builds, and runs vitest on every project.
// `--full` runs with their full counts those files that have such counts; other arguments go to vitest. The last line is
// `N passed, N failed`.
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { buildIfStale } from "./build.mjs";
import { ensureSystem } from "./setup-system.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const resultFile = path.join(root, "test-results", "vitest.json");

/** Test files that do more with TESSERA_FULL=1: run again in full, the others would only repeat `npm test`. */
function filesWithFullCounts() {
  return readdirSync(path.join(root, "tests"), { recursive: true })
    .map((file) => path.posix.join("tests", file.replaceAll("\\", "/")))
    .filter((file) => file.endsWith(".test.ts"))
    .filter((file) => readFileSync(path.join(root, file), "utf8").includes("TESSERA_FULL"));
}

async function setUp() {
  const parts = ["chromium", "python", ...(process.platform === "linux" ? ["keyring", "libsecret"] : [])];
  await ensureSystem(process.platform === "linux" ? parts : ["chromium"]);
  if (process.env.HOMESERVER_URL === undefined) {
    const { installSynapse } = await import("../tests/homeserver/install.ts");
    await installSynapse();
  }
  await buildIfStale();
}

function runVitest(args, env) {
  const child = spawn(process.execPath, [path.join(root, "node_modules", "vitest", "vitest.mjs"), "run", ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once("error", reject).once("exit", (code) => resolve(code ?? 1));
  });
}

/** What vitest wrote; a file that could not run at all counts as one failure. */
function readResult() {
  let result;
  try {
    result = JSON.parse(readFileSync(resultFile, "utf8"));
  } catch {
    return { passed: 0, failed: 1, skipped: 0, failures: [] };
  }
  const broken = result.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  );
  const named = result.testResults.flatMap((file) =>
    file.assertionResults
      .filter((test) => test.status === "failed")
      .map((test) => ({ file: file.name, test: test.fullName, why: test.failureMessages[0] })),
  );
  return {
    passed: result.numPassedTests,
    failed: result.numFailedTests + broken.length,
    skipped: result.numPendingTests + result.numTodoTests,
    failures: [...named, ...broken.map((file) => ({ file: file.name, test: "the file itself", why: file.message }))],
  };
}

async function test() {
  const startedMs = Date.now();
  const full = process.argv.includes("--full");
  const others = process.argv.slice(2).filter((arg) => arg !== "--full");
  await setUp();
  mkdirSync(path.dirname(resultFile), { recursive: true });
  rmSync(resultFile, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${resultFile}`];
  const files = full && others.length === 0 ? filesWithFullCounts() : [];
  // the core as it is shipped, which also starts faster than the sources do
  const code = await runVitest([...reporters, ...files, ...others], {
    TESSERA_BUILT: "1",
    ...(full ? { TESSERA_FULL: "1" } : {}),
  });
  const { passed, failed, skipped, failures } = readResult();
  for (const { file, test, why = "" } of failures)
    console.log(`failed: ${path.relative(root, file)} > ${test}: ${why.split("\n", 1)[0]}`);
  const problems = [
    // an error outside of any test
    ...(code !== 0 && failed === 0 ? ["vitest failed; see above"] : []),
    ...(passed + failed === 0 ? ["no test ran"] : []),
    // whoever picks tests leaves others out; otherwise a part that is missing is a failure
    ...(skipped > 0 && others.length === 0 ? [`${skipped} skipped, which none may be`] : []),
  ];
  for (const problem of problems) console.log(problem);
  console.log(`after ${((Date.now() - startedMs) / 1000).toFixed(0)} s${full ? ", with full counts" : ""}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = code !== 0 || failed > 0 || problems.length > 0 ? 1 : 0;
}

await test();

// `npm run fix`: mends what the linter and the formatter can mend by themselves, and shows what is left.
import { buildIfStale } from "./build.mjs";
import { runTool } from "./check.mjs";

await buildIfStale();
for (const tool of [
  ["eslint", "--fix", "--max-warnings=0", "."],
  ["prettier", "--write", "--log-level", "warn", "."],
]) {
  const { code, said } = await runTool(tool);
  if (said.trim() !== "") console.log(said.trimEnd());
  if (code !== 0) process.exitCode = code;
}

// `npm run bench -- [NAME…] [--size=N]`: runs benches of tests/bench (all without a name), prints JSON and a table each, and puts
// the outcome into docs/benchmarks.md, misses included. With a size of one's own a bench is only tried: nothing is written.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { buildIfStale } from "./build.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const file = path.join(root, "docs", "benchmarks.md");
const names = [
  "crypto-store",
  "chat",
  "start",
  "window",
  "stall",
  "device-keys",
  "recipients",
  "qr",
  "restore",
  "keyfile",
  "backup-upload",
  "invites",
];
const intro = `# Benchmarks

Written by \`npm run bench -- NAME\`, one section a bench; each run replaces its own. Targets that were missed stay in.
`;

function table(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cell = (value) => String(value ?? "").replaceAll("|", "\\|");
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [
    line(columns),
    line(columns.map(() => "---")),
    ...rows.map((row) => line(columns.map((column) => cell(row[column])))),
  ].join("\n");
}

function machine() {
  const all = cpus();
  const memoryGb = (totalmem() / 2 ** 30).toFixed(0);
  return `${all.length} × ${all[0]?.model.trim() ?? "unknown processor"}, ${memoryGb} GB, ${process.platform} ${process.arch}, Node ${process.versions.node}`;
}

function sectionOf({ name, rows, targets }) {
  const outcomes = targets.map(({ name: target, wanted, got, met }) => ({
    target,
    wanted,
    got,
    "": met ? "met" : "**missed**",
  }));
  return `## ${name}\n\n${new Date().toISOString().slice(0, 10)}, ${machine()}\n\n${table(rows)}\n\n${table(outcomes)}\n`;
}

/** Puts the section in the place of the one with its heading, or at the end. */
export function withSection(text, name, section) {
  const parts = text.split(/^(?=## )/m);
  const index = parts.findIndex((part) => part.startsWith(`## ${name}\n`));
  if (index === -1) parts.push(section);
  else parts[index] = section;
  return `${parts.map((part) => part.trimEnd()).join("\n\n")}\n`;
}

async function run(name, size) {
  const { bench } = await import(new URL(`../tests/bench/${name}.ts`, import.meta.url).href);
  const result = await bench(size === undefined ? {} : { size });
  console.log(JSON.stringify(result));
  console.table(result.rows);
  console.table(result.targets);
  if (size !== undefined) return;
  mkdirSync(path.dirname(file), { recursive: true });
  const before = existsSync(file) ? readFileSync(file, "utf8") : intro;
  writeFileSync(file, withSection(before, result.name, sectionOf(result)));
}

const isSize = (argument) => /^--size=\d+$/.test(argument);
const size = process.argv.find(isSize)?.replace("--size=", "");
const wanted = process.argv.slice(2).filter((argument) => !isSize(argument));
const unknown = wanted.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  console.error(`No such bench: ${unknown.join(", ")}. There are ${names.join(", ")}.`);
  process.exitCode = 1;
} else {
  await buildIfStale();
  for (const name of wanted.length === 0 ? names : wanted)
    await run(name, size === undefined ? undefined : Number(size));
  process.exit(0);
}

import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { pythonEnvironment, runCommand } from "./run-command.ts";

const suite = "sid"; // the one suite of Debian that always carries Synapse
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const leftOut = ["doc", "man", "locale", "i18n", "perl"].map((name) => `--exclude=./usr/share/${name}`);
const architectures: Partial<Record<NodeJS.Architecture, { debian: string; triplet: string; loader: string }>> = {
  x64: { debian: "amd64", triplet: "x86_64-linux-gnu", loader: "usr/lib64/ld-linux-x86-64.so.2" },
  arm64: { debian: "arm64", triplet: "aarch64-linux-gnu", loader: "usr/lib/ld-linux-aarch64.so.1" },
};

/**
 * Unpacks Synapse with a Python and a C library of its own below `prefix`: no root, nothing of the system is touched.
 * apt runs with a state of its own there, reads the mirror from the machine's set-up and checks Debian's signatures.
 */
export async function unpackFromDebian(prefix: string): Promise<{ interpreter: string; launch: string }> {
  const architecture = architectures[process.arch];
  if (architecture === undefined) throw new Error(`no packages for ${process.arch} are used here.`);
  const env = { ...pythonEnvironment(), APT_CONFIG: path.join(prefix, ".apt", "apt.conf") };
  await writeAptFolder(prefix, architecture.debian);
  await runCommand("apt-get", ["-qq", "update"], env);
  await runCommand("apt-get", ["-y", "-qq", "--download-only", "install", "matrix-synapse", "ca-certificates"], env);
  const archives = path.join(prefix, ".apt", "cache", "archives");
  for (const name of (await readdir(archives)).filter((file) => file.endsWith(".deb"))) {
    const tar = ["tar", "-x", "-C", prefix, "--no-same-owner", "--no-same-permissions", ...leftOut];
    const pipeline = `set -e; deb=$1; shift; dpkg-deb --fsys-tarfile "$deb" | "$@"`;
    const rest = ["--exclude=./usr/include", "--exclude=./var", "--exclude=./dev"];
    await runCommand("sh", ["-c", pipeline, "sh", path.join(archives, name), ...tar, ...rest], env);
  }
  await rm(path.join(prefix, ".apt"), { recursive: true, force: true });
  const python = (await readdir(path.join(prefix, "usr", "bin"))).find((name) => /^python3\.\d+$/.test(name));
  if (python === undefined) throw new Error("Debian's packages brought no Python.");
  const interpreter = path.join("usr", "bin", python);
  const launch =
    `exec env PYTHONHOME="$prefix/usr" PYTHONNOUSERSITE=1 "$prefix/${architecture.loader}" ` +
    `--library-path "$prefix/usr/lib/${architecture.triplet}" "$prefix/${interpreter}" "$@"`;
  return { interpreter, launch };
}

async function writeAptFolder(prefix: string, architecture: string): Promise<void> {
  const apt = path.join(prefix, ".apt");
  for (const name of ["lists/partial", "cache/archives/partial", "etc", "empty"])
    await mkdir(path.join(apt, name), { recursive: true });
  await writeFile(path.join(apt, "status"), "");
  await writeFile(
    path.join(apt, "etc", "sources.list"),
    `deb [signed-by=${keyring}] ${await mirror()} ${suite} main\n`,
  );
  const settings = {
    "Dir::Etc": path.join(apt, "etc"),
    "Dir::Etc::sourcelist": path.join(apt, "etc", "sources.list"),
    "Dir::Etc::sourceparts": path.join(apt, "empty"),
    "Dir::Etc::parts": path.join(apt, "empty"),
    "Dir::Etc::preferencesparts": path.join(apt, "empty"),
    "Dir::State": apt,
    "Dir::State::lists": path.join(apt, "lists"),
    "Dir::State::status": path.join(apt, "status"),
    "Dir::Cache": path.join(apt, "cache"),
    "APT::Architecture": architecture,
    "APT::Install-Recommends": "false",
    "APT::Sandbox::User": "",
    "Acquire::Check-Valid-Until": "false", // a mirror may be a snapshot; signatures are checked all the same
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
    "Debug::NoLocking": "true",
    "pkgCacheGen::ForceEssential": ",", // only what Synapse depends on, not a whole base system
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";`);
  await writeFile(path.join(apt, "apt.conf"), `APT::Architectures { "${architecture}"; };\n${lines.join("\n")}\n`);
}

/** The Debian mirror that this machine already uses. */
async function mirror(): Promise<string> {
  const format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
  const targets = await runCommand(
    "apt-get",
    ["indextargets", "--format", format, "Created-By: Packages"],
    process.env,
  );
  const found = /^Debian\|Debian\|(.+)$/m.exec(targets)?.[1];
  if (found === undefined) throw new Error("apt on this machine has no Debian mirror set up.");
  return found;
}

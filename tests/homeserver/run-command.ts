import { spawn } from "node:child_process";

/** Runs a command to its end and answers its stdout; a failure carries the last lines it wrote to stderr. */
export async function runCommand(command: string, args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  return await new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-4000)));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) resolve(stdout);
      else reject(new Error(`${command} ended with ${code ?? signal ?? "nothing"}: ${lastLines(stderr, 4)}`));
    });
  });
}

export function lastLines(text: string, count: number): string {
  return text.trim().split("\n").slice(-count).join("\n");
}

/** The environment without what changes how Python finds modules or keeps it from caching bytecode (which makes each start seconds slower). */
export function pythonEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of ["PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "LD_LIBRARY_PATH"])
    Reflect.deleteProperty(env, name);
  return env;
}

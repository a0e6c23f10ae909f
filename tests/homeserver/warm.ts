import { spawn } from "node:child_process";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { connect, Socket } from "node:net";
import type { Readable } from "node:stream";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { installSynapse } from "./install.ts";
import { lastLines, pythonEnvironment } from "./run-command.ts";

/** Where a test run tells its workers which warm process to ask. */
const variable = "TESSERA_WARM_HOMESERVER";
const program = path.join(path.dirname(fileURLToPath(import.meta.url)), "warm.py");

export type Warm = { socketPath: string; stop(): Promise<void> };

/** A place for one homeserver in the warm process. It ends with this process, however that ends. */
export type Place = {
  /** Forks a homeserver; `ended` resolves if it ends without being stopped. */
  start(configFile: string, outputFile: string): Promise<{ pid: number; ended: Promise<void> }>;
  stop(): Promise<void>;
  close(): void;
};

/** Starts the process that imports Synapse once; it ends with this one. Resolves before the import is done. */
export async function startWarm(): Promise<Warm> {
  const { python } = await installSynapse();
  // a socket's path has room for 107 bytes
  const folder = await mkdtemp(path.join(tmpdir().length < 60 ? tmpdir() : "/tmp", "tessera-warm-"));
  const socketPath = path.join(folder, "s");
  const log = await open(logBeside(socketPath), "a", 0o600);
  const child = spawn(python, [program, socketPath], { stdio: ["pipe", "pipe", log.fd], env: pythonEnvironment() });
  const { stdin, stdout } = child;
  if (stdin === null || stdout === null) throw new Error("A pipe that was asked for is missing.");
  const exited = new Promise<void>((resolve) => {
    child.once("exit", () => {
      resolve();
    });
    child.once("error", () => {
      resolve();
    });
  });
  await log.close();
  const listening = await Promise.race([firstOutput(stdout), exited.then(() => false)]);
  if (!listening) {
    const reason = await complaintBeside(socketPath);
    await rm(folder, { recursive: true, force: true });
    throw new Error(`The warm Synapse process did not start. ${reason}`);
  }
  stdout.destroy();
  child.unref();
  // the open stdin is what keeps the process; it must not keep this one
  if (stdin instanceof Socket) stdin.unref();
  return {
    socketPath,
    async stop() {
      child.ref();
      stdin.end();
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Starts a warm process for this process and all that it starts later, unless there is one. */
export async function shareWarm(): Promise<Warm | undefined> {
  if (process.env[variable] !== undefined) return undefined;
  const warm = await startWarm();
  process.env[variable] = warm.socketPath;
  return {
    socketPath: warm.socketPath,
    async stop() {
      Reflect.deleteProperty(process.env, variable);
      await warm.stop();
    },
  };
}

let own: Promise<Warm> | undefined;

/** `remove` is a folder that goes when the place does, even when this process is killed. */
export async function openPlace(remove: string | null): Promise<Place> {
  const shared = process.env[variable];
  // a run that has ended leaves its variable in the environment of what it started
  const socket = shared === undefined ? undefined : await connected(shared).catch(() => undefined);
  if (shared !== undefined && socket !== undefined) return placeOn(socket, shared, remove);
  own ??= startWarm();
  const { socketPath } = await own;
  return placeOn(await connected(socketPath), socketPath, remove);
}

async function connected(socketPath: string): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once("connect", () => {
      resolve(socket);
    });
    socket.once("error", (error) => {
      reject(new Error("The warm Synapse process is not there.", { cause: error }));
    });
  });
}

function placeOn(socket: Socket, socketPath: string, remove: string | null): Place {
  let received = "";
  let onStarted: ((pid: number) => void) | undefined;
  let onEnded: (() => void) | undefined;
  let onStopped: (() => void) | undefined;
  const send = (message: unknown) => socket.write(`${JSON.stringify(message)}\n`);
  socket.setEncoding("utf8").on("data", (text: string) => {
    const lines = (received + text).split("\n");
    received = lines.pop() ?? "";
    for (const line of lines) {
      const message = JSON.parse(line) as { started?: number; stopped?: true; ended?: true };
      if (message.started !== undefined) onStarted?.(message.started);
      if (message.stopped === true) onStopped?.();
      if (message.ended === true) onEnded?.();
    }
  });
  const closed = new Promise<undefined>((resolve) => {
    socket.once("close", () => {
      resolve(undefined);
    });
  });
  // a reset says no more than the end that follows it
  socket.on("error", () => socket.destroy());
  send({ place: { remove } });
  return {
    async start(configFile, outputFile) {
      const ended = Promise.race([new Promise<void>((resolve) => (onEnded = resolve)), closed]);
      const started = new Promise<number>((resolve) => (onStarted = resolve));
      send({ start: { config: configFile, output: outputFile } });
      const pid = await Promise.race([started, closed]);
      if (pid === undefined) throw new Error(`The warm Synapse process ended. ${await complaintBeside(socketPath)}`);
      return { pid, ended };
    },
    async stop() {
      const stopped = new Promise<void>((resolve) => (onStopped = resolve));
      send({ stop: true });
      await Promise.race([stopped, closed]);
    },
    close() {
      socket.end();
    },
  };
}

async function firstOutput(stream: Readable): Promise<boolean> {
  return await new Promise((resolve) => {
    stream.once("data", () => {
      resolve(true);
    });
  });
}

function logBeside(socketPath: string): string {
  return path.join(path.dirname(socketPath), "warm.log");
}

async function complaintBeside(socketPath: string): Promise<string> {
  return lastLines(await readFile(logBeside(socketPath), "utf8").catch(() => "It left no log."), 5);
}

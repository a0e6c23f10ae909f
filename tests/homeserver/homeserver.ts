import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { apiOf, registerBySharedSecret, uniqueLocalpart } from "./api.ts";
import type { Api } from "./api.ts";
import { homeserverConfig, logConfig, newSigningKey, sharedSecret } from "./config.ts";
import { claim, claimAllOneTimeKeys } from "./device-keys.ts";
import type { ClaimedKey, Device } from "./device-keys.ts";
import { freePort, isFree } from "./free-port.ts";
import { lastLines } from "./run-command.ts";
import { openPlace } from "./warm.ts";
import type { Place } from "./warm.ts";

export { HomeserverError } from "./api.ts";
export type { ClaimedKey, Device } from "./device-keys.ts";

export type HomeserverOptions = {
  serverName?: string;
  /** A folder for an SQLite file, media and signing key; without it the database lives in memory. Keeps its port too. */
  keepDataIn?: string;
  /** Merged over homeserver.yaml, object by object, for example rate limits. */
  config?: Record<string, unknown>;
};

export type Account = {
  userId: string;
  localpart: string;
  password: string;
  deviceId: string;
  accessToken: string;
};

export type Homeserver = {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  url: string;
  serverName: string;
  /** As in "Synapse 1.163.2". */
  version: string;
  /** Undefined for a homeserver that ran already. */
  pid: number | undefined;
  register(localpart: string, options?: { password?: string; admin?: boolean; displayName?: string }): Promise<Account>;
  /** A further device of an account. */
  login(account: Pick<Account, "userId" | "localpart" | "password">, deviceName?: string): Promise<Account>;
  /** A path below `/_matrix/client/`, or anywhere when it begins with a slash. Throws HomeserverError. */
  api: Api;
  /** Claims one key of a device, as a user of the launcher's own unless `by` is given. */
  claim(device: Device, by?: Account): Promise<ClaimedKey | undefined>;
  /** Leaves the fallback key untouched if the device's access token is given; else claims it last and returns it. */
  claimAllOneTimeKeysOf(device: Device, by?: Account): Promise<{ oneTime: ClaimedKey[]; fallback?: ClaimedKey }>;
  /** Kills it and starts it again at the same address; only with `keepDataIn`. */
  restart(): Promise<void>;
  /** Kills it. */
  stop(): Promise<void>;
};

/**
 * Starts a real Synapse on a random loopback port. Where HOMESERVER_URL and HOMESERVER_SHARED_SECRET are set, that one
 * is used instead: its localparts get a random ending, and options that shape a homeserver are refused.
 */
export async function startHomeserver(options: HomeserverOptions = {}): Promise<Homeserver> {
  const { HOMESERVER_URL: url, HOMESERVER_SHARED_SECRET: secret } = process.env;
  if (url === undefined) return await startOwn(options);
  if (secret === undefined) throw new Error("HOMESERVER_URL is set without HOMESERVER_SHARED_SECRET.");
  if (Object.keys(options).length > 0)
    throw new Error(`The homeserver at HOMESERVER_URL cannot be given ${Object.keys(options).join(" and ")}.`);
  return await described({ url: url.replace(/\/+$/, ""), secret, localpartOf: uniqueLocalpart, instance: undefined });
}

type Instance = { pid(): number; serverName: string; restart(): Promise<void>; stop(): Promise<void> };

async function described(from: {
  url: string;
  secret: string;
  localpartOf: (wanted: string) => string;
  instance: Instance | undefined;
}): Promise<Homeserver> {
  const { url, secret, localpartOf, instance } = from;
  const api = apiOf(url);
  const register: Homeserver["register"] = async (wanted, options = {}) => {
    const { password = "correct horse battery", admin = false, displayName } = options;
    const localpart = localpartOf(wanted);
    const made = await registerBySharedSecret(api, secret, { localpart, password, admin, displayName });
    return { userId: made.user_id, localpart, password, deviceId: made.device_id, accessToken: made.access_token };
  };
  let claimer: Promise<Account> | undefined;
  const tokenOf = async (by: Account | undefined) =>
    (by ?? (await (claimer ??= register("claims-keys-for-tests")))).accessToken;
  const { server_version: number } = await api<{ server_version: string }>("GET", "/_synapse/admin/v1/server_version");
  const version = `Synapse ${number}`;
  announce(version);
  return {
    url,
    serverName: instance?.serverName ?? afterColon((await register("asks-the-server-name")).userId),
    version,
    get pid() {
      return instance?.pid();
    },
    register,
    async login({ userId, localpart, password }, deviceName) {
      const body = {
        type: "m.login.password",
        identifier: { type: "m.id.user", user: userId },
        password,
        ...(deviceName === undefined ? {} : { initial_device_display_name: deviceName }),
      };
      const made = await api<{ device_id: string; access_token: string }>("POST", "v3/login", { body });
      return { userId, localpart, password, deviceId: made.device_id, accessToken: made.access_token };
    },
    api,
    claim: async (device, by) => await claim(api, await tokenOf(by), device),
    claimAllOneTimeKeysOf: async (device, by) => await claimAllOneTimeKeys(api, await tokenOf(by), device),
    async restart() {
      if (instance === undefined) throw new Error("The homeserver at HOMESERVER_URL is not ours to restart.");
      await instance.restart();
    },
    async stop() {
      await instance?.stop();
    },
  };
}

async function startOwn({
  serverName = "tessera.test",
  keepDataIn,
  config = {},
}: HomeserverOptions): Promise<Homeserver> {
  const folder = keepDataIn ?? (await mkdtemp(path.join(tmpdir(), "tessera-homeserver-")));
  const keepsData = keepDataIn !== undefined;
  await mkdir(folder, { recursive: true });
  const place = await openPlace(keepsData ? null : folder);
  const end = async () => {
    place.close();
    if (!keepsData) await rm(folder, { recursive: true, force: true });
  };
  try {
    await writeFile(path.join(folder, "log.yaml"), JSON.stringify(logConfig(folder)));
    await writeFile(path.join(folder, "signing.key"), newSigningKey(), { flag: "ax", mode: 0o600 }).catch(unlessExists);
    let port = await rememberedPort(folder);
    for (let tries = 1; ; tries++) {
      port ??= await freePort();
      const written = homeserverConfig({ serverName, port, folder, keepsData, extra: config });
      await writeFile(configIn(folder), JSON.stringify(written, null, 1), { mode: 0o600 });
      const url = `http://127.0.0.1:${port}`;
      const started = await startOn(place, folder, url);
      if (started.at === "up") {
        const instance = instanceOf(place, folder, url, serverName, started.pid, keepsData, end);
        return await described({ url, secret: sharedSecret, localpartOf: (wanted) => wanted, instance });
      }
      // somebody else may have taken the port in the meantime
      if (tries === 5 || !/already in use|CannotListen/i.test(started.complaint))
        throw new Error(`Synapse did not start: ${started.complaint}`);
      port = undefined;
    }
  } catch (error) {
    await end();
    throw error;
  }
}

function instanceOf(
  place: Place,
  folder: string,
  url: string,
  serverName: string,
  firstPid: number,
  keepsData: boolean,
  end: () => Promise<void>,
): Instance {
  let pid = firstPid;
  let stopped = false;
  return {
    pid: () => pid,
    serverName,
    async restart() {
      if (!keepsData) throw new Error("A homeserver in memory forgets everything at a restart: give it keepDataIn.");
      await place.stop();
      const started = await startOn(place, folder, url);
      if (started.at === "ended") throw new Error(`Synapse did not start again: ${started.complaint}`);
      pid = started.pid;
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      await place.stop();
      await end();
    },
  };
}

type Started = { at: "up"; pid: number } | { at: "ended"; complaint: string };

async function startOn(place: Place, folder: string, url: string): Promise<Started> {
  const output = path.join(folder, "output.log");
  await rm(output, { force: true });
  const { pid, ended } = await place.start(configIn(folder), output);
  const answered = new AbortController();
  const end = ended.then(() => "ended" as const);
  const up = await Promise.race([firstAnswer(url, answered.signal), end]);
  answered.abort();
  if (up === "up") return { at: "up", pid };
  const logs = await Promise.all(
    [output, path.join(folder, "homeserver.log")].map((file) => readFile(file, "utf8").catch(() => "")),
  );
  return { at: "ended", complaint: lastLines(logs.join("\n"), 15) };
}

async function firstAnswer(url: string, signal: AbortSignal): Promise<"up" | "given-up"> {
  while (!signal.aborted) {
    const response = await fetch(`${url}/_matrix/client/versions`, { signal }).catch(() => undefined);
    if (response?.ok === true) {
      await response.arrayBuffer();
      return "up";
    }
    await sleep(10);
  }
  return "given-up";
}

function configIn(folder: string): string {
  return path.join(folder, "homeserver.yaml");
}

/** So that a client which has stored the address finds the homeserver there again. */
async function rememberedPort(folder: string): Promise<number | undefined> {
  const text = await readFile(configIn(folder), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const port = (JSON.parse(text) as { listeners: { port: number }[] }).listeners[0]?.port;
  return port !== undefined && (await isFree(port)) ? port : undefined;
}

function unlessExists(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}

function afterColon(userId: string): string {
  return userId.slice(userId.indexOf(":") + 1);
}

const announced = new Set<string>();

/** Says once a test file (each has modules of its own) which real part it ran against. */
export function announce(part: string): void {
  if (announced.has(part)) return;
  announced.add(part);
  process.stderr.write(`[real] ${part}\n`);
}

import type { LoginFlow } from "../../../preload/contract/account.ts";
import { CoreError } from "../errors.ts";
import { list, object, text, texts } from "../json.ts";
import type { ProxySettings } from "../worker-port.ts";
import { assertSafeUrl, createHttp } from "./http.ts";

export type Discovered = { homeserver: string; flows: LoginFlow[]; versions: string[]; registration: boolean };

const timeoutMs = 15_000;

/**
 * Finds the homeserver that a person means: a full address is taken as it is, a server name goes through `.well-known`
 * and falls back to the name itself. Source: client-server API, "Server Discovery".
 */
export async function discover(server: string, proxy: ProxySettings): Promise<Discovered> {
  const homeserver = await baseUrlOf(server.trim(), proxy);
  const http = createHttp({ homeserver, proxy });
  try {
    const [versions, flows] = await Promise.all([readVersions(http), readFlows(http)]);
    return { homeserver, versions, flows, registration: await offersRegistration(http) };
  } finally {
    await http.close();
  }
}

/** The base URL alone, checked to be a homeserver's. */
export async function homeserverOf(server: string, proxy: ProxySettings): Promise<string> {
  const homeserver = await baseUrlOf(server.trim(), proxy);
  const http = createHttp({ homeserver, proxy });
  try {
    await readVersions(http);
    return homeserver;
  } finally {
    await http.close();
  }
}

async function baseUrlOf(server: string, proxy: ProxySettings): Promise<string> {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(server)) return normalised(server);
  const name = server.startsWith("@") ? server.slice(server.indexOf(":") + 1) : server;
  const plain = URL.parse(`https://${name}`);
  if (plain === null || plain.host === "" || plain.pathname !== "/" || plain.username !== "")
    throw new CoreError("not-a-homeserver");
  const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(plain.hostname);
  const origin = loopback ? `http://${plain.host}` : plain.origin;
  const named = await wellKnown(origin, proxy);
  return normalised(named ?? origin);
}

function normalised(address: string): string {
  assertSafeUrl(address);
  const url = new URL(address);
  if (url.username !== "" || url.password !== "") throw new CoreError("not-a-homeserver");
  return (url.origin + url.pathname).replace(/\/+$/, "");
}

/** `undefined` where the server has no such file: it is then its own homeserver. */
async function wellKnown(origin: string, proxy: ProxySettings): Promise<string | undefined> {
  const http = createHttp({ homeserver: origin, proxy });
  try {
    const answer = await http.request("GET", "/.well-known/matrix/client", { timeoutMs, anonymous: true });
    const named = text(object(object(answer)?.["m.homeserver"])?.["base_url"]);
    if (named === undefined) throw new CoreError("not-a-homeserver");
    return named;
  } catch (error) {
    const passes =
      error instanceof CoreError &&
      ["not-found", "unsupported", "forbidden", "bad-request", "authentication-required"].includes(error.code);
    const notJson = error instanceof CoreError && object(error.details)?.["kind"] === "bad-answer";
    if (passes || notJson) return undefined;
    throw error;
  } finally {
    await http.close();
  }
}

type Http = ReturnType<typeof createHttp>;

async function readVersions(http: Http): Promise<string[]> {
  let answer: unknown;
  try {
    answer = await http.request("GET", "/_matrix/client/versions", { timeoutMs, anonymous: true });
  } catch (error) {
    if (error instanceof CoreError && (error.code === "timeout" || error.code === "rate-limited")) throw error;
    const details = error instanceof CoreError ? object(error.details) : undefined;
    const down = error instanceof CoreError && error.code === "unreachable" && details?.["kind"] !== "bad-answer";
    if (down) throw error;
    throw new CoreError("not-a-homeserver", { cause: error });
  }
  const versions = object(answer)?.["versions"];
  if (!Array.isArray(versions)) throw new CoreError("not-a-homeserver");
  return texts(versions).slice(0, 100);
}

async function readFlows(http: Http): Promise<LoginFlow[]> {
  const answer = await http
    .request("GET", "/_matrix/client/v3/login", { timeoutMs, anonymous: true })
    .catch((error: unknown) => {
      // an account service (OAuth) may answer the old login endpoint with 404
      if (error instanceof CoreError && ["not-found", "unsupported"].includes(error.code)) return {};
      throw error;
    });
  const types = new Set(list(object(answer)?.["flows"]).map((flow) => text(object(flow)?.["type"])));
  const flows: LoginFlow[] = [];
  if (types.has("m.login.password")) flows.push("password");
  if (types.has("m.login.sso")) flows.push("sso");
  const oauth = await http.request("GET", "/_matrix/client/v1/auth_metadata", { timeoutMs, anonymous: true }).then(
    (metadata) => object(metadata)?.["issuer"] !== undefined,
    () => false,
  );
  if (oauth) flows.push("oauth");
  return flows;
}

/** A 401 with flows is the usual first answer of user-interactive authentication: registration is open. */
async function offersRegistration(http: Http): Promise<boolean> {
  try {
    await http.request("POST", "/_matrix/client/v3/register", { timeoutMs, anonymous: true, body: {} });
    return true;
  } catch (error) {
    return error instanceof CoreError && error.code === "authentication-required";
  }
}

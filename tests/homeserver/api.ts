import { createHmac, randomBytes } from "node:crypto";

export type ApiOptions = { token?: string; body?: unknown; query?: Record<string, string> };

export type Api = <T = unknown>(method: string, path: string, options?: ApiOptions) => Promise<T>;

/** An answer of the homeserver that is no success. */
export class HomeserverError extends Error {
  readonly status: number;
  readonly errcode: string | undefined;
  readonly body: unknown;

  constructor(what: string, status: number, body: unknown) {
    const { errcode, error } = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
    super(`${what}: ${status} ${typeof errcode === "string" ? errcode : ""} ${typeof error === "string" ? error : ""}`);
    this.name = "HomeserverError";
    this.status = status;
    this.errcode = typeof errcode === "string" ? errcode : undefined;
    this.body = body;
  }
}

/** Calls below `/_matrix/client/`, or anywhere for a path that begins with a slash; throws HomeserverError past 2xx. */
export function apiOf(url: string): Api {
  return async <T = unknown>(method: string, path: string, { token, body, query }: ApiOptions = {}): Promise<T> => {
    const target = new URL(path.startsWith("/") ? path : `/_matrix/client/${path}`, url);
    for (const [name, value] of Object.entries(query ?? {})) target.searchParams.set(name, value);
    const response = await fetch(target, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const answer = parsed(text);
    if (!response.ok) throw new HomeserverError(`${method} ${target.pathname}`, response.status, answer);
    return answer as T;
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export type Registration = { localpart: string; password: string; admin: boolean; displayName: string | undefined };
export type Registered = { user_id: string; device_id: string; access_token: string };

/** Registers through the admin API with the shared secret, which needs no captcha, mail or open registration. */
export async function registerBySharedSecret(api: Api, secret: string, wanted: Registration): Promise<Registered> {
  const { localpart: username, password, admin, displayName } = wanted;
  const path = "/_synapse/admin/v1/register";
  const { nonce } = await api<{ nonce: string }>("GET", path);
  const mac = createHmac("sha1", secret)
    .update([nonce, username, password, admin ? "admin" : "notadmin"].join("\0"))
    .digest("hex");
  const displayname = displayName === undefined ? {} : { displayname: displayName };
  return await api<Registered>("POST", path, { body: { nonce, username, password, admin, mac, ...displayname } });
}

/** For homeservers that outlive a test run, where plain names are taken. */
export function uniqueLocalpart(localpart: string): string {
  return `${localpart}-${randomBytes(4).toString("hex")}`;
}

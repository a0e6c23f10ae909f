import { CoreError } from "../errors.ts";
import { list, object, text, texts } from "../json.ts";
import type { ProxySettings, Session } from "../worker-port.ts";
import { homeserverOf } from "./discovery.ts";
import { createHttp } from "./http.ts";

export type Credentials = {
  homeserver: string;
  user: string;
  password: string;
  deviceName?: string | undefined;
  deviceId?: string;
};

const defaultDeviceName = "Tessera";

/** Password login. Source: client-server API, "Login", `m.login.password`. */
export async function login(input: Credentials, proxy: ProxySettings): Promise<Session> {
  const homeserver = await homeserverOf(input.homeserver, proxy);
  const http = createHttp({ homeserver, proxy });
  try {
    const answer = await http
      .request("POST", "/_matrix/client/v3/login", {
        anonymous: true,
        body: {
          type: "m.login.password",
          identifier: { type: "m.id.user", user: input.user },
          password: input.password,
          initial_device_display_name: input.deviceName ?? defaultDeviceName,
          ...(input.deviceId === undefined ? {} : { device_id: input.deviceId }),
        },
      })
      .catch((error: unknown) => {
        throw asWrongPassword(error);
      });
    return sessionFrom(answer, homeserver);
  } finally {
    await http.close();
  }
}

/** Synapse says 403 M_FORBIDDEN; others answer 401 to a wrong password. */
function asWrongPassword(error: unknown): unknown {
  if (error instanceof CoreError && error.code === "authentication-required")
    return new CoreError("forbidden", { cause: error });
  return error;
}

/** Registration where the server asks for nothing more than the dummy stage. Source: client-server API, "Account registration". */
export async function register(input: Credentials, proxy: ProxySettings): Promise<Session> {
  const homeserver = await homeserverOf(input.homeserver, proxy);
  const http = createHttp({ homeserver, proxy });
  const body = {
    username: localpartOf(input.user),
    password: input.password,
    initial_device_display_name: input.deviceName ?? defaultDeviceName,
  };
  const send = (auth?: unknown) =>
    http.request("POST", "/_matrix/client/v3/register", {
      anonymous: true,
      body: { ...body, ...(auth === undefined ? {} : { auth }) },
    });
  try {
    const answer = await send().catch((error: unknown) => {
      if (!(error instanceof CoreError) || error.code !== "authentication-required") throw error;
      const details = object(error.details);
      const flows = list(details?.["flows"]).map((flow) => texts(object(flow)?.["stages"]));
      const session = text(details?.["session"]);
      if (!flows.some((stages) => stages.length === 1 && stages[0] === "m.login.dummy"))
        throw new CoreError("authentication-required", { cause: error, details: { flows } });
      return send({ type: "m.login.dummy", ...(session === undefined ? {} : { session }) });
    });
    return sessionFrom(answer, homeserver);
  } finally {
    await http.close();
  }
}

/** Signs a session out on its server. Source: client-server API, "Logout". */
export async function endSession(session: Session, proxy: ProxySettings): Promise<Record<string, never>> {
  const http = createHttp({ homeserver: session.homeserver, accessToken: session.accessToken, proxy });
  try {
    await http.request("POST", "/_matrix/client/v3/logout", { body: {}, timeoutMs: 10_000 });
    return {};
  } finally {
    await http.close();
  }
}

const localpartOf = (user: string) => (user.startsWith("@") ? user.slice(1).replace(/:.*$/s, "") : user);

function sessionFrom(answer: unknown, homeserver: string): Session {
  const body = object(answer);
  const userId = text(body?.["user_id"]);
  const deviceId = text(body?.["device_id"]);
  const accessToken = text(body?.["access_token"]);
  if (userId === undefined || deviceId === undefined || accessToken === undefined || !/^@[^:]*:.+$/.test(userId))
    throw new CoreError("not-a-homeserver");
  return { userId, deviceId, homeserver, accessToken };
}

import { CoreError } from "../errors.ts";
import { list, object, text, texts } from "../json.ts";
import type { Http } from "./http.ts";

/** An action that the account page of a server with OAuth offers (MSC4191). */
export type AccountAction = "org.matrix.cross_signing_reset" | "org.matrix.session_end" | "org.matrix.sessions_list";

type Wanted = { me: string; password: string | undefined; action: AccountAction };
const mostStages = 5;

/**
 * Sends a request that the server may want confirmed by the person (client-server API, "User-Interactive Authentication").
 * `send` is called with the `auth` of each stage; `confirmed` before the password is given, and may throw to stop it.
 * Throws `authentication-required` with `details.flows`, and `details.url` where a page of the account's server does it;
 * `forbidden` for a wrong password.
 */
export async function confirmedByPerson<T>(
  http: Http,
  { me, password, action }: Wanted,
  send: (auth: Record<string, unknown> | undefined) => Promise<T>,
  confirmed: () => Promise<void> = () => Promise.resolve(),
): Promise<T> {
  let auth: Record<string, unknown> | undefined;
  let given = false;
  for (let stage = 0; ; stage++) {
    try {
      return await send(auth);
    } catch (error) {
      const asked = askedBy(error);
      if (asked === undefined) throw error;
      // some servers say what was wrong, others only ask the same again
      if (given && (asked.refused || !asked.completed.includes("m.login.password")))
        throw new CoreError("forbidden", { cause: error, details: { kind: "password" } });
      const next = asked.flows
        .map((stages) => stages.filter((one) => !asked.completed.includes(one)))
        .find((stages) => stages.every((one) => one === "m.login.password" || one === "m.login.dummy"))?.[0];
      const session = asked.session === undefined ? {} : { session: asked.session };
      if (stage >= mostStages || next === undefined || (next === "m.login.password" && password === undefined))
        throw await personNeeded(http, asked, action, error);
      await confirmed();
      given = next === "m.login.password";
      auth = given
        ? { type: next, identifier: { type: "m.id.user", user: me }, password, ...session }
        : { type: next, ...session };
    }
  }
}

type Asked = {
  flows: string[][];
  completed: string[];
  session: string | undefined;
  url: string | undefined;
  refused: boolean;
};

function askedBy(error: unknown): Asked | undefined {
  if (!(error instanceof CoreError) || error.code !== "authentication-required") return undefined;
  const details = object(error.details);
  const params = object(details?.["params"]);
  const flows = list(details?.["flows"]).map((flow) => texts(object(flow)?.["stages"]));
  if (flows.length === 0) return undefined;
  return {
    flows,
    completed: texts(details?.["completed"]),
    session: text(details?.["session"]),
    url: ["m.oauth", "org.matrix.cross_signing_reset"]
      .map((stage) => pageOf(object(params?.[stage])?.["url"]))
      .find(Boolean),
    refused: details?.["errcode"] !== undefined,
  };
}

async function personNeeded(http: Http, asked: Asked, action: AccountAction, cause: unknown): Promise<CoreError> {
  const url = asked.url ?? (await accountPage(http, action));
  return new CoreError("authentication-required", {
    cause,
    message: "The server wants this confirmed by the person who owns the account.",
    details: { flows: asked.flows, ...(url === undefined ? {} : { url }) },
  });
}

/** The account's own page for an action, where the server's OAuth metadata name one (MSC2965, MSC4191). */
export async function accountPage(http: Http, action: AccountAction): Promise<string | undefined> {
  for (const path of ["v1/auth_metadata", "unstable/org.matrix.msc2965/auth_metadata"]) {
    const metadata = object(
      // a server without OAuth has no such page: the flows alone are told then
      await http.request("GET", `/_matrix/client/${path}`, { timeoutMs: 10_000 }).catch(() => undefined),
    );
    const page = pageOf(metadata?.["account_management_uri"]);
    if (page === undefined) continue;
    const url = new URL(page);
    url.searchParams.set("action", action);
    return url.href;
  }
  return undefined;
}

/** A server may send a person to a page of the web, and to nothing else of their machine. */
function pageOf(value: unknown): string | undefined {
  const url = typeof value === "string" && value.length <= 2048 ? URL.parse(value) : null;
  if (url === null || url.username !== "" || url.password !== "") return undefined;
  const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  return url.protocol === "https:" || (url.protocol === "http:" && loopback) ? url.href : undefined;
}

import * as v from "valibot";
import type { Door } from "../../preload/contract/app.ts";
import {
  maxRequestBytes,
  type Failure,
  type RequestId,
  type Response,
  type Schema,
} from "../../preload/contract/define.ts";
import { filePathFields, replacePaths, type FilePathField } from "./file-paths.ts";
import type { Grants } from "./grants.ts";
import { failureOf, HostError } from "./host-error.ts";
import type { Log } from "./log.ts";
import { measurePlain } from "./plain-value.ts";

/** Who asks. A window names no path of the file system: it shows a grant. */
export type Caller = { door: Door; isWindow: boolean };
/** What a host's handler knows beside the input. */
export type Call = { caller: Caller; account: string | undefined };

type CommandTable = Readonly<Record<string, { readonly input: Schema }>>;
type Options = {
  hostCommands: CommandTable;
  coreCommands: CommandTable;
  host: (name: string, input: unknown, call: Call) => Promise<unknown>;
  core: (name: string, input: unknown, userId: string) => Promise<unknown>;
  /** Throws what stands in the way of commands that need the vault open; waits while it is being opened. */
  vaultOpen: () => Promise<void>;
  userIds: () => readonly string[];
  grants: Grants;
  log: Log;
  /** For doors that take paths of the file system: a relative one becomes absolute. */
  resolvePath: (path: string) => string;
};

export type Router = {
  /** A request as an object, from a door that receives structured values. Never rejects. */
  handle: (request: unknown, caller: Caller) => Promise<Response>;
  /** A request as JSON text, from a door that receives bytes. Never rejects. */
  handleText: (text: string | Uint8Array, caller: Caller) => Promise<Response>;
};

type Route = { target: "host" | "core"; schema: Schema; paths: FilePathField[] };
type Envelope = { id: RequestId; name: string; input: unknown; account: string | undefined };

const longestId = 256;
const envelopeFields = new Set(["id", "name", "input", "account"]);
const withoutVault = /^(vault|app)\./;

const badRequest = (path: string, message?: string) =>
  new HostError("bad-request", { details: { path }, ...(message === undefined ? {} : { message }) });

/** The one trust boundary: what passes here has a known name, a checked shape, an account and the right to its paths. */
export function createRouter(options: Options): Router {
  const { log } = options;
  const routes = new Map<string, Route>();
  for (const [target, table] of [
    ["host", options.hostCommands],
    ["core", options.coreCommands],
  ] as const)
    for (const [name, { input }] of Object.entries(table))
      routes.set(name, { target, schema: input, paths: filePathFields(input) });

  function accountFor(wanted: string | undefined): string {
    const userIds = options.userIds();
    if (wanted !== undefined) {
      if (!userIds.includes(wanted)) throw new HostError("not-signed-in");
      return wanted;
    }
    const [only, ...others] = userIds;
    if (only === undefined) throw new HostError("not-signed-in");
    if (others.length > 0) throw badRequest("account", "More than one account is signed in: say which is meant.");
    return only;
  }

  /** For the host's own commands an account need not be there; one that is named must. */
  function accountIfAny(wanted: string | undefined): string | undefined {
    return wanted === undefined && options.userIds().length === 0 ? undefined : accountFor(wanted);
  }

  function takePaths(route: Route, input: unknown, caller: Caller): unknown {
    if (route.paths.length === 0) return input;
    return replacePaths(input, route.paths, (value, purpose) => {
      if (value.includes("\0")) throw badRequest("path");
      if (!caller.isWindow) return options.resolvePath(value);
      const path = options.grants.redeem(value, purpose);
      if (path === undefined) throw new HostError("forbidden");
      return path;
    });
  }

  async function dispatch(envelope: Envelope, route: Route, caller: Caller): Promise<unknown> {
    const parsed = v.safeParse(route.schema, envelope.input, { abortEarly: true });
    if (!parsed.success) throw badRequest(offendingPath(parsed.issues[0]));
    if (!withoutVault.test(envelope.name)) {
      try {
        await options.vaultOpen();
      } catch (error) {
        if (envelope.name === "account.status") return { at: "signed-out" };
        throw error;
      }
    }
    if (route.target === "core") {
      const userId = accountFor(envelope.account);
      return options.core(envelope.name, takePaths(route, parsed.output, caller), userId);
    }
    // who signs in is not yet one of the accounts; and what concerns no account needs none
    const account = /^account\.(status|logout|renew|rescue)$/.test(envelope.name)
      ? accountIfAny(envelope.account)
      : undefined;
    return options.host(envelope.name, takePaths(route, parsed.output, caller), { caller, account });
  }

  async function answer(request: unknown, caller: Caller): Promise<Response> {
    const startedMs = performance.now();
    let id: RequestId | null = null;
    let name = "(unknown)";
    const say = (outcome: string) => {
      const level = outcome === "unexpected" ? "warn" : "debug";
      log.write(level, `${caller.door} ${name} ${outcome} ${(performance.now() - startedMs).toFixed(1)} ms`);
    };
    try {
      id = readId(request);
      const envelope = readEnvelope(request, id);
      const route = routes.get(envelope.name);
      if (route === undefined) throw new HostError("unsupported");
      name = envelope.name;
      const value = await dispatch(envelope, route, caller);
      say("ok");
      return { id: envelope.id, ok: true, value: value === undefined ? {} : value };
    } catch (error) {
      const failure: Failure = failureOf(error) ?? unexpected(name, error);
      say(failure.code);
      return { id, ok: false, error: failure };
    }
  }

  function unexpected(name: string, error: unknown): Failure {
    log.error(`unexpected in ${name}`, error);
    return new HostError("unexpected", { retryable: false }).failure;
  }

  const refuse = (message: string): Response => ({ id: null, ok: false, error: badRequest("", message).failure });

  return {
    handle: answer,
    handleText(text, caller) {
      const sizeBytes = typeof text === "string" ? Buffer.byteLength(text) : text.byteLength;
      if (sizeBytes > maxRequestBytes) return Promise.resolve(tooLarge());
      let request: unknown;
      try {
        request = JSON.parse(typeof text === "string" ? text : new TextDecoder("utf-8", { fatal: true }).decode(text));
      } catch {
        // what the parser says quotes the input
        return Promise.resolve(refuse("The request is not JSON in UTF-8."));
      }
      return answer(request, caller);
    },
  };
}

/** The answer to a request that was refused unread. */
export const tooLarge = (): Response => ({
  id: null,
  ok: false,
  error: badRequest("", "A request may have at most 1 MiB.").failure,
});

function readId(request: unknown): RequestId | null {
  if (typeof request !== "object" || request === null || !Object.hasOwn(request, "id")) return null;
  const id: unknown = Reflect.get(request, "id");
  if (typeof id === "number") return Number.isFinite(id) ? id : null;
  return typeof id === "string" && id.length <= longestId ? id : null;
}

function readEnvelope(request: unknown, id: RequestId | null): Envelope {
  if (id === null) throw badRequest("id");
  const measured = measurePlain(request, maxRequestBytes);
  if (measured !== "plain")
    throw badRequest(
      "",
      measured === "too-large" ? "A request may have at most 1 MiB." : "A request is made of JSON values.",
    );
  const fields = request as Record<string, unknown>;
  if (Object.keys(fields).some((field) => !envelopeFields.has(field))) throw badRequest("?");
  const { name, input, account } = fields;
  if (typeof name !== "string") throw badRequest("name");
  if (typeof input !== "object" || input === null || Array.isArray(input)) throw badRequest("input");
  if (account !== undefined && (typeof account !== "string" || account.length > 255)) throw badRequest("account");
  return { id, name, input, account };
}

/** Where in the input the first thing is wrong. A field that no schema knows is the caller's own word, and shows as `?`. */
function offendingPath(issue: v.BaseIssue<unknown>): string {
  const unknownField = issue.type === "strict_object" && issue.expected === "never";
  const keys = (issue.path ?? []).map((item) => String(item.key));
  if (unknownField) keys[keys.length - 1] = "?";
  return keys.join(".");
}

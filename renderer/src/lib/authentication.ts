/** What the server wants before it does what touches the account as a whole (client-server API, "User-Interactive Authentication"). */
import type { Failure } from "../../../preload/contract/define.ts";

/** `url`: the account page of a server that asks there in place of a password. `wrong`: the password just given was not right. */
export type Authentication = { url?: string; wrong: boolean };

/** Undefined: this failure is about something else. `given`: a password went with the call that failed. */
export function authenticationOf(failure: Failure, given: boolean): Authentication | undefined {
  if (failure.code === "forbidden" && given) return { wrong: true };
  if (failure.code !== "authentication-required") return undefined;
  const { url } = (failure.details ?? {}) as { url?: unknown };
  return { wrong: given, ...(typeof url === "string" && /^https:\/\//i.test(url) ? { url } : {}) };
}

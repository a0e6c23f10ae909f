import type { CoreCommandName, Handlers } from "../../preload/contract/index.ts";
import type { Answer } from "../../preload/contract/define.ts";
import { CoreError, toFailure } from "./errors.ts";
import { log } from "./log.ts";
import type { InternalCalls } from "./worker-port.ts";

export type InternalHandlers<N extends keyof InternalCalls> = {
  [K in N]: (input: InternalCalls[K]["input"]) => Promise<InternalCalls[K]["output"]> | InternalCalls[K]["output"];
};
/** Every command that core answers: a missing or mistyped handler does not compile. */
export type AccountHandlers = Handlers<CoreCommandName> &
  InternalHandlers<"account.atRisk" | "account.endSession" | "account.salvage">;
export type GuestHandlers = InternalHandlers<"guest.discover" | "guest.login" | "guest.register" | "guest.endSession">;
export type RescueHandlers = InternalHandlers<"rescue.run">;

/** Name → handler. The router has checked the input against the command's schema; errors become data here and nowhere else. */
export function createDispatch(handlers: AccountHandlers | GuestHandlers | RescueHandlers) {
  const table = new Map(Object.entries(handlers) as [string, (input: unknown) => unknown][]);
  return async (name: string, input: unknown): Promise<Answer<unknown>> => {
    const handler = table.get(name);
    if (handler === undefined) return { ok: false, error: toFailure(new CoreError("unsupported")) };
    const begunMs = performance.now();
    try {
      const value = await handler(input);
      log.debug(`${name} in ${Math.round(performance.now() - begunMs)} ms`);
      return { ok: true, value };
    } catch (error) {
      const failure = toFailure(error);
      if (failure.code === "unexpected") log.error(`${name} failed`, error);
      else log.info(`${name}: ${failure.code}`);
      return { ok: false, error: failure };
    }
  };
}

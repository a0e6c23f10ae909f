/** The only user of `window.core`. State modules call it; components never do. */
import type { Answer, Failure } from "../../preload/contract/define.ts";
import type { CommandName, EventName, Events, Input, Output } from "../../preload/contract/index.ts";

type Core = {
  call(name: string, input: unknown, account?: string): Promise<Answer<unknown>>;
  on(event: string, listener: (payload: unknown) => void): () => void;
};

declare global {
  interface Window {
    readonly core: Core;
  }
}

/** A failure that the core answered. */
export class AppError extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** Rejects with `AppError`. */
export async function call<N extends CommandName>(name: N, input: Input<N>): Promise<Output<N>> {
  const answer = (await window.core.call(name, input)) as Answer<Output<N>>;
  if (!answer.ok) throw new AppError(answer.error);
  return answer.value;
}

/** Returns the function that ends the listening. */
export function on<E extends EventName>(event: E, listener: (payload: Events[E]) => void): () => void {
  return window.core.on(event, (payload) => {
    listener(payload as Events[E]);
  });
}

/** Whatever was thrown, as the data that a view words. */
export function failureOf(error: unknown): Failure {
  if (error instanceof AppError) return error.failure;
  return { code: "unexpected", message: error instanceof Error ? error.message : "", retryable: true };
}

import { createHash, randomBytes } from "node:crypto";

const tokenLifeMs = 2 * 60_000;
const longestBacklog = 1000;

/**
 * A page that handed over its token. It outlives its socket: the page may come back with the session's secret.
 * `send` answers whether the text could be sent.
 */
export type Session = { send: ((text: string) => boolean) | undefined; backlog: string[] };

/** Secrets are kept as hashes: looking one up takes no time that tells anything about another. */
const hashOf = (secret: string) => createHash("sha256").update(secret).digest("base64url");
const newSecret = () => randomBytes(32).toString("base64url");

export class Sessions {
  readonly #tokens = new Map<string, number>();
  readonly #sessions = new Map<string, Session>();

  /** A token that opens one session, once, within two minutes. */
  issueToken(): string {
    const token = newSecret();
    this.#tokens.set(hashOf(token), Date.now() + tokenLifeMs);
    return token;
  }

  /** Spends the token. Undefined where it is unknown, spent or too old. */
  open(token: string): { secret: string; session: Session } | undefined {
    const hash = hashOf(token);
    const endsMs = this.#tokens.get(hash);
    this.#tokens.delete(hash);
    if (endsMs === undefined || Date.now() >= endsMs) return undefined;
    const secret = newSecret();
    const session: Session = { send: undefined, backlog: [] };
    this.#sessions.set(hashOf(secret), session);
    return { secret, session };
  }

  resume(secret: string): Session | undefined {
    return this.#sessions.get(hashOf(secret));
  }

  /** To every page; kept for those that are away, until they have missed too much to be served on. */
  broadcast(text: string): void {
    for (const [hash, session] of this.#sessions) {
      if (session.send?.(text) === true) continue;
      if (session.backlog.push(text) > longestBacklog) this.#sessions.delete(hash);
    }
  }
}

import { createHash, randomBytes } from "node:crypto";

const tokenLifeMs = 2 * 60_000;
const mostKept = 1000;
const mostKeptChars = 8 * 1024 * 1024;

/**
 * A page that handed over its token. It outlives its socket: the page may come back with the session's secret and the number of
 * events that it has heard. What was sent on a connection that was breaking is lost without a word, so the newest events are kept.
 */
export class Session {
  /** Undefined while no page is connected. */
  send: ((text: string) => void) | undefined;
  readonly #kept: string[] = [];
  #keptChars = 0;
  #dropped = 0;
  #sinceAway = 0;

  /** False where the page has been away for so long that it cannot be served on. */
  tell(text: string): boolean {
    this.#kept.push(text);
    this.#keptChars += text.length;
    while (this.#kept.length > mostKept || (this.#keptChars > mostKeptChars && this.#kept.length > 1)) {
      this.#keptChars -= this.#kept.shift()?.length ?? 0;
      this.#dropped++;
    }
    this.#sinceAway = this.send === undefined ? this.#sinceAway + 1 : 0;
    this.send?.(text);
    return this.#sinceAway <= mostKept;
  }

  /** What comes after the first `heard` events; undefined where that is no longer kept, or never was. */
  after(heard: number): string[] | undefined {
    const from = heard - this.#dropped;
    return Number.isSafeInteger(heard) && from >= 0 && from <= this.#kept.length ? this.#kept.slice(from) : undefined;
  }
}

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
    const session = new Session();
    this.#sessions.set(hashOf(secret), session);
    return { secret, session };
  }

  resume(secret: string): Session | undefined {
    return this.#sessions.get(hashOf(secret));
  }

  /** To every page, and to those that are away once they are back, until they have missed too much to be served on. */
  broadcast(text: string): void {
    for (const [hash, session] of this.#sessions) if (!session.tell(text)) this.#sessions.delete(hash);
  }
}

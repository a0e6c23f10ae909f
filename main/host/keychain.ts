import type { HelperProcess, StartHelper } from "./helper-process.ts";
import type { KeychainAnswer, KeychainCall } from "./keychain-process.ts";

/**
 * Why the keychain gave nothing. `unavailable`: no service answers (no D-Bus, no Secret Service, keytar not built).
 * `refused`: it is locked and was not opened. `timeout`: nobody answered its prompt in time. `failed`: anything else.
 */
export type KeychainTrouble = "unavailable" | "refused" | "timeout" | "failed";

export class KeychainError extends Error {
  readonly trouble: KeychainTrouble;

  constructor(trouble: KeychainTrouble) {
    super(`The keychain did not answer: ${trouble}.`);
    this.name = "KeychainError";
    this.trouble = trouble;
  }
}

/** The place of one profile's root key, as text. Each method throws {@link KeychainError}. */
export type Keychain = {
  readonly backend: string;
  /** `undefined` only where the keychain is open and has no such entry. */
  read: (entry: string) => Promise<string | undefined>;
  /** Written and read back. */
  write: (entry: string, value: string) => Promise<void>;
  remove: (entry: string) => Promise<void>;
  /** Ends the process behind it; a call that still waits is `timeout`. The next call starts a new one. */
  stop: () => void;
};

const service = "Tessera";
/** A person may have to find and type the keyring's password first. */
const defaultPatienceMs = 5 * 60_000;

const backends: Partial<Record<NodeJS.Platform, string>> = {
  linux: "Secret Service",
  darwin: "Keychain",
  win32: "Credential Manager",
};

/**
 * keytar in a process of its own: a prompt that nobody answers, a crash and a hang at exit stay there. Facts of the
 * Secret Service behind it: a locked collection reads as `null`, and only a write asks for the password; so `null` is
 * believed after a write succeeded, and then only if a second read says the same.
 */
export function openKeychain(startHelper: StartHelper, patienceMs = defaultPatienceMs): Keychain {
  let helper: HelperProcess | undefined;
  let lastId = 0;
  const waiting = new Map<
    number,
    { resolve: (value: string | null) => void; reject: (error: KeychainError) => void }
  >();

  function failAll(trouble: KeychainTrouble): void {
    const calls = [...waiting.values()];
    waiting.clear();
    for (const call of calls) call.reject(new KeychainError(trouble));
  }

  function end(trouble: KeychainTrouble): void {
    const ended = helper;
    helper = undefined;
    ended?.kill();
    failAll(trouble);
  }

  function running(): HelperProcess {
    if (helper !== undefined) return helper;
    const started = startHelper();
    helper = started;
    started.onMessage((message) => {
      const answer = message as KeychainAnswer;
      const call = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (answer.kind === "value") call?.resolve(answer.value);
      else call?.reject(new KeychainError(troubleOf(answer.message)));
    });
    started.onExit(() => {
      if (helper !== started) return;
      helper = undefined;
      failAll("failed");
    });
    return started;
  }

  function call(operation: KeychainCall["operation"], entry: string, value?: string): Promise<string | null> {
    lastId += 1;
    const id = lastId;
    return new Promise<string | null>((resolve, reject) => {
      const timer = setTimeout(() => {
        end("timeout");
      }, patienceMs);
      const done = () => {
        clearTimeout(timer);
      };
      waiting.set(id, {
        resolve: (answer) => {
          done();
          resolve(answer);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      const message: KeychainCall = { id, operation, service, entry, ...(value === undefined ? {} : { value }) };
      try {
        running().send(message);
      } catch {
        // the process cannot be started, or ended just now
        end("failed");
      }
    });
  }

  async function write(entry: string, value: string): Promise<void> {
    await call("write", entry, value);
    if ((await call("read", entry)) !== value) throw new KeychainError("refused");
  }

  return {
    backend: backends[process.platform] ?? "keychain",
    async read(entry) {
      const first = await call("read", entry);
      if (first !== null) return first;
      const canary = `${entry}.canary`;
      await write(canary, "canary");
      await call("remove", canary);
      return (await call("read", entry)) ?? undefined;
    },
    write,
    async remove(entry) {
      await call("remove", entry);
    },
    stop: () => {
      end("timeout");
    },
  };
}

/** keytar tells its errors apart by sentences alone. */
export function troubleOf(message: string): KeychainTrouble {
  if (
    /autolaunch D-Bus|not provided by any|could not connect|cannot spawn a message bus|ServiceUnknown|no such secret collection|NameHasNoOwner|connection is closed|Cannot find module|dlopen|cannot open shared object|timed? ?out.*activat|activat.*timed? ?out/i.test(
      message,
    )
  )
    return "unavailable";
  if (/locked collection|dismissed|cancell?ed|denied|not allowed|IsLocked|Object does not exist at path/i.test(message))
    return "refused";
  return "failed";
}

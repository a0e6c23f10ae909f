import { asCoreError } from "../../errors.ts";
import { object } from "../../json.ts";
import { log } from "../../log.ts";
import { keyFromBackup } from "../../matrix/backed-up-key.ts";
import { importBackedUp } from "../../matrix/backup-import.ts";
import { createBackupVersions, decryptorOf } from "../../matrix/backup-version.ts";
import type { Crypto, RoomKey } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";

type Parts = { http: Http; crypto: () => Promise<Crypto>; nowMs: () => number };

/** A session that is not in the backup may be put there by another device; it is not asked for again before this. */
const absentForMs = 30 * 60_000;
const mostRemembered = 5000;
const mostWaiting = 500;
const firstWaitMs = 1000;
const longestWaitMs = 5 * 60_000;

/**
 * Asks the backup for single sessions, as messages on screen want them. One at a time, so that a screen of old messages is no
 * burst; a server that is away is waited for. `asked` is told which were looked for, found or not: what is found repairs its rows by itself.
 */
export function createOnDemand({ http, crypto, nowMs }: Parts, asked: (keys: RoomKey[]) => void) {
  const waiting = new Map<string, RoomKey>();
  const absent = new Map<string, number>();
  let running = false;
  let stopped = false;
  let waitMs = firstWaitMs;
  let timer: NodeJS.Timeout | undefined;
  const nameOf = ({ roomId, sessionId }: RoomKey) => `${roomId} ${sessionId}`;

  /** Behind all others: a key that the server has nothing but errors for holds up none of them. */
  const toTheEnd = (key: RoomKey): void => {
    const others = [...waiting].filter(([name]) => name !== nameOf(key));
    waiting.clear();
    for (const [name, one] of [[nameOf(key), key] as const, ...others]) waiting.set(name, one);
  };

  const look = async (core: Crypto, key: RoomKey, version: string, privateKey: string): Promise<void> => {
    const path = `/_matrix/client/v3/room_keys/keys/${encodeURIComponent(key.roomId)}/${encodeURIComponent(key.sessionId)}`;
    const answer = await http.request("GET", path, { query: { version } }).catch((error: unknown) => {
      const known = asCoreError(error);
      // what the server refuses of this key is no reason to ask again; that it knows us no more is none of the key's
      if (known.retryable || known.code === "not-signed-in") throw error;
      return undefined;
    });
    const data = object(object(answer)?.["session_data"]);
    const opened =
      data === undefined ? undefined : keyFromBackup({ ...key, data: JSON.stringify(data) }, decryptorOf(privateKey));
    if (opened?.ok === true) await importBackedUp(core, version, [opened]);
    else {
      if (absent.size >= mostRemembered) absent.delete(absent.keys().next().value ?? "");
      absent.set(nameOf(key), nowMs() + absentForMs);
    }
  };

  const run = async () => {
    const core = await crypto();
    const versions = createBackupVersions(core);
    while (waiting.size > 0 && !stopped) {
      const held = await versions.held();
      // no key of a backup here: recovery is what helps, and brings everything
      if (held?.version === undefined) {
        waiting.clear();
        return;
      }
      // the newest wish first: it is what is on the screen
      const key = [...waiting.values()].at(-1);
      if (key === undefined) return;
      await look(core, key, held.version, held.key).catch((error: unknown) => {
        toTheEnd(key);
        throw error;
      });
      waiting.delete(nameOf(key));
      waitMs = firstWaitMs;
      asked([key]);
    }
  };
  const start = () => {
    if (running || stopped || timer !== undefined || waiting.size === 0) return;
    running = true;
    run()
      .catch((error: unknown) => {
        const known = asCoreError(error);
        log.info(`the backup cannot be asked for a key: ${known.code}`);
        timer = setTimeout(() => {
          timer = undefined;
          start();
        }, known.retryAfterMs ?? waitMs);
        waitMs = Math.min(waitMs * 2, longestWaitMs);
      })
      .finally(() => {
        running = false;
        start();
      });
  };

  return {
    ask: (keys: RoomKey[]): void => {
      for (const key of keys) {
        const name = nameOf(key);
        if ((absent.get(name) ?? 0) > nowMs()) continue;
        waiting.delete(name);
        waiting.set(name, key);
        if (waiting.size > mostWaiting) waiting.delete(waiting.keys().next().value ?? "");
      }
      start();
    },
    /** Another backup, or another key of it: what was not there may be. */
    forget: (): void => {
      absent.clear();
    },
    stop: (): void => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

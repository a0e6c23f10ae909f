import type { BackupStatus } from "../../../../preload/contract/backup.ts";
import { asCoreError, toFailure } from "../../errors.ts";
import { createTurns } from "../../in-turn.ts";
import { log } from "../../log.ts";
import { uploadNextKeys } from "../../matrix/backup-upload.ts";
import { createBackupVersions, type BackupVersion } from "../../matrix/backup-version.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import { createPace } from "./pace.ts";

type Parts = {
  crypto: () => Promise<Crypto>;
  nowMs: () => number;
  changed: (status: BackupStatus) => void;
};
type Found = { at: "off" } | { at: "on" | "not-trusted" | "key-missing" | "wrong-version"; version: string };

/** Keys come in bursts: a sync's own are uploaded together. */
const gatherMs = 300;
const firstWaitMs = 2000;
const longestWaitMs = 5 * 60_000;
/** Counting what is backed up takes longer the more keys there are, some milliseconds for ten thousand: not after each request. */
const tellEveryMs = 500;
/** Another client may have made a backup and told nobody: looked for anew, where there was none to use, when there are new keys. */
const lookAgainMs = 10 * 60_000;

/**
 * Keeps the backup up to date: finds which version is there and whether to believe it, uploads what is not in it, waits where the
 * server is away. A refused upload makes it look at the version again, never upload again at once.
 */
export function createBackupUpload({ crypto, nowMs, changed }: Parts) {
  let found: Found | undefined;
  let failure: unknown;
  let uploading = false;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let waitMs = firstWaitMs;
  let check = true;
  let lookedMs = -Infinity;
  const looks = createTurns();
  let pace = createPace(nowMs);

  const status = async (): Promise<BackupStatus> => {
    const core = await crypto();
    if (found === undefined) await look(core).catch((error: unknown) => (failure = error));
    if (found === undefined) {
      // the server was not heard yet: what this device last knew
      const held = await createBackupVersions(core).held();
      if (held?.version === undefined) return { at: "off" };
      return { at: "on", version: held.version, ...(await counts(core)), uploading: false, ...failed() };
    }
    if (found.at === "off") return { at: "off" };
    const { backedUp, total } = await counts(core);
    const remainingMs = uploading ? pace.remainingMs(total - backedUp) : undefined;
    return {
      ...found,
      backedUp,
      total,
      uploading,
      ...failed(),
      ...(remainingMs === undefined ? {} : { remainingMs }),
    };
  };
  const failed = () => (failure === undefined ? {} : { failure: toFailure(failure) });
  const counts = async (core: Crypto) => {
    const { total, backedUp } = await core.sessionCount();
    return { backedUp, total };
  };
  const tell = async () => {
    if (!stopped) changed(await status());
  };

  /** Which version is on the server, and whether keys go to it. One look after the other: what was asked last holds. */
  const look = (core: Crypto): Promise<void> =>
    looks(async () => {
      const versions = createBackupVersions(core);
      const backup = await versions.find();
      check = false;
      lookedMs = performance.now();
      found = await judge(versions, backup);
    });
  const judge = async (
    versions: ReturnType<typeof createBackupVersions>,
    backup: BackupVersion | undefined,
  ): Promise<Found> => {
    const wasOn = await versions.isOn();
    if (backup === undefined) {
      if (wasOn) await versions.off();
      return { at: "off" };
    }
    const { version } = backup;
    const held = await versions.held();
    const trust = await versions.verify(backup);
    if (held !== undefined && trust.keyFits) {
      await versions.use(backup, held.key);
      return { at: "on", version };
    }
    if (trust.signedByIdentity) {
      // keys can go up without the private key; bringing them back cannot
      await versions.use(backup, undefined);
      return { at: "key-missing", version };
    }
    const before = held?.version;
    if (wasOn) await versions.off();
    return { at: before === undefined ? "not-trusted" : "wrong-version", version };
  };

  const run = async (): Promise<void> => {
    const core = await crypto();
    const isInUse = found?.at === "on" || found?.at === "key-missing";
    if (check || (!isInUse && performance.now() - lookedMs > lookAgainMs)) await look(core);
    if (found?.at !== "on" && found?.at !== "key-missing") {
      await tell();
      return;
    }
    let toldMs = -Infinity;
    for (let first = true; !stopped; first = false) {
      const sent = await uploadNextKeys(core);
      failure = undefined;
      waitMs = firstWaitMs;
      if (sent === undefined) break;
      if (first) {
        uploading = true;
        pace = createPace(nowMs);
      }
      if (performance.now() - toldMs < tellEveryMs) continue;
      toldMs = performance.now();
      pace.at((await core.sessionCount()).backedUp);
      await tell();
    }
  };

  const schedule = (afterMs: number) => {
    if (stopped || timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      if (running !== undefined) {
        schedule(gatherMs);
        return;
      }
      running = run()
        .catch((error: unknown) => {
          if (stopped) return;
          const known = asCoreError(error);
          failure = known;
          // deleted or replaced: Synapse's word on the current version is not to be relied on, so it is asked for
          check = true;
          log.info(`the backup's upload waits: ${known.code}`);
          schedule(known.retryAfterMs ?? waitMs);
          waitMs = Math.min(waitMs * 2, longestWaitMs);
        })
        .finally(() => {
          running = undefined;
          uploading = false;
          void tell().catch(() => undefined);
        });
    }, afterMs);
  };

  const runNow = (): void => {
    clearTimeout(timer);
    timer = undefined;
    waitMs = firstWaitMs;
    schedule(0);
  };

  return {
    status,
    /** There may be new keys. */
    wake: (): void => {
      // while it waits for a server that is away, new keys do not make it hurry
      schedule(gatherMs);
    },
    /** Another version, or another key, may be in use. */
    recheck: (): void => {
      check = true;
      runNow();
    },
    /** As `recheck`; the status tells of it when this resolves, unless the server cannot be asked just now. */
    rechecked: async (): Promise<void> => {
      const core = await crypto();
      await look(core).catch((error: unknown) => {
        failure = error;
        check = true;
      });
      runNow();
    },
    stop: async (): Promise<void> => {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}

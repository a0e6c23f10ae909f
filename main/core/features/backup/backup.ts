import { backupCommands, type BackupStatus } from "../../../../preload/contract/backup.ts";
import type { CoreCommandName, Emit, Handlers } from "../../../../preload/contract/index.ts";
import type { Feature } from "../../feature.ts";
import type { Crypto, RoomKey } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import type { InPieces } from "../../matrix/room-key-export.ts";
import type { BackupStore } from "../../storage/backup-store.ts";
import { createOperations } from "./operations.ts";

type Names = Extract<keyof typeof backupCommands, CoreCommandName>;
export type BackupParts = {
  me: string;
  http: Http;
  store: BackupStore;
  crypto: () => Promise<Crypto>;
  emit: Emit;
  nowMs: () => number;
  /** Rooms known here, those on screen first, then by recent activity. */
  rooms: () => string[];
  /** Resolves once the account's rooms are known here. */
  roomsKnown: () => Promise<void>;
  inPieces: InPieces;
  decryptWorker: URL;
  /** A backup can be read here from now on. */
  opened: () => void;
  /** Sessions that messages wait for were looked for in the backup; what was found repairs its rows by itself. */
  lookedFor: (keys: RoomKey[]) => void;
};

const roomsHoldMs = 500;

/** Upload, restore, export and import. What needs Rust crypto's module is loaded with it: a start does not wait for that. */
export function createBackup(parts: BackupParts) {
  const operations = createOperations(parts);
  const roomsNow = remembered(parts.rooms, roomsHoldMs);
  const build = async () => {
    const [{ createBackupHandlers }, { createBackupUpload }, { createOnDemand }] = await Promise.all([
      import("./handlers.ts"),
      import("./upload.ts"),
      import("./on-demand.ts"),
    ]);
    const onDemand = createOnDemand(parts, parts.lookedFor);
    let wasOn = false;
    const upload = createBackupUpload({
      ...parts,
      changed: (status: BackupStatus) => {
        parts.emit("backup.changed", { status });
        const isOn = status.at === "on";
        if (isOn && !wasOn) {
          onDemand.forget();
          parts.opened();
        }
        wasOn = isOn;
      },
    });
    const handlers = createBackupHandlers({
      ...parts,
      rooms: roomsNow,
      operations,
      upload,
      progress: (progress) => {
        operations.progressed(progress);
        parts.emit("backup.progress", progress);
      },
      used: upload.recheck,
      keysImported: upload.wake,
    });
    return { upload, handlers, onDemand };
  };
  let made: ReturnType<typeof build> | undefined;
  const inner = () => (made ??= build());
  const whenMade = (use: (inner: Awaited<ReturnType<typeof build>>) => void) => {
    void made?.then(use);
  };

  // a table of one shape: each name's handler takes and answers that name's types
  const handlers = Object.fromEntries(
    Object.keys(backupCommands).map((name) => [
      name,
      async (input: never) => (await inner()).handlers[name as Names](input),
    ]),
  ) as unknown as Handlers<Names>;

  const feature: Feature = {
    cryptoStarted: async (crypto) => {
      const { upload } = await inner();
      crypto.onKeys(() => {
        upload.wake();
      });
      crypto.onIdentities((userIds) => {
        if (userIds.includes(parts.me)) upload.recheck();
      });
      upload.recheck();
    },
    synced: (applied) => {
      // another client made a backup, or put its key into secret storage
      if (applied.accountData.has("m.megolm_backup.v1"))
        whenMade(({ upload }) => {
          upload.recheck();
        });
    },
    stop: async () => {
      await operations.stop();
      const inside = await made;
      inside?.onDemand.stop();
      await inside?.upload.stop();
    },
  };
  return {
    handlers,
    feature,
    /** Messages that are to be read now wait for these. */
    ask: (keys: RoomKey[]) => {
      whenMade(({ onDemand }) => {
        onDemand.ask(keys);
      });
    },
    /** The account's backup, or this device's key of it, may be another one now. */
    changed: () => {
      whenMade(({ upload }) => {
        upload.recheck();
      });
    },
  };
}

/** Asked for each room that is fetched; the answer of a moment ago will do. */
function remembered<T>(read: () => T, forMs: number): () => T {
  let kept: { value: T; atMs: number } | undefined;
  return () => {
    const now = performance.now();
    if (kept === undefined || now - kept.atMs > forMs) kept = { value: read(), atMs: now };
    return kept.value;
  };
}

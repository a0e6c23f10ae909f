import type { Rescued, SignedIn } from "../../preload/contract/account.ts";
import type { Answer, Failure } from "../../preload/contract/define.ts";

/** What passes between the host and a core worker. Types alone: the one file of core that the host may know. */

/** A signed-in account as the host's registry keeps it. */
export type Session = {
  userId: string;
  deviceId: string;
  /** Base URL without a trailing slash. */
  homeserver: string;
  accessToken: string;
};

export type ProxySettings = { httpProxy?: string; httpsProxy?: string; noProxy?: string };

/** `guest`: no account yet; answers `guest.*` alone. Keys are 32 bytes each, already derived for their one file. */
export type WorkerStart =
  | { kind: "guest"; proxy: ProxySettings }
  | {
      kind: "account";
      proxy: ProxySettings;
      /** The account's own folder: crypto.db, account.db and their side files. */
      folder: string;
      keys: { crypto: Uint8Array; account: Uint8Array };
      session: Session;
      /** False after a crash or a kill: the databases are checked before they are used. */
      lastStopOrderly: boolean;
    }
  /** The account's files are damaged: reads of them what its next device can use, and runs nothing. Answers `rescue.run` alone. */
  | {
      kind: "rescue";
      folder: string;
      keys: { crypto: Uint8Array; account: Uint8Array };
      /** Of the device whose files they are. */
      session: Pick<Session, "userId" | "deviceId">;
    };

/** A worker that loads its code while the keys are still being had; `start` is the first message to it. */
export type WarmStart = { kind: "warm" };

type Credentials = { homeserver: string; user: string; password: string; deviceName?: string | undefined };
/** Calls that only the host makes; no caller of a door can name them. */
export type InternalCalls = {
  "guest.discover": {
    input: { server: string };
    output: { homeserver: string; flows: ("password" | "sso" | "oauth")[]; versions: string[]; registration: boolean };
  };
  /** `deviceId`: signs in again as that device, after a soft logout. */
  "guest.login": { input: Credentials & { deviceId?: string }; output: Session };
  "guest.register": { input: Credentials; output: Session };
  /** Ends a session that was just made and is not kept. */
  "guest.endSession": { input: Session; output: Record<string, never> };
  /** What signing out now would lose: room keys, of how many, and how many conversations they are of. */
  "account.atRisk": {
    input: Record<string, never>;
    output: { unbackedUp: number; total: number; conversations: number };
  };
  /**
   * The device gives way to another of the same account: it syncs and sends no more, and its room keys are on the disk, in account.db,
   * for that other to take in. The worker is to be stopped afterwards.
   */
  "account.salvage": { input: Record<string, never>; output: { roomKeys: number } };
  "rescue.run": { input: Record<string, never>; output: Rescued };
  /** Ends the session on the server. Throws `unreachable` where the server is away. */
  "account.endSession": { input: Record<string, never>; output: Record<string, never> };
};

export type ToWorker =
  | { kind: "start"; start: WorkerStart }
  | { kind: "call"; id: number; name: string; input: unknown }
  /** Orderly: finish what is being written, checkpoint, close; answered by `stopped`. */
  | { kind: "stop" };

export type FromWorker =
  /** Databases are open; calls are answered from the store from here on. */
  | { kind: "ready"; status: SignedIn | undefined }
  /** Could not start: `database-corrupt`, `disk-full`, `wrong-key`, `unexpected`. The worker ends. */
  | { kind: "failed"; error: Failure }
  | { kind: "answer"; id: number; answer: Answer<unknown> }
  | { kind: "event"; event: string; payload: unknown }
  | { kind: "log"; level: "debug" | "info" | "warn" | "error"; text: string }
  | { kind: "stopped" };

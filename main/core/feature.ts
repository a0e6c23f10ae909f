import type { Crypto } from "./matrix/crypto.ts";
import type { Applied } from "./sync/apply.ts";

/** A part of the account that lives on its own beside rooms and timeline. Everything it throws is its own to catch. */
export type Feature = {
  /** Rust crypto is there; called again where it had to be opened anew. Nothing else of crypto runs until it resolves. */
  cryptoStarted?: (crypto: Crypto) => void | Promise<void>;
  /** After each sync, when what it brought is committed. */
  synced?: (applied: Applied) => void;
  /** Events of a room that were stored, decrypted or changed just now: by a sync, a filled hole or a late key. */
  roomEvents?: (roomId: string, eventIds: Iterable<string>) => void;
  stop?: () => void | Promise<void>;
};

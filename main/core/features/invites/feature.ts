import type { Emit } from "../../../../preload/contract/index.ts";
import { CoreError } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import type { Json } from "../../json.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import type { OwnStanding } from "../../matrix/peer-devices.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import { createTurnstile } from "./flood.ts";
import { createInvitesHandlers } from "./handlers.ts";
import { createHandshake } from "./handshake.ts";
import { createInviteRooms, type RoomCommands } from "./invite-rooms.ts";
import type { PeerPort, TrustPort } from "./ports.ts";

type Parts = {
  me: string;
  deviceId: string;
  http: Http;
  db: AccountDatabase;
  rooms: RoomStore;
  crypto: () => Promise<Crypto>;
  commands: RoomCommands;
  changeAccountData: (type: string, next: (now: Json) => Json) => Promise<Json>;
  hasQueued: (roomId: string) => boolean;
  syncNow: (timeoutMs: number) => Promise<number>;
  trust: Omit<TrustPort, "blockSending"> & {
    setSendBlock: (userId: string, reason: string | undefined) => void;
    /** They were verified just now. */
    verified: (userId: string) => Promise<void>;
  };
  emit: Emit;
  nowMs: () => number;
};
const syncMs = 30_000;
const mostQueries = 3;
const mostWaiting = 200;
const standingLastsMs = 1_000;

/**
 * Invites (SJM1): a code is shown and scanned, and both sides are verified contacts in one encrypted chat. Here the handshake gets its
 * crypto, its rooms and its network. docs/invite-protocol.md.
 */
export function createInvites(parts: Parts) {
  const { http, crypto, trust, nowMs } = parts;
  const queries = createTurnstile(mostQueries, mostWaiting);
  let untell: (() => void)[] = [];

  // key queries that strangers can cause: a few at once, however many come
  const queried = async <T>(name: string, known: boolean, work: () => Promise<T>): Promise<T> => {
    const done = await queries({ name, known }, async () => ({ value: await work() }));
    if (done === undefined) throw new CoreError("rate-limited");
    return done.value;
  };
  // values of Rust crypto: not loaded before it is
  const peerDevices = () => import("../../matrix/peer-devices.ts");

  let standing: { atMs: number; value: Promise<OwnStanding> } | undefined;
  const peers: PeerPort = {
    standing: () => {
      if (standing !== undefined && Math.abs(nowMs() - standing.atMs) < standingLastsMs) return standing.value;
      const value = crypto().then(async (core) => (await peerDevices()).ownStanding(core));
      standing = { atMs: nowMs(), value };
      value.catch(() => {
        standing = undefined;
      });
      return value;
    },
    fresh: async (userId) => {
      const { freshPeer } = await peerDevices();
      const core = await crypto();
      return queried(userId, handshake.knows(userId), () => freshPeer(core, userId));
    },
    known: async (userId) => (await peerDevices()).knownPeer(await crypto(), userId),
    sign: async (userId, masterKey) => {
      const { userSign } = await import("../../matrix/user-signing.ts");
      const core = await crypto();
      // whom a code of theirs, or a good proof, speaks for
      await queried(userId, true, () => userSign(core, userId, masterKey));
      // whatever an earlier code said, this key was named by a code and shown by the server
      trust.setSendBlock(userId, undefined);
      await trust.verified(userId);
    },
  };

  const rooms = createInviteRooms({
    ...parts,
    synced: async () => {
      if (!handshake.hasSynced()) await parts.syncNow(syncMs);
    },
  });
  const handshake = createHandshake({
    ...parts,
    peers,
    rooms,
    trust: {
      ...trust,
      blockSending: (userId) => {
        trust.setSendBlock(userId, "invite-keys-differ");
      },
    },
    transport: {
      encrypt: async (to, type, content) => (await peerDevices()).encryptTo(await crypto(), to, type, content),
      send: async (type, transactionId, messages) => {
        const path = `/_matrix/client/v3/sendToDevice/${encodeURIComponent(type)}/${encodeURIComponent(transactionId)}`;
        await http.request("PUT", path, { body: { messages } });
      },
    },
    ownDevices: async (core) => (await import("../../matrix/own-devices.ts")).createOwnDevices(core),
    syncNow: () => parts.syncNow(syncMs),
  });

  const feature: Feature = {
    ...handshake.feature,
    cryptoStarted: async (core) => {
      for (const remove of untell) remove();
      const forget = (userIds: string[]) => {
        if (userIds.includes(parts.me)) standing = undefined;
      };
      untell = [core.onIdentities(forget), core.onDevices(forget)];
      standing = undefined;
      await handshake.feature.cryptoStarted?.(core);
    },
    stop: async () => {
      for (const remove of untell) remove();
      await handshake.feature.stop?.();
    },
  };
  return {
    feature,
    received: handshake.received,
    handlers: createInvitesHandlers({ ...handshake, me: parts.me, rooms: parts.rooms, nowMs }),
  };
}

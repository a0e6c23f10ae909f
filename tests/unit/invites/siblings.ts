import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Parcel } from "../../../main/core/features/invites/outbox.ts";
import { createTokens, type TokensFeature } from "../../../main/core/features/invites/tokens.ts";
import { CoreError } from "../../../main/core/errors.ts";
import type { Crypto, ToDevice } from "../../../main/core/matrix/crypto.ts";
import type { OwnDevices } from "../../../main/core/matrix/own-devices.ts";
import type { PeerDevice } from "../../../main/core/matrix/peer-devices.ts";
import { openAccountDatabase, type AccountDatabase } from "../../../main/core/storage/database.ts";
import { createInviteTokenStore, type InviteTokenStore } from "../../../main/core/storage/invite-token-store.ts";

export const me = "@alice:tessera.test";
const key = () => new Uint8Array(32).fill(5);
export const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

type News = { identities: (ids: string[]) => void; devices: (ids: string[]) => void };
export type Letter = { to: string; event: ToDevice };
export type Sibling = {
  deviceId: string;
  tokens: TokensFeature;
  db: AccountDatabase;
  store: InviteTokenStore;
  /** What waits in its outbox, of a process that may end. */
  put: Parcel[];
  settled: () => Promise<void>;
  /** Ends it without a word and starts it again on its database. */
  restart: () => Promise<void>;
};

/**
 * One account's devices with real databases. What stands between them, Olm and the server, is a table of devices and a list of letters
 * that a test delivers as it likes.
 */
export function ownDevicesOf(options: { nowMs?: () => number; maxLive?: number } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-tokens-"));
  let now = 1_800_000_000_000;
  const nowMs = options.nowMs ?? (() => now);
  const all = new Map<string, PeerDevice>();
  const siblings: Sibling[] = [];
  const open: (() => void)[] = [];
  const world = {
    masterKey: base64(randomBytes(32)),
    online: true,
    queries: 0,
    news: new Set<News>(),
  };

  const add = async (deviceId: string, more: { signed?: boolean; file?: string } = {}): Promise<Sibling> => {
    const mine: PeerDevice = {
      deviceId,
      ed25519: base64(randomBytes(32)),
      curve25519: base64(randomBytes(32)),
      signed: more.signed ?? true,
    };
    all.set(deviceId, mine);
    const file = path.join(folder, more.file ?? `${deviceId}.db`);
    const devices: OwnDevices = {
      standing: () =>
        Promise.resolve({
          masterKey: world.masterKey,
          deviceSigned: all.get(deviceId)?.signed === true,
          canSign: true,
          device: mine,
        }),
      known: () => Promise.resolve({ masterKey: world.masterKey, devices: [...all.values()] }),
      fresh: () => {
        world.queries++;
        if (!world.online) return Promise.reject(new CoreError("unreachable"));
        return Promise.resolve({ masterKey: world.masterKey, devices: [...all.values()] });
      },
    };
    const heard: News = { identities: () => undefined, devices: () => undefined };
    const crypto = {
      onIdentities: (listener: (ids: string[]) => void) => {
        heard.identities = listener;
        return () => undefined;
      },
      onDevices: (listener: (ids: string[]) => void) => {
        heard.devices = listener;
        return () => undefined;
      },
    } as unknown as Crypto;
    world.news.add(heard);
    const begin = (put: Parcel[]) => {
      const db = openAccountDatabase(file, key(), false);
      const store = createInviteTokenStore(db);
      const taken = new Set(put.map((one) => one.id));
      const tokens = createTokens({
        me,
        deviceId,
        db,
        store,
        nowMs,
        ...(options.maxLive === undefined ? {} : { maxLive: options.maxLive }),
        ownDevices: () => Promise.resolve(devices),
        outbox: {
          put: (parcel) => {
            if (taken.has(parcel.id)) return false;
            taken.add(parcel.id);
            put.push(parcel);
            return true;
          },
          drop: () => undefined,
          isWaiting: (id) => put.some((one) => one.id === id),
          onFate: () => () => undefined,
        },
      });
      return { db, store, tokens };
    };
    const put: Parcel[] = [];
    const sibling: Sibling = {
      deviceId,
      put,
      ...begin(put),
      settled: async () => {
        await sibling.tokens.settled();
        await sibling.tokens.settled();
      },
      restart: async () => {
        // a process that ends runs nothing more, and leaves nothing in order
        sibling.tokens.stop().catch(() => undefined);
        sibling.db.close();
        Object.assign(sibling, begin(put));
        await sibling.tokens.cryptoStarted(crypto);
        await sibling.settled();
      },
    };
    siblings.push(sibling);
    open.push(() => {
      sibling.tokens.stop().catch(() => undefined);
      sibling.db.close();
    });
    await sibling.tokens.cryptoStarted(crypto);
    await sibling.settled();
    return sibling;
  };

  /** What a device's parcels become when Olm has carried them. */
  const posted = (from: Sibling): Letter[] =>
    from.put.splice(0).map((parcel) => ({
      to: parcel.deviceId,
      event: {
        type: parcel.type,
        sender: me,
        content: structuredClone(parcel.content),
        olm: {
          sender: me,
          device: from.deviceId,
          curve25519: all.get(from.deviceId)?.curve25519 ?? "",
          senderVerified: true,
        },
      },
    }));
  const deliver = async (letters: Letter[]): Promise<void> => {
    for (const { to, event } of letters) {
      const sibling = siblings.find((one) => one.deviceId === to);
      sibling?.tokens.received(structuredClone(event));
      await sibling?.settled();
    }
  };

  return {
    world,
    add,
    posted,
    deliver,
    device: (deviceId: string): PeerDevice => {
      const device = all.get(deviceId);
      if (device === undefined) throw new Error("no such device");
      return device;
    },
    /** Every letter arrives, and what it leads to, until nobody has more to say. */
    exchange: async (): Promise<void> => {
      for (;;) {
        for (const one of siblings) await one.settled();
        const letters = siblings.flatMap(posted);
        if (letters.length === 0) return;
        await deliver(letters);
      }
    },
    pass: (ms: number) => {
      now += ms;
    },
    now: nowMs,
    newIdentity: () => {
      world.masterKey = base64(randomBytes(32));
      for (const heard of world.news) heard.identities([me]);
    },
    devicesChanged: () => {
      for (const heard of world.news) heard.devices([me]);
    },
    end: () => {
      for (const close of open) close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { vi } from "vitest";
import type { Invite, InvitePreset, Join } from "../../../preload/contract/invites.ts";
import { CoreError } from "../../../main/core/errors.ts";
import { createHandshake } from "../../../main/core/features/invites/handshake.ts";
import type { PeerPort, RoomPort, TrustPort } from "../../../main/core/features/invites/ports.ts";
import { object, text, type Json } from "../../../main/core/json.ts";
import type { Crypto, ToDevice } from "../../../main/core/matrix/crypto.ts";
import type { PeerDevice } from "../../../main/core/matrix/peer-devices.ts";
import { openAccountDatabase, type AccountDatabase } from "../../../main/core/storage/database.ts";

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");
const newKey = () => base64(randomBytes(32));

type User = { userId: string; masterKey: string; devices: PeerDevice[] };
type Sealed = { from: string; curve25519: string; to: string; type: string; content: Json; read: boolean };
/** A to-device message between two devices, as the server holds it. */
export type Letter = { sender: string; userId: string; deviceId: string; type: string; content: Json };
export type Person = {
  user: User;
  device: PeerDevice;
  events: { joins?: Join[] }[];
  blocked: Set<string>;
  ignored: Set<string>;
  readonly handshake: ReturnType<typeof createHandshake>;
  readonly db: AccountDatabase;
  /** A sync that brings these, and the empty one that follows. */
  sync: (events?: ToDevice[]) => void;
  start: () => Promise<void>;
  restart: () => Promise<void>;
  end: () => Promise<void>;
  create: (preset: InvitePreset, roomId?: string) => Promise<Invite & { link: string }>;
  join: (link: string) => Promise<{ joinId: string }>;
};
export type Chat = { roomId: string; maker: string; members: Map<string, "invite" | "join"> };

/**
 * People and devices with real databases and the real handshake. Between them stand a server that does as the test says, an Olm that
 * nobody can forge (a table), and rooms that are a list of members. Time is the test's too.
 */
export function createWorld() {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-handshake-"));
  const users = new Map<string, User>();
  const letters: Letter[] = [];
  /** Everything that ever passed in clear. */
  const recorded: Letter[] = [];
  const sealed = new Map<string, Sealed>();
  const chats: Chat[] = [];
  const signatures: { by: string; userId: string; masterKey: string }[] = [];
  const people: Person[] = [];
  const taken = new Set<string>();
  const world = {
    users,
    letters,
    recorded,
    sealed,
    chats,
    signatures,
    people,
    /** What the server says to `asker` of somebody's identity, in place of the truth. */
    forged: new Map<string, User>(),
    /** Whose server says nothing of their keys until then. */
    silent: new Map<string, Promise<void>>(),
    online: true,
    queries: 0,
    uploads: 0,
  };

  const addUser = (userId: string): User => {
    const user = { userId, masterKey: newKey(), devices: [] };
    users.set(userId, user);
    return user;
  };
  const userOf = (userId: string): User => {
    const user = users.get(userId);
    if (user === undefined) throw new CoreError("not-found");
    return user;
  };
  const shownTo = (asker: string, userId: string): User => world.forged.get(`${asker} ${userId}`) ?? userOf(userId);
  const answer = async <T>(work: () => T): Promise<T> => {
    await Promise.resolve();
    if (!world.online) throw new CoreError("unreachable");
    return work();
  };

  const addDevice = (user: User, deviceId: string, signed = true): Person => {
    const device: PeerDevice = { deviceId, ed25519: newKey(), curve25519: newKey(), signed };
    user.devices.push(device);
    const me = user.userId;
    const file = path.join(folder, `${encodeURIComponent(me)}-${deviceId}.db`);
    const blocked = new Set<string>();
    const ignored = new Set<string>();
    const events: { joins?: Join[] }[] = [];

    const peers: PeerPort = {
      standing: () =>
        Promise.resolve({ masterKey: user.masterKey, deviceSigned: device.signed, canSign: true, device }),
      fresh: async (userId) => {
        world.queries++;
        await world.silent.get(userId);
        return await answer(() => shownTo(me, userId));
      },
      known: (userId) => Promise.resolve(shownTo(me, userId)),
      sign: (userId, masterKey) =>
        answer(() => {
          world.queries++;
          if (shownTo(me, userId).masterKey !== masterKey) throw new CoreError("identity-changed");
          world.uploads++;
          signatures.push({ by: me, userId, masterKey });
        }),
    };
    const chatOf = (roomId: string) => chats.find((chat) => chat.roomId === roomId);
    const isIn = (roomId: string) => chatOf(roomId)?.members.get(me) === "join";
    const findChat = (userId: string) =>
      chats.find((chat) => chat.members.get(me) === "join" && chat.members.has(userId) && chat.members.size === 2)
        ?.roomId;
    const rooms: RoomPort = {
      isIn,
      findChat,
      adoptChat: (userId) => answer(() => findChat(userId)),
      createChat: (userId) =>
        answer(() => {
          const roomId = `!${chats.length}:test`;
          chats.push({
            roomId,
            maker: me,
            members: new Map([
              [me, "join"],
              [userId, "invite"],
            ]),
          });
          return roomId;
        }),
      enterChat: (roomId, userId, _entering, joining) =>
        answer(() => {
          const chat = chatOf(roomId);
          if (chat === undefined || !chat.members.has(me)) return "not-yet";
          if (chat.maker !== userId && chat.maker !== me) return "refused";
          joining();
          chat.members.set(me, "join");
          return "in";
        }),
      invite: (roomId, userId) =>
        answer(() => {
          const chat = chatOf(roomId);
          if (chat?.members.get(me) !== "join") return { result: "gone", room: "", via: [] };
          if (chat.members.get(userId) === "join") return { result: "already", room: roomId, via: [] };
          chat.members.set(userId, "invite");
          return { result: "ok", room: roomId, via: [] };
        }),
      enterGroup: (roomId) =>
        answer(() => {
          const chat = chatOf(roomId);
          if (chat?.members.has(me) !== true) return "not-yet";
          chat.members.set(me, "join");
          return "in";
        }),
      knock: () => Promise.resolve("refused"),
      // which of two chats is left is tried on a real server
      tidy: () => Promise.resolve(),
    };
    const verifiedKey = (userId: string) =>
      signatures.findLast((one) => one.by === me && one.userId === userId)?.masterKey;
    const trust: TrustPort = {
      ignored: (userId) => ignored.has(userId),
      verifiedKey,
      onceVerifiedKey: verifiedKey,
      blockSending: (userId) => {
        blocked.add(userId);
      },
    };

    const begin = () => {
      const db: AccountDatabase = openAccountDatabase(file, new Uint8Array(32).fill(7), false);
      let alive = true;
      let hear: (events: ToDevice[]) => void = () => undefined;
      const nothing = () => () => undefined;
      const crypto = {
        onToDevice: (listener: (events: ToDevice[]) => void) => {
          hear = listener;
          return () => undefined;
        },
        onIdentities: nothing,
        onDevices: nothing,
      } as unknown as Crypto;
      const handshake = createHandshake({
        me,
        deviceId,
        db,
        peers,
        rooms,
        trust,
        nowMs: () => Date.now(),
        syncNow: () => Promise.resolve(),
        emit: (_, payload) => {
          events.push(payload as { joins?: Join[] });
        },
        ownDevices: () =>
          Promise.resolve({
            standing: peers.standing,
            known: () => peers.known(me),
            fresh: () => peers.fresh(me),
          }),
        transport: {
          encrypt: (to, type, content) =>
            answer(() => {
              const target = shownTo(me, to.userId).devices.find((one) => one.deviceId === to.deviceId);
              if (target?.signed !== true || (to.curve25519 ?? target.curve25519) !== target.curve25519)
                throw new CoreError("not-found", { details: { kind: "not-signed" } });
              const id = base64(randomBytes(12));
              const { curve25519 } = device;
              sealed.set(id, { from: me, curve25519, to: target.curve25519, type, content, read: false });
              return { algorithm: "m.olm.v1.curve25519-aes-sha2", ciphertext: id };
            }),
          send: (type, transactionId, messages) =>
            answer(() => {
              if (!alive) throw new CoreError("cancelled");
              const name = `${me} ${deviceId} ${transactionId}`;
              if (taken.has(name)) return;
              taken.add(name);
              for (const [userId, devices] of Object.entries(messages))
                for (const [to, content] of Object.entries(devices))
                  for (const one of to === "*"
                    ? userOf(userId).devices
                    : userOf(userId).devices.filter((d) => d.deviceId === to)) {
                    const letter = { sender: me, userId, deviceId: one.deviceId, type, content };
                    letters.push(letter);
                    if (type !== "m.room.encrypted") recorded.push(letter);
                  }
            }),
        },
      });
      return {
        db,
        handshake,
        end: async () => {
          alive = false;
          await handshake.feature.stop?.();
          db.close();
        },
        start: () => handshake.feature.cryptoStarted?.(crypto),
        hear: (events_: ToDevice[]) => {
          hear(events_);
        },
      };
    };
    let running = begin();

    const person: Person = {
      user,
      device,
      events,
      blocked,
      ignored,
      get handshake() {
        return running.handshake;
      },
      get db() {
        return running.db;
      },
      sync: (events_ = []) => {
        running.hear(events_);
        running.handshake.received(events_.length);
        running.handshake.feature.synced?.({} as never);
        running.handshake.received(0);
        running.handshake.feature.synced?.({} as never);
      },
      start: async () => {
        await running.start();
        await settle();
        person.sync();
      },
      restart: async () => {
        await running.end();
        running = begin();
        await person.start();
      },
      end: () => running.end(),
      create: (preset, roomId) =>
        running.handshake.tokens.create({
          kind: roomId === undefined ? "contact" : "group",
          preset,
          ...(roomId === undefined ? {} : { roomId }),
        }),
      join: (link) => running.handshake.joins.accept({ text: link }),
    };
    people.push(person);
    return person;
  };

  /** As the sync would bring it, opened where this device can. */
  const open = (letter: Letter, to: Person): ToDevice => {
    const event = { type: letter.type, sender: letter.sender, content: letter.content };
    if (letter.type !== "m.room.encrypted") return event;
    const inside = sealed.get(text(letter.content["ciphertext"]) ?? "");
    // Olm reads nothing twice, and nothing that was written for another device
    if (inside === undefined || inside.to !== to.device.curve25519 || inside.read) return event;
    inside.read = true;
    const olm = { sender: inside.from, curve25519: inside.curve25519, senderVerified: false };
    return { type: inside.type, sender: letter.sender, content: object(inside.content) ?? {}, olm };
  };
  const deliver = (letter: Letter): void => {
    const to = people.find((one) => one.user.userId === letter.userId && one.device.deviceId === letter.deviceId);
    to?.sync([open(letter, to)]);
  };
  const settle = async (): Promise<void> => {
    for (let turns = 0; turns < 8; turns++) await new Promise((resolve) => setImmediate(resolve));
  };
  const pass = async (ms: number): Promise<void> => {
    await vi.advanceTimersByTimeAsync(ms);
    await settle();
  };

  return {
    ...world,
    world,
    addUser,
    addDevice,
    deliver,
    settle,
    pass,
    /** An honest network, for so long. */
    flow: async (forMs: number, stepMs = 1_000): Promise<void> => {
      for (let gone = 0; gone < forMs; gone += stepMs) {
        for (const letter of letters.splice(0)) deliver(letter);
        for (const person of people) person.sync();
        await pass(stepMs);
      }
    },
    close: async (): Promise<void> => {
      await Promise.all(people.map((person) => person.end()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
export type World = ReturnType<typeof createWorld>;

import type { Device } from "../../../../preload/contract/devices.ts";
import type { Recipients, SendTo, Simulated } from "../../../../preload/contract/trust.ts";
import { CoreError, toFailure } from "../../errors.ts";
import { log } from "../../log.ts";
import type { Crypto, Sharing } from "../../matrix/crypto.ts";
import type { DeviceList, KnownDevice } from "../../matrix/device-list.ts";
import { createSharing } from "../../matrix/recipients.ts";
import type { OlmSessions } from "../../storage/olm-sessions.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { TrustStore } from "../../storage/trust-store.ts";
import type { Pins } from "./pins.ts";
import type { Policy } from "./policy.ts";
import { planFor, type Plan } from "./recipients-plan.ts";

type Parts = {
  me: string;
  /** The device that this app is. */
  current: string;
  crypto: Crypto;
  devices: DeviceList;
  store: TrustStore;
  rooms: RoomStore;
  pins: Pins;
  policy: Policy;
  olmSessions: OlmSessions;
  loadMembers: (roomId: string) => Promise<void>;
  /** Everybody who is to read the room's next message, by membership alone. */
  membersOf: (roomId: string) => string[];
  /** As the device list shows it. */
  shown: (device: KnownDevice, ownerVerified: boolean) => Device;
  nowMs: () => number;
};

/** As long as Rust crypto itself leaves a server alone that failed. */
const failedForMs = 15 * 60_000;
const claimedForMs = 15_000;
const nameOf = (device: Pick<KnownDevice, "userId" | "deviceId">) => `${device.userId}|${device.deviceId}`;

/** Who can read a room's next message: for the sending itself, for the look before it, and for "what if". */
export function createRecipients(parts: Parts) {
  const { me, current, crypto, devices, store, rooms, pins, policy, olmSessions, membersOf, nowMs } = parts;
  const share = createSharing(crypto, devices);
  const failedServers = new Map<string, number>();
  /** Devices without an Olm session, as of when one was last asked for. */
  const claimed = new Map<string, { lacking: string; atMs: number }>();

  crypto.inner.http.tap(({ failedServers: failed }) => {
    for (const server of failed ?? []) failedServers.set(server, nowMs());
  });
  const serverFailed = (userId: string) =>
    nowMs() - (failedServers.get(userId.slice(userId.indexOf(":") + 1)) ?? -failedForMs) < failedForMs;

  const decide = async (members: string[], roomId: string, sendTo?: SendTo): Promise<Plan> => {
    const own = await devices.user(me);
    let users = await devices.users(members);
    if (await pins.forgive(devices, users)) users = await devices.users(members);
    const barred = new Set(store.sendBlocks().map((row) => row.user_id));
    return planFor({
      me,
      current,
      // our own standing matters in every room, whether or not we count among its members here
      users: members.includes(me) ? users : [...users, { ...own, devices: [] }],
      effective: sendTo ?? policy.effective(own.identity, roomId),
      isBlocked: store.isBlocked,
      standing: (user) => pins.standing(user),
      isSendBlocked: (userId) => barred.has(userId),
    });
  };

  const assertAllowed = (plan: Plan): Plan => {
    if (plan.refusal === undefined) return plan;
    const { code, userIds } = plan.refusal;
    throw new CoreError(code, { details: { userIds, ...(userIds.includes(me) ? { own: true } : {}) } });
  };

  /** What a message of the room asks of policy while its key is shared. */
  const sharingIn = (roomId: string): Sharing => {
    let readers: string[] = [];
    return {
      check: async (members) => {
        assertAllowed(await decide(members, roomId));
      },
      share: (settings, { members }) =>
        share(settings, {
          roomId,
          members,
          decide: async () => {
            const plan = assertAllowed(await decide(members, roomId));
            readers = plan.allowed.map(nameOf);
            const allowed = new Set(readers);
            return {
              strategy: plan.strategy,
              marks: plan.marks,
              allows: (userId, deviceId) => allowed.has(`${userId}|${deviceId}`),
            };
          },
        }),
      shared: () => {
        const next = JSON.stringify(readers.sort());
        if (store.lastReaders(roomId) !== next) store.setLastReaders(roomId, next);
      },
    };
  };

  /** Devices to which no Olm session exists although they may have the key, after one was asked for where that was not just done. */
  const lacking = async (roomId: string, plan: Plan, members: string[]): Promise<Set<KnownDevice>> => {
    const look = async () => {
      const missing = await olmSessions.missing(plan.allowed.flatMap((device) => device.curve25519 ?? []));
      return plan.allowed.filter((device) => device.curve25519 === undefined || missing.has(device.curve25519));
    };
    const found = await look();
    const before = claimed.get(roomId);
    const names = found.map(nameOf).join(" ");
    if (found.length === 0 || (before?.lacking === names && nowMs() - before.atMs < claimedForMs))
      return new Set(found);
    await crypto.claim(members).catch((error: unknown) => {
      log.info(`keys for the look at recipients were not had: ${toFailure(error).code}`);
    });
    const still = await look();
    claimed.set(roomId, { lacking: still.map(nameOf).join(" "), atMs: nowMs() });
    return new Set(still);
  };

  const encryptedRoom = (roomId: string) => {
    const room = rooms.room(roomId);
    if (room === undefined) throw new CoreError("not-found", { message: "No such room." });
    if (room.encryption === null)
      throw new CoreError("unsupported", {
        message: "This room is not encrypted: everybody in it, and its servers, can read.",
      });
    return room;
  };

  const recipients = async (roomId: string): Promise<Recipients> => {
    encryptedRoom(roomId);
    await parts.loadMembers(roomId);
    const members = membersOf(roomId);
    // what is known is shown where the server is away
    await crypto.learn(members).catch((error: unknown) => {
      log.info(`devices for the look at recipients were not had: ${toFailure(error).code}`);
    });
    const plan = await decide(members, roomId);
    const without = await lacking(roomId, plan, members);
    const verified = await verifiedAmong(plan);
    const show = (device: KnownDevice) => parts.shown(device, verified.has(device.userId));
    const receives = plan.allowed.filter((device) => !without.has(device));
    const last = store.lastReaders(roomId);
    const readBefore = new Set(last === undefined ? [] : (JSON.parse(last) as string[]));
    const unreachable: string[] = [];
    for (const { userId, devices: theirs } of await devices.users(members))
      if (theirs.length === 0 && serverFailed(userId)) unreachable.push(userId);
    return {
      receives: receives.map(show),
      withheld: [
        ...plan.withheld.map(({ device, reason }) => ({ device: show(device), reason })),
        ...[...without].map((device) => ({
          device: show(device),
          reason: serverFailed(device.userId) ? ("keys-unreachable" as const) : ("no-keys" as const),
        })),
      ],
      ...(plan.refusal === undefined ? {} : { refused: plan.refusal }),
      ...(last === undefined
        ? {}
        : { grewSince: receives.filter((device) => !readBefore.has(nameOf(device))).map(show) }),
      ...(unreachable.length === 0 ? {} : { unreachable }),
    };
  };

  const verifiedAmong = async (plan: Plan): Promise<Set<string>> => {
    const userIds = new Set(
      [...plan.allowed, ...plan.withheld.map(({ device }) => device)].map(({ userId }) => userId),
    );
    const users = await devices.users([...userIds]);
    return new Set(users.filter((user) => pins.standing(user) === "verified").map((user) => user.userId));
  };

  /** Which rooms and devices another choice would cut off, beyond those that are cut off already. Asks nobody: what is known counts. */
  const simulate = async (sendTo: SendTo, roomId?: string): Promise<Simulated> => {
    const wanted =
      roomId === undefined
        ? rooms.list(undefined).filter((room) => room.membership === "join" && room.encryption !== null)
        : [encryptedRoom(roomId)];
    const found: Simulated["rooms"] = [];
    for (const room of wanted) {
      const members = membersOf(room.room_id);
      const [now, then] = [await decide(members, room.room_id), await decide(members, room.room_id, sendTo)];
      const readsNow = new Set(now.allowed.map(nameOf));
      const lost = then.withheld.filter(({ device }) => readsNow.has(nameOf(device)));
      if (lost.length === 0 && then.refusal === undefined) continue;
      const verified = await verifiedAmong(then);
      found.push({
        roomId: room.room_id,
        withheld: lost.map(({ device, reason }) => ({
          device: parts.shown(device, verified.has(device.userId)),
          reason,
        })),
        ...(then.refusal === undefined ? {} : { refused: then.refusal }),
      });
    }
    return { rooms: found };
  };

  return { sharingIn, recipients, simulate };
}

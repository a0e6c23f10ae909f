import type { LedgerEntry, SendTo } from "../../../preload/contract/trust.ts";
import type { UserTrust } from "../../../preload/contract/rooms.ts";
import type { AccountDatabase } from "./database.ts";

export type Pin = {
  user_id: string;
  /** The master key that is there now, unpadded base64. */
  fingerprint: string;
  state: Exclude<UserTrust["identity"], "none">;
  since_ms: number;
  /** The master key that was verified last. */
  verified: string | null;
  /** The master key whose verification was taken back: its signature stays on the server, and counts for nothing here. */
  withdrawn: string | null;
};
export type LedgerKind =
  | "first-seen"
  | "changed"
  | "verified"
  | "withdrawn"
  | "accepted"
  | "verification-lost"
  | "device-added"
  | "device-removed"
  | "blocked"
  | "unblocked"
  | "policy"
  | "send-blocked"
  | "send-unblocked";
export type TrustStore = ReturnType<typeof createTrustStore>;

/** Beyond this many rows the oldest that say no more than that something was seen make room. */
const ledgerRows = 20_000;
const prunedEvery = 500;
const passing = "('first-seen', 'device-added', 'device-removed')";

/** Pins, choices, blocks and the ledger: what trust is kept beside Rust crypto's own store. */
export function createTrustStore(db: AccountDatabase) {
  let appended = 0;
  let blockedNow: Set<string> | undefined;
  const nameOf = (userId: string, deviceId: string) => `${userId}|${deviceId}`;
  const blocked = () =>
    (blockedNow ??= new Set(
      db
        .all<{ user_id: string; device_id: string }>("select user_id, device_id from blocked_devices")
        .map((row) => nameOf(row.user_id, row.device_id)),
    ));

  const prune = () => {
    const excess = (db.get<{ n: number }>("select count(*) n from ledger")?.n ?? 0) - ledgerRows;
    if (excess > 0)
      db.run(
        `delete from ledger where number in (select number from ledger where kind in ${passing} order by number limit ?)`,
        excess,
      );
  };

  return {
    transaction: db.transaction,
    pin: (userId: string) => db.get<Pin>("select * from pins where user_id = ?", userId),
    pins: () => db.all<Pin>("select * from pins"),
    /** Whom the device that this account had before knew them as; see migration 0008. */
    carried: (userId: string) =>
      db.get<{ fingerprint: string; verified: number }>(
        "select fingerprint, verified from carried_pins where user_id = ?",
        userId,
      ),
    dropCarried: (userId: string) => db.run("delete from carried_pins where user_id = ?", userId),
    withdrawCarried: (userId: string) => db.run("update carried_pins set verified = 0 where user_id = ?", userId),
    pinsOf: (roomId: string) =>
      db.all<Pin>("select pins.* from pins join members using(user_id) where members.room_id = ?", roomId),
    /** Identities that changed and were not accepted yet. */
    unsettled: () => db.all<Pin>("select * from pins where state in ('changed', 'verification-violated')"),
    setPin: (pin: Pin) => {
      db.run(
        `insert into pins(user_id, fingerprint, state, since_ms, verified, withdrawn) values(?, ?, ?, ?, ?, ?)
         on conflict do update set fingerprint = excluded.fingerprint, state = excluded.state, since_ms = excluded.since_ms,
           verified = excluded.verified, withdrawn = excluded.withdrawn`,
        pin.user_id,
        pin.fingerprint,
        pin.state,
        pin.since_ms,
        pin.verified,
        pin.withdrawn,
      );
    },

    /** Without a room: the choice for all. */
    sendTo: (roomId = ""): SendTo | undefined =>
      db.get<{ choice: SendTo }>("select choice from send_to where room_id = ?", roomId)?.choice,
    setSendTo: (roomId: string, choice: SendTo) => {
      db.run(
        "insert into send_to(room_id, choice) values(?, ?) on conflict do update set choice = excluded.choice",
        roomId,
        choice,
      );
    },

    clearSendTo: (roomId: string) => {
      db.run("delete from send_to where room_id = ?", roomId);
    },

    /** Asked once a device and message, so from memory. */
    isBlocked: (userId: string, deviceId: string): boolean => blocked().has(nameOf(userId, deviceId)),
    /** False where nothing changed. */
    setBlocked: (userId: string, deviceId: string, isBlocked: boolean, atMs: number): boolean => {
      const rows = isBlocked
        ? db.run(
            "insert or ignore into blocked_devices(user_id, device_id, at_ms) values(?, ?, ?)",
            userId,
            deviceId,
            atMs,
          )
        : db.run("delete from blocked_devices where user_id = ? and device_id = ?", userId, deviceId);
      blockedNow = undefined;
      return rows > 0;
    },

    /** People to whom nothing is sent until that is taken back, whatever policy says. */
    sendBlocks: () => db.all<{ user_id: string; reason: string }>("select user_id, reason from send_blocks"),
    setSendBlock: (userId: string, reason: string | undefined, atMs: number): boolean =>
      (reason === undefined
        ? db.run("delete from send_blocks where user_id = ?", userId)
        : db.run(
            "insert into send_blocks(user_id, reason, at_ms) values(?, ?, ?) on conflict do update set reason = excluded.reason where reason <> excluded.reason",
            userId,
            reason,
            atMs,
          )) > 0,

    /** As they were when last looked at; what it holds is its writer's. */
    knownDevices: (userId: string) =>
      db.get<{ devices: string }>("select devices from known_devices where user_id = ?", userId)?.devices,
    setKnownDevices: (userId: string, devices: string) => {
      db.run(
        "insert into known_devices(user_id, devices) values(?, ?) on conflict do update set devices = excluded.devices",
        userId,
        devices,
      );
    },

    /** The devices that could read one's last message of the room. */
    lastReaders: (roomId: string) =>
      db.get<{ devices: string }>("select devices from last_readers where room_id = ?", roomId)?.devices,
    setLastReaders: (roomId: string, devices: string) => {
      db.run(
        "insert into last_readers(room_id, devices) values(?, ?) on conflict do update set devices = excluded.devices",
        roomId,
        devices,
      );
    },

    append: (atMs: number, kind: LedgerKind, userId: string, detail = "", deviceId?: string) => {
      db.run(
        "insert into ledger(at_ms, kind, user_id, device_id, detail) values(?, ?, ?, ?, ?)",
        atMs,
        kind,
        userId,
        deviceId ?? null,
        detail,
      );
      if (++appended % prunedEvery === 0) prune();
    },
    /** Whether the person has ever accepted or verified this very identity. */
    hasAccepted: (userId: string, fingerprint: string): boolean =>
      db.get(
        "select 1 from ledger where user_id = ? and kind in ('accepted', 'verified') and detail = ? limit 1",
        userId,
        fingerprint,
      ) !== undefined,
    /** Newest first. */
    ledger: (userId: string | undefined, limit: number): LedgerEntry[] =>
      db
        .all<{ at_ms: number; kind: string; user_id: string; device_id: string | null; detail: string }>(
          userId === undefined
            ? "select * from ledger order by number desc limit ?"
            : "select * from ledger where user_id = ? order by number desc limit ?",
          ...(userId === undefined ? [limit] : [userId, limit]),
        )
        .map((row) => ({
          atMs: row.at_ms,
          kind: row.kind,
          userId: row.user_id,
          detail: row.detail,
          ...(row.device_id === null ? {} : { deviceId: row.device_id }),
        })),

    /** The next message to rooms with these people begins a new session, and what was encrypted ahead is void. Without people: all rooms. */
    rotateRooms: (userIds?: string[]) => {
      if (userIds === undefined)
        db.run("update rooms set rotate_before_send = 1 where encryption is not null and membership = 'join'");
      else
        db.run(
          `update rooms set rotate_before_send = 1 where encryption is not null and room_id in
             (select room_id from members where membership in ('join', 'invite') and user_id in (select value from json_each(?)))`,
          JSON.stringify(userIds),
        );
    },
    rotateRoom: (roomId: string) => {
      db.run("update rooms set rotate_before_send = 1 where encryption is not null and room_id = ?", roomId);
    },
  };
}

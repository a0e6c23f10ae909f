import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { openAccountDatabase } from "../../main/core/storage/database.ts";
import { createAccountStore } from "../../main/core/storage/account-store.ts";
import { createRoomStore } from "../../main/core/storage/room-store.ts";
import { createTimelineStore } from "../../main/core/storage/timeline-store.ts";
import { databaseKey, sessionOf, startCore } from "../core/core.ts";
import { backedUp, clearSession, madeUpSession, sealFor, type Rooms } from "../core/backup/made-up-backup.ts";
import { accountOnServer } from "../core/trust/account-on-server.ts";
import type { Account, Homeserver } from "../homeserver/homeserver.ts";
import type { Measured, MeasureStart } from "./measured-core.ts";

export const sessionsEach = 50;
const requestSessions = 2500;
export const roomIdOf = (room: number) => `!bench${room}:tessera.test`;

/** A session that somebody really sent with, one message. */
type RealSession = { sessionId: string; clear: string; event: Record<string, unknown> };
export type BackupAccount = Awaited<ReturnType<typeof backupAccount>>;

/** An account with identity, recovery and a backup, whose folder is copied for each run, so that each begins with the same. */
export async function backupAccount(homeserver: Homeserver, name: string) {
  const made = await accountInFolder(homeserver, name, true);
  const server = accountOnServer(homeserver, made.account);
  const backup = await server.backup();
  if (backup === undefined) throw new Error("The account has no backup.");
  return {
    ...made,
    version: backup.version,
    publicKey: backup.auth_data.public_key,
    privateKey: await server.secret("m.megolm_backup.v1", made.recoveryKey),
  };
}

export async function accountInFolder(homeserver: Homeserver, name: string, hasBackup: boolean) {
  const home = mkdtempSync(path.join(tmpdir(), "tessera-bench-"));
  const base = path.join(home, "base");
  const account = await homeserver.register(name);
  const core = await startCore({ session: sessionOf(account, homeserver.url) });
  await core.sync();
  const recoveryKey = hasBackup
    ? (await core.ok("trust.setUp", { password: account.password, recovery: { kind: "key" } })).recoveryKey
    : "";
  await core.stop();
  cpSync(core.folder, base, { recursive: true });
  const session = sessionOf(account, homeserver.url);
  let runs = 0;

  /** A folder whose account is in so many rooms, the first of them on the screen with an unreadable message for each of these. */
  const folderWith = (rooms: number, events: Record<string, unknown>[]): string => {
    const folder = path.join(home, `with-${rooms}`);
    cpSync(base, folder, { recursive: true });
    const db = openAccountDatabase(path.join(folder, "account.db"), databaseKey(session, "account"), false);
    const store = createRoomStore(db, account.userId);
    const timeline = createTimelineStore(db);
    const nowMs = Date.now();
    db.transaction(() => {
      for (let room = 0; room < rooms; room++) {
        const roomId = roomIdOf(room);
        store.ensure(roomId, "join");
        const state = (type: string, content: Record<string, unknown>, key = "") =>
          store.applyState(roomId, { type, state_key: key, sender: account.userId, content }, 1);
        state("m.room.encryption", { algorithm: "m.megolm.v1.aes-sha2" });
        state("m.room.member", { membership: "join" }, account.userId);
        store.set(roomId, { joined_count: 1, members_known: 1, last_activity_ms: nowMs - room * 1000 });
      }
      const segment = timeline.beginSegment(roomIdOf(0), undefined, true);
      for (const [position, event] of events.entries()) {
        const eventId = String(event["event_id"]);
        const content = event["content"] as Record<string, unknown>;
        timeline.insert({
          event_id: eventId,
          room_id: roomIdOf(0),
          segment,
          position,
          item_id: eventId,
          sender: String(event["sender"]),
          sent_at_ms: nowMs,
          type: "m.room.encrypted",
          event: JSON.stringify(event),
          session_id: String(content["session_id"]),
          undecryptable: JSON.stringify({ reason: "missing-key", sinceMs: nowMs, lastTryMs: nowMs, tried: [] }),
          shown: 1,
        });
      }
      createAccountStore(db).setMeta("last_room", roomIdOf(0));
    });
    db.close();
    return folder;
  };

  return {
    account,
    home,
    recoveryKey,
    folderWith,
    /** Runs one call in a process of its own, on a fresh copy of the folder; what it leaves becomes the folder `keepAs`. */
    measure: async (
      folder: string,
      { keepAs, via, ...more }: Pick<MeasureStart, "call" | "visible" | "backedUp"> & { keepAs?: string; via?: string },
    ): Promise<Measured> => {
      const own = path.join(home, `run-${++runs}`);
      cpSync(folder, own, { recursive: true });
      const hex = (file: "account" | "crypto") => Buffer.from(databaseKey(session, file)).toString("hex");
      const start: MeasureStart = {
        ...more,
        session: { ...session, homeserver: via ?? session.homeserver },
        folder: own,
        keys: { account: hex("account"), crypto: hex("crypto") },
      };
      try {
        const measured = await inProcess<Measured>("./measured-core.ts", start);
        if (keepAs !== undefined) cpSync(own, keepAs, { recursive: true });
        return measured;
      } finally {
        rmSync(own, { recursive: true, force: true });
      }
    },
    remove: () => {
      rmSync(home, { recursive: true, force: true });
    },
  };
}

async function inProcess<T>(file: string, input: unknown): Promise<T> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url))], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, TESSERA_BUILT: "1" },
  });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stdin.end(JSON.stringify(input));
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  if (code !== 0) throw new Error(`${file} ended with ${String(code)}.`);
  return JSON.parse(out) as T;
}

/** Messages of another device, each under a session of its own, and these sessions as a backup holds them. */
export async function realSessions(userId: string, roomId: string, count: number): Promise<RealSession[]> {
  await sdk.initAsync();
  const machine = await sdk.OlmMachine.initialize(new sdk.UserId(userId), new sdk.DeviceId("OTHER"));
  const room = () => new sdk.RoomId(roomId);
  const made: RealSession[] = [];
  for (let n = 0; n < count; n++) {
    await machine.shareRoomKey(room(), [], new sdk.EncryptionSettings());
    const content = JSON.parse(
      await machine.encryptRoomEvent(
        room(),
        "m.room.message",
        JSON.stringify({ msgtype: "m.text", body: `message ${n}` }),
      ),
    ) as Record<string, unknown>;
    made.push({
      sessionId: String(content["session_id"]),
      clear: "",
      event: {
        event_id: `$bench-${n}`,
        type: "m.room.encrypted",
        sender: userId,
        origin_server_ts: Date.now(),
        content,
        unsigned: {},
      },
    });
    await machine.invalidateGroupSession(room());
  }
  const exported = JSON.parse(await machine.exportRoomKeys(() => true)) as Record<string, unknown>[];
  machine.close();
  const byId = new Map(exported.map(({ session_id: id, room_id: _, ...rest }) => [id, JSON.stringify(rest)]));
  return made.map((one) => ({ ...one, clear: byId.get(one.sessionId) ?? "" }));
}

/** Puts sessions `from` to `to` of the bench into the backup, `sessionsEach` to a room; the first room's are real ones. */
export async function putSessions(
  homeserver: Homeserver,
  { account, version, publicKey }: { account: Account; version: string; publicKey: string },
  real: RealSession[],
  from: number,
  to: number,
): Promise<void> {
  for (let at = from; at < to; at += requestSessions) {
    const rooms: Rooms = {};
    for (let n = at; n < Math.min(to, at + requestSessions); n++) {
      const sessions = (rooms[roomIdOf(Math.floor(n / sessionsEach))] ??= { sessions: {} }).sessions;
      const one = real[n];
      const made = madeUpSession();
      sessions[one?.sessionId ?? made.sessionId] = backedUp(
        sealFor(publicKey, one?.clear ?? clearSession(made.sessionKey)),
      );
    }
    await homeserver.api("PUT", "v3/room_keys/keys", {
      token: account.accessToken,
      query: { version },
      body: { rooms },
    });
  }
}

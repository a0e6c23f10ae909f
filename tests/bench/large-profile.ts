import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { openAccountDatabase } from "../../main/core/storage/database.ts";
import { createRoomStore } from "../../main/core/storage/room-store.ts";
import { createTimelineStore } from "../../main/core/storage/timeline-store.ts";
import { refresh } from "../../main/core/sync/apply.ts";
import { deriveFileKey } from "../../main/host/key-derivation.ts";
import { unwrapWithPassphrase } from "../../main/host/passphrase-slot.ts";
import { readVaultFile } from "../../main/host/vault-file.ts";
import { openHeadless } from "../e2e/headless-app.ts";
import { newPerson } from "../e2e/people.ts";

const words =
  "the a bridge lantern heron river meets nobody before noon when rain begins under our old roof and some bread".split(
    " ",
  );
const names = ["Ada", "Bruno", "Carla", "Deniz", "Emil", "Fatma", "Gustav", "Hanna", "Ivo", "Jana"];

export type LargeProfile = {
  profile: string;
  passphraseFile: string;
  /** Newest activity first. */
  roomIds: string[];
  newestBody: string;
  /** Milliseconds that the passphrase's key derivation alone takes. */
  derive: () => Promise<number>;
  open: () => ReturnType<typeof openHeadless>;
  remove: () => void;
};

type Where = Pick<LargeProfile, "profile" | "passphraseFile">;

async function rootKeyOf({ profile, passphraseFile }: Where): Promise<{ rootKey: Uint8Array; profileId: string }> {
  const vault = readVaultFile(profile);
  if (vault === undefined || vault === "corrupt" || vault.passphrase === undefined)
    throw new Error("The profile has no passphrase slot.");
  const passphrase = readFileSync(passphraseFile, "utf8").trim();
  const rootKey = await unwrapWithPassphrase(vault.passphrase, passphrase, vault.profileId);
  if (rootKey === undefined) throw new Error("The profile's passphrase does not open it.");
  return { rootKey, profileId: vault.profileId };
}

/** A profile of a real account, whose database then gets rooms and decrypted messages as a sync would have left them. */
export async function largeProfile(
  homeserver: string,
  { rooms: roomCount, items }: { rooms: number; items: number },
): Promise<LargeProfile> {
  const home = mkdtempSync(path.join(tmpdir(), "tessera-bench-"));
  const passphraseFile = path.join(home, "passphrase");
  writeFileSync(passphraseFile, `${randomBytes(18).toString("base64url")}\n`, { mode: 0o600 });
  const profile = path.join(home, "profile");
  const person = await newPerson(homeserver, "ana", { profile, passphraseFile });
  await person.app.stop();
  const { rootKey, profileId } = await rootKeyOf({ profile, passphraseFile });
  const [folder = ""] = readdirSync(path.join(profile, "accounts"));
  const key = deriveFileKey(rootKey, profileId, folder, "account.db");
  const db = openAccountDatabase(path.join(profile, "accounts", folder, "account.db"), key, false);
  const rooms = createRoomStore(db, person.userId);
  const timeline = createTimelineStore(db);
  const perRoom = Math.round(items / roomCount);
  const nowMs = Date.now();
  const body = (seed: number) =>
    Array.from({ length: 4 + (seed % 12) }, (_, word) => words[(seed * 7 + word * 5) % words.length]).join(" ");
  const roomIds = Array.from({ length: roomCount }, (_, index) => `!bench${index}:tessera.test`);
  db.transaction(() => {
    for (const [index, roomId] of roomIds.entries()) {
      const other = `@friend${index}:tessera.test`;
      const name = `${names[index % names.length] ?? ""} ${index}`;
      const state = (type: string, content: Record<string, unknown>, stateKey = "") =>
        rooms.applyState(roomId, { type, state_key: stateKey, sender: other, content }, 1);
      rooms.ensure(roomId, "join");
      state("m.room.create", { room_version: "12" });
      state("m.room.encryption", { algorithm: "m.megolm.v1.aes-sha2" });
      state("m.room.member", { membership: "join", displayname: name }, other);
      state("m.room.member", { membership: "join", displayname: "Ana" }, person.userId);
      if (index % 3 === 0) state("m.room.name", { name: `Group ${index}` });
      const segment = timeline.beginSegment(roomId, undefined, true);
      for (let position = 0; position < perRoom; position++) {
        const seed = index * perRoom + position;
        const sender = position % 3 === 0 ? person.userId : other;
        const sentAtMs = nowMs - index * 60_000 - (perRoom - position) * 45_000;
        const eventId = `$bench-${index}-${position}`;
        const sessionId = `session-${index}`;
        const wire = {
          algorithm: "m.megolm.v1.aes-sha2",
          session_id: sessionId,
          device_id: "BENCH",
          ciphertext: randomBytes(240).toString("base64"),
        };
        const number = timeline.insert({
          event_id: eventId,
          room_id: roomId,
          segment,
          position,
          item_id: eventId,
          sender,
          sent_at_ms: sentAtMs,
          type: "m.room.encrypted",
          event: JSON.stringify({
            event_id: eventId,
            type: "m.room.encrypted",
            sender,
            origin_server_ts: sentAtMs,
            content: wire,
            unsigned: {},
          }),
          session_id: sessionId,
          undecryptable: JSON.stringify({ reason: "missing-key", sinceMs: sentAtMs, lastTryMs: sentAtMs, tried: [] }),
          shown: 1,
        });
        if (number === undefined) throw new Error("An event is there already.");
        timeline.setDecrypted(number, {
          clear: JSON.stringify({ type: "m.room.message", content: { msgtype: "m.text", body: body(seed) } }),
          type: "m.room.message",
          trust: JSON.stringify({ shield: "none" }),
          shown: 1,
          replayed: 0,
        });
        if (position > perRoom - 1 - (index % 4) && sender !== person.userId) timeline.setNotify(number, 1);
      }
      rooms.set(roomId, {
        joined_count: 2,
        invited_count: 0,
        members_known: 1,
        last_activity_ms: nowMs - index * 60_000,
        read_segment: segment,
        read_position: perRoom - 1 - (index % 4),
      });
      if (index % 3 !== 0) rooms.set(roomId, { direct_user: other });
      refresh({ rooms, timeline }, roomId);
    }
  });
  db.close();
  return {
    profile,
    passphraseFile,
    roomIds,
    newestBody: body(perRoom - 1),
    derive: async () => {
      const fromMs = performance.now();
      await rootKeyOf({ profile, passphraseFile });
      return performance.now() - fromMs;
    },
    open: () => openHeadless({ profile, passphraseFile, env: { TESSERA_BUILT: "1" } }),
    remove: () => {
      rmSync(home, { recursive: true, force: true });
    },
  };
}

import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { installSynapse } from "../../homeserver/install.ts";
import { pythonEnvironment } from "../../homeserver/run-command.ts";
import { encodeRecoveryKey } from "../../../main/core/matrix/recovery-key.ts";
import type { Core } from "../core.ts";
import { useHomeserver } from "../people.ts";
import { accountOnServer } from "../trust/account-on-server.ts";
import { backupScene } from "./backup-scene.ts";
import type { Rooms } from "./made-up-backup.ts";

/** What other implementations wrote is read, and what we wrote is read by another. How the fixtures were made stands beside them. */
const { server, person } = useHomeserver();
const { put, versionOf, safe, uploaded, restore } = backupScene({ server, person });
const folder = mkdtempSync(path.join(tmpdir(), "tessera-interchange-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const fixtures = path.join(import.meta.dirname, "../../fixtures");
/** Of the fixtures. */
const passphrase = "correct horse battery staple";
type Libolm = {
  publicKey: string;
  privateKey: string;
  rooms: Rooms;
  clear: Record<string, { roomId: string; sessionKey: string; index: number }>;
};
type Session = { room_id: string; session_id: string; session_key: string };
const libolm = JSON.parse(readFileSync(path.join(fixtures, "backups/libolm.json"), "utf8")) as Libolm;

/** Python's `cryptography`, which the homeserver brings along. */
async function opened(given: object): Promise<Session[]> {
  const { python } = await installSynapse();
  const script = path.join(fixtures, "backups/open.py");
  const answer = execFileSync(python, [script], { input: JSON.stringify(given), env: pythonEnvironment() });
  return JSON.parse(answer.toString()) as Session[];
}
const exported = async (core: Core): Promise<Session[]> => {
  const file = path.join(folder, `${randomUUID()}.txt`);
  await core.ok("backup.exportKeys", { path: file, passphrase, operationId: randomUUID() });
  return await opened({ file, passphrase });
};
const keysOf = (sessions: Session[]) =>
  new Map(sessions.map((one) => [`${one.room_id} ${one.session_id}`, one.session_key]));

test("a backup that libolm made is opened by its recovery key, session by session as libolm has them", async () => {
  const ana = await person("ana");
  const { version } = await server().api<{ version: string }>("POST", "v3/room_keys/version", {
    token: ana.account.accessToken,
    body: {
      algorithm: "m.megolm_backup.v1.curve25519-aes-sha2",
      auth_data: { public_key: libolm.publicKey, signatures: {} },
    },
  });
  await put(ana.account, libolm.rooms);
  expect(await versionOf(ana.account)).toMatchObject({ version, count: 6 });
  const recoveryKey = encodeRecoveryKey(Buffer.from(libolm.privateKey, "base64"));
  expect(await restore(ana.core, recoveryKey)).toMatchObject({ total: 6, imported: 6, failed: [] });
  const wanted = Object.entries(libolm.clear).map(
    ([sessionId, { roomId, sessionKey }]) => [`${roomId} ${sessionId}`, sessionKey] as const,
  );
  expect(keysOf(await exported(ana.core))).toEqual(new Map(wanted));
  // who typed the key holds it: the backup is used from now on, and what was restored is not sent back to it
  await ana.core.until(async () => {
    const status = await ana.core.ok("backup.status", {});
    return status.at === "on" && status.version === version && status.backedUp === 6 && status.total === 6;
  }, "the backup in use");
  expect(ana.proxy.seen({ method: "PUT", path: /\/room_keys\/keys/ })).toEqual([]);
});

test("a backup that this app made is opened by another implementation, and holds what its key file holds", async () => {
  const ana = await safe("ana");
  const sent: string[] = [];
  for (let n = 0; n < 3; n++) {
    const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
    await ana.core.say(roomId, `message ${n}`);
    sent.push(roomId);
  }
  await uploaded(ana.core);
  const token = ana.account.accessToken;
  const { version } = await versionOf(ana.account);
  const { rooms } = await server().api<{ rooms: Rooms }>("GET", "v3/room_keys/keys", { token, query: { version } });
  const privateKey = await accountOnServer(server(), ana.account).secret("m.megolm_backup.v1", ana.recoveryKey);
  const there = await opened({ privateKey, rooms });
  expect(there.map((one) => one.room_id).toSorted()).toEqual(sent.toSorted());
  expect(keysOf(there)).toEqual(keysOf(await exported(ana.core)));
});

test("a file of libolm's keys is imported, and leaves as a file that another implementation reads, each key as it came", async () => {
  const file = path.join(fixtures, "key-files/libolm.txt");
  const { core } = await person("ana");
  const result = await core.ok("backup.importKeys", { path: file, passphrase, operationId: randomUUID() });
  expect(result).toMatchObject({ total: 6, imported: 6, failed: [] });
  expect(keysOf(await exported(core))).toEqual(keysOf(await opened({ file, passphrase })));
});

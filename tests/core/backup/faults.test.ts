import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { restarted, type Core } from "../core.ts";
import { eventually, useHomeserver } from "../people.ts";
import { backupScene } from "./backup-scene.ts";
import {
  backedUp,
  clearSession,
  madeUpBackup,
  madeUpSession,
  sealFor,
  strangersKey,
  type Rooms,
} from "./made-up-backup.ts";

const { server, person } = useHomeserver();
const { put, publicKeyOf, versionOf, safe, restore } = backupScene({ server, person });
const isKeys = { method: "GET", path: /\/room_keys\/keys/ };
const isVersion = { method: "GET", path: /\/room_keys\/version/ };
const isUpload = { method: "PUT", path: /\/room_keys\/keys/ };
const count = process.env["TESSERA_FULL"] === "1" ? 100_000 : 2000;
const failure = async (core: Core, operationId = randomUUID() as string) => {
  const answer = await core.call("backup.restore", { operationId });
  return answer.ok ? answer.value : { code: answer.error.code, details: answer.error.details };
};
/** Rooms of the core's own: no endpoint lists those of a backup. */
const joined = async (core: Core, rooms: number) => {
  const ids: string[] = [];
  while (ids.length < rooms) ids.push((await core.ok("rooms.create", { kind: "group" })).roomId);
  return ids;
};
const sessionsHere = async (core: Core) => {
  const status = await core.ok("backup.status", {});
  return status.at === "off" ? 0 : status.total;
};

type Bad = { kind: string; reason: string; roomId?: string; make: (publicKey: string) => [string, unknown] };
const sealed = (publicKey: string, more: (key: string) => string, sessionId?: string): [string, unknown] => {
  const session = madeUpSession();
  return [sessionId ?? session.sessionId, sealFor(publicKey, more(session.sessionKey))];
};
const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
const bad: Bad[] = [
  {
    kind: "a wrong MAC",
    reason: "not-decryptable",
    make: (key) => {
      const [id, data] = sealed(key, clearSession);
      return [id, { ...(data as object), mac: "AAAAAAAAAAA" }];
    },
  },
  { kind: "another backup's key", reason: "not-decryptable", make: () => sealed(strangersKey(), clearSession) },
  { kind: "nothing in it", reason: "malformed", make: () => [madeUpSession().sessionId, {}] },
  { kind: "a number for data", reason: "malformed", make: () => [madeUpSession().sessionId, 7] },
  { kind: "no JSON", reason: "malformed", make: (key) => sealed(key, () => "no JSON at all") },
  { kind: "no session key", reason: "malformed", make: (key) => sealed(key, () => clearSession("AAAA")) },
  {
    kind: "a later version of the session's form",
    reason: "malformed",
    make: (key) =>
      sealed(key, (sessionKey) => {
        const bytes = Buffer.from(sessionKey, "base64");
        bytes.writeUInt8(2, 0);
        return clearSession(bytes.toString("base64"));
      }),
  },
  {
    kind: "a later algorithm",
    reason: "unknown-algorithm",
    make: (key) => sealed(key, (sessionKey) => clearSession(sessionKey, { algorithm: "m.megolm.v9" })),
  },
  {
    kind: "a value nested without end",
    reason: "malformed",
    make: (key) => sealed(key, (sessionKey) => clearSession(sessionKey).replace(/}$/, `,"more":${nested(15_000)}}`)),
  },
  {
    kind: "another session's id",
    reason: "other-session",
    make: (key) => sealed(key, clearSession, madeUpSession().sessionId),
  },
  {
    kind: "a text of 100 kB",
    reason: "too-large",
    make: (key) => sealed(key, (sessionKey) => clearSession(sessionKey, { more: "x".repeat(75_000) })),
  },
  {
    kind: "a text of 600 kB",
    reason: "too-large",
    make: (key) => [madeUpSession().sessionId, { ...sealFor(key, "x"), ciphertext: "A".repeat(600_000) }],
  },
  {
    kind: "fields without number",
    reason: "too-large",
    make: () => [
      madeUpSession().sessionId,
      Object.fromEntries(Array.from({ length: 30_000 }, (_, n) => [`a field ${n}`, n])),
    ],
  },
  {
    kind: "a room that can be none",
    reason: "not-importable",
    roomId: "no room's id",
    make: (key) => sealed(key, clearSession),
  },
  {
    kind: "a sender who has no key",
    reason: "not-importable",
    make: (key) => sealed(key, (sessionKey) => clearSession(sessionKey, { sender_key: "none" })),
  },
];

test(
  `of a backup of ${count} keys one in a hundred is bad: each of these is named with its reason, all others come, none is uploaded again`,
  { timeout: 900_000 },
  async () => {
    const ana = await safe("ana");
    const publicKey = await publicKeyOf(ana.account);
    const known = await joined(ana.core, 4);
    const left = Array.from({ length: 36 }, (_, n) => `!left${n}:x.test`);
    const roomIds = [...known, ...left];
    const rooms = madeUpBackup(publicKey, roomIds, count - count / 100 - 2);
    const expected = new Map<string, string>();
    for (let n = 0; n < count / 100; n++) {
      const one = bad[n % bad.length];
      if (one === undefined) throw new Error("there are kinds of bad keys");
      const roomId = one.roomId ?? roomIds[n % roomIds.length] ?? "";
      const [sessionId, data] = one.make(publicKey);
      (rooms[roomId] ??= { sessions: {} }).sessions[sessionId] = backedUp(data as Record<string, unknown>);
      expected.set(`${roomId} ${sessionId}`, one.reason);
    }
    // the same session in three rooms is three keys: a message finds its key by both
    const twice = madeUpSession();
    for (const roomId of ["!left0:x.test", "!left1:x.test", "!left2:x.test"]) {
      const sessions = rooms[roomId]?.sessions ?? {};
      sessions[twice.sessionId] = backedUp(sealFor(publicKey, clearSession(twice.sessionKey)));
    }
    const good = count - count / 100 + 1;
    await put(ana.account, rooms);
    expect((await versionOf(ana.account)).count).toBe(good + expected.size);
    const result = await restore(ana.core);
    expect(result).toMatchObject({ total: good + expected.size, imported: good, alreadyHad: 0 });
    expect(new Map(result.failed.map((key) => [`${key.roomId} ${key.sessionId}`, key.reason]))).toEqual(expected);
    expect(await sessionsHere(ana.core)).toBe(good);
    expect(ana.proxy.seen(isUpload)).toEqual([]);
    // a second restore finds the same bad ones, and nothing new
    expect(await restore(ana.core)).toMatchObject({ imported: 0, alreadyHad: good, failed: { length: expected.size } });
  },
);

test("a server that asks to wait, and one that is unwell, are waited for", async () => {
  const ana = await safe("ana");
  const [roomId = ""] = await joined(ana.core, 1);
  await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), [roomId], 300));
  const limit = ana.proxy.on(
    isKeys,
    { kind: "status", status: 429, body: { errcode: "M_LIMIT_EXCEEDED", retry_after_ms: 700 } },
    { times: 1 },
  );
  const unwell = ana.proxy.on(isKeys, { kind: "status", status: 503, body: "<html>" }, { times: 2 });
  expect(await restore(ana.core)).toMatchObject({ total: 300, imported: 300, failed: [] });
  expect([limit.used, unwell.used]).toEqual([1, 2]);
  const [limited, next] = ana.proxy.seen(isKeys);
  expect((next?.startedMs ?? 0) - (limited?.endedMs ?? 0)).toBeGreaterThanOrEqual(690);
});

test("a room whose answer always breaks off, and one that is always an error, stop no other and come with the whole", async () => {
  const ana = await safe("ana");
  const [cut = "", error = "", third = ""] = await joined(ana.core, 3);
  await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), [cut, error, third], 300));
  const of = (roomId: string) => ({
    method: "GET",
    path: new RegExp(`/room_keys/keys/${encodeURIComponent(roomId)}$`),
  });
  ana.proxy.on(of(cut), { kind: "cut", afterBytes: 30_000 });
  ana.proxy.on(of(error), { kind: "status", status: 500, body: {} });
  expect(await restore(ana.core)).toMatchObject({ total: 300, imported: 300, failed: [] });
  expect(ana.proxy.seen({ method: "GET", path: /\/room_keys\/keys$/ })).toHaveLength(1);
});

test("a server that is unwell for good is told, and the same operation ends well when it has recovered", async () => {
  const ana = await safe("ana");
  const [roomId = ""] = await joined(ana.core, 1);
  await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), [roomId], 100));
  const rule = ana.proxy.on(isKeys, { kind: "status", status: 500, body: {} });
  const operationId = randomUUID();
  expect(await failure(ana.core, operationId)).toMatchObject({ code: "unreachable" });
  expect(await ana.core.ok("backup.operations", {})).toMatchObject([{ operationId, at: "interrupted", done: 0 }]);
  rule.remove();
  expect(await ana.core.ok("backup.resume", { operationId })).toMatchObject({ total: 100, imported: 100 });
});

test("a version that the server forgets in the middle ends the restore with that word, and nothing goes round in circles", async () => {
  const ana = await safe("ana");
  const [roomId = ""] = await joined(ana.core, 1);
  await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), [roomId], 100));
  const { version } = await versionOf(ana.account);
  const hold = ana.proxy.on(isKeys, { kind: "hold" });
  const operationId = randomUUID();
  const running = failure(ana.core, operationId);
  await eventually(
    () => hold.used,
    (used) => used > 0,
  );
  await server().api("DELETE", `v3/room_keys/version/${version}`, { token: ana.account.accessToken });
  const [asked, versions] = [ana.proxy.seen(isKeys).length, ana.proxy.seen(isVersion).length];
  hold.release();
  expect(await running).toEqual({ code: "not-found", details: { kind: "backup" } });
  expect(await ana.core.ok("backup.operations", {})).toMatchObject([{ operationId, at: "failed" }]);
  expect(await failure(ana.core, operationId)).toMatchObject({ code: "not-found", details: { kind: "backup" } });
  await ana.core.sync();
  expect(ana.proxy.seen(isKeys).length).toBe(asked);
  expect(ana.proxy.seen(isVersion).length).toBeLessThanOrEqual(versions + 4);
});

test("a version that is replaced in the middle ends the restore: what is left cannot be had, and the other one is not taken for it", async () => {
  const ana = await safe("ana");
  const [roomId = ""] = await joined(ana.core, 1);
  await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), [roomId], 100));
  const hold = ana.proxy.on(isKeys, { kind: "hold" });
  const running = failure(ana.core);
  await eventually(
    () => hold.used,
    (used) => used > 0,
  );
  const { version } = await versionOf(ana.account);
  await server().api("DELETE", `v3/room_keys/version/${version}`, { token: ana.account.accessToken });
  await server().api("POST", "v3/room_keys/version", {
    token: ana.account.accessToken,
    body: {
      algorithm: "m.megolm_backup.v1.curve25519-aes-sha2",
      auth_data: { public_key: strangersKey(), signatures: {} },
    },
  });
  hold.release();
  expect(await running).toEqual({ code: "conflict", details: { kind: "version-replaced" } });
});

test("keys of another's backup under one's own version are refused one by one, and none is kept", async () => {
  const ana = await safe("ana");
  const other = await safe("other");
  const [roomId = ""] = await joined(ana.core, 1);
  await put(ana.account, madeUpBackup(await publicKeyOf(ana.account), [roomId], 50));
  const theirs: Rooms = madeUpBackup(await publicKeyOf(other.account), [roomId], 50);
  ana.proxy.on(isKeys, {
    kind: "rewrite-response",
    json: (_, { path }) => (path.endsWith("/keys") ? { rooms: theirs } : theirs[roomId]),
  });
  const result = await restore(ana.core);
  expect(result).toMatchObject({ total: 50, imported: 0, alreadyHad: 0 });
  expect(new Set(result.failed.map((key) => key.reason))).toEqual(new Set(["not-decryptable"]));
  expect(await sessionsHere(ana.core)).toBe(0);
});

test("another's version under one's own name is a wrong key before a single key is asked for, and gets none of ours", async () => {
  const ana = await safe("ana");
  ana.proxy.on(isVersion, {
    kind: "rewrite-response",
    json: (body) => ({ ...(body as object), auth_data: { public_key: strangersKey(), signatures: {} } }),
  });
  expect(await failure(ana.core)).toMatchObject({ code: "wrong-key" });
  const { recoveryKey } = ana;
  const typed = await ana.core.call("backup.restore", { operationId: randomUUID(), recoveryKey });
  expect(typed).toMatchObject({ ok: false, error: { code: "wrong-key", details: { kind: "backup-key" } } });
  expect(ana.proxy.seen(isKeys)).toEqual([]);
  // the version that it found before is the true one: it looks anew at a start
  const core = await restarted(ana.core);
  await core.until(async () => (await core.ok("backup.status", {})).at === "wrong-version", "the wrong version");
  const { roomId } = await core.ok("rooms.create", { kind: "group" });
  await core.say(roomId, "not for them");
  await core.nextEvent("backup.changed", ({ status }) => status.at === "wrong-version" && status.total === 1);
  expect(ana.proxy.seen(isUpload)).toEqual([]);
});

test("a backup's key that was altered in secret storage is told as that", async () => {
  const ana = await safe("ana");
  const path = `v3/user/${encodeURIComponent(ana.userId)}/account_data/m.megolm_backup.v1`;
  const token = ana.account.accessToken;
  const stored = await server().api<{ encrypted: Record<string, { mac: string }> }>("GET", path, { token });
  for (const one of Object.values(stored.encrypted)) one.mac = Buffer.alloc(32, 1).toString("base64");
  await server().api("PUT", path, { token, body: stored });
  const { recoveryKey } = ana;
  expect(await ana.core.call("backup.restore", { operationId: randomUUID(), recoveryKey })).toMatchObject({
    ok: false,
    error: { code: "not-found", details: { kind: "backup-key", reason: "damaged" } },
  });
  expect(ana.proxy.seen(isKeys)).toEqual([]);
});

test("a backup of a later kind is not touched, and said to be unknown", async () => {
  const ana = await safe("ana");
  const kind = ana.proxy.on(isVersion, {
    kind: "rewrite-response",
    json: (body) => ({ ...(body as object), algorithm: "m.megolm_backup.v9" }),
  });
  expect(await failure(ana.core)).toMatchObject({ code: "unsupported" });
  kind.remove();
  expect(await restore(ana.core)).toMatchObject({ total: 0 });
});

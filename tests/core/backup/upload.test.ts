import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import type { Account } from "../../homeserver/homeserver.ts";
import { restarted, type Core } from "../core.ts";
import { eventually, useHomeserver } from "../people.ts";
import { setUp } from "../verification/verifying.ts";

const { server, person } = useHomeserver();
const isUpload = { method: "PUT", path: /\/room_keys\/keys$/ };
const isVersion = { method: "GET", path: /\/room_keys\/version$/ };
const status = (core: Core) => core.ok("backup.status", {});
const whole = (core: Core, keys: number) =>
  eventually(
    () => status(core),
    (now) => now.at === "on" && now.total === keys && now.backedUp === keys && !now.uploading,
  );
/** A message in a new room is a new key. */
const newKey = async (core: Core) => {
  const { roomId } = await core.ok("rooms.create", { kind: "group" });
  await core.say(roomId, "x");
};
const api = (account: Account) => ({
  deleteVersion: (version: string) =>
    server().api("DELETE", `v3/room_keys/version/${version}`, { token: account.accessToken }),
  count: async () =>
    (await server().api<{ count: number }>("GET", "v3/room_keys/version", { token: account.accessToken })).count,
});

test("new keys go up by themselves, also those of before the backup, and after a restart", async () => {
  const ana = await person("ana");
  await newKey(ana.core);
  expect(await status(ana.core)).toEqual({ at: "off" });
  await setUp(ana);
  await whole(ana.core, 1);
  await newKey(ana.core);
  await whole(ana.core, 2);
  expect(await api(ana.account).count()).toBe(2);
  ana.proxy.on(isUpload, { kind: "status", status: 502 });
  await newKey(ana.core);
  await eventually(
    () => status(ana.core),
    (now) => now.at === "on" && now.failure?.code === "unreachable" && now.backedUp === 2,
  );
  const again = await restarted(ana.core, { via: server().url });
  await whole(again, 3);
  expect(await api(ana.account).count()).toBe(3);
  await again.stop();
});

test("a server that is away, or asks to wait, is not pressed, and nothing is lost", async () => {
  const ana = await person("ana");
  await setUp(ana);
  await whole(ana.core, 0).catch(() => undefined);
  const rule = ana.proxy.on(
    isUpload,
    { kind: "status", status: 429, body: { errcode: "M_LIMIT_EXCEEDED", retry_after_ms: 1500 } },
    { times: 1 },
  );
  await newKey(ana.core);
  await whole(ana.core, 1);
  expect(rule.used).toBe(1);
  const [refused, accepted] = ana.proxy.seen(isUpload).slice(-2);
  expect((accepted?.startedMs ?? 0) - (refused?.endedMs ?? 0)).toBeGreaterThanOrEqual(1400);
});

test("a deleted version turns the backup off, once, and is said so", async () => {
  const ana = await person("ana");
  await setUp(ana);
  await newKey(ana.core);
  await whole(ana.core, 1);
  await api(ana.account).deleteVersion("1");
  await newKey(ana.core);
  await eventually(
    () => status(ana.core),
    (now) => now.at === "off",
  );
  const uploads = ana.proxy.seen(isUpload).length;
  await newKey(ana.core);
  await ana.core.sync();
  expect(ana.proxy.seen(isUpload).length).toBe(uploads);
});

test("behaviour 17: a version replaced by one that nobody vouches for is looked up anew, and gets no key", async () => {
  const ana = await person("ana");
  await setUp(ana);
  await newKey(ana.core);
  await whole(ana.core, 1);
  const { version } = await server().api<{ version: string }>("POST", "v3/room_keys/version", {
    token: ana.account.accessToken,
    body: {
      algorithm: "m.megolm_backup.v1.curve25519-aes-sha2",
      auth_data: { public_key: "XjhWTCjW7l59pbfx9tlCBQolfnIQWARoKOzjTOPSlWM", signatures: {} },
    },
  });
  await newKey(ana.core);
  const now = await eventually(
    () => status(ana.core),
    (found) => found.at === "wrong-version",
  );
  expect(now).toMatchObject({ version });
  const asked = ana.proxy.seen(isVersion).length;
  const uploads = ana.proxy.seen(isUpload).length;
  await newKey(ana.core);
  await ana.core.sync();
  expect(ana.proxy.seen(isUpload).length).toBe(uploads);
  expect(ana.proxy.seen(isVersion).length).toBeLessThanOrEqual(asked + 2);
  expect(await ana.core.call("backup.restore", { operationId: randomUUID() })).toMatchObject({
    ok: false,
    error: { code: "wrong-key" },
  });
  expect(await api(ana.account).count()).toBe(0);
});

import { expect, test } from "vitest";
import type { Account } from "../../homeserver/homeserver.ts";
import type { Core } from "../core.ts";
import { eventually, useHomeserver } from "../people.ts";
import { setUp } from "../verification/verifying.ts";

const { server, person } = useHomeserver();
const isMaking = { method: "POST", path: /\/room_keys\/version$/ };
const whole = (core: Core, version: string) =>
  eventually(
    () => core.ok("backup.status", {}),
    (now) => now.at === "on" && now.version === version && now.total === 1 && now.backedUp === 1 && !now.uploading,
  );
const onServer = ({ accessToken }: Account) =>
  server().api<{ version: string; count: number }>("GET", "v3/room_keys/version", { token: accessToken });

/** With one room key, which is in the first version of the backup. */
async function backedUp() {
  const ana = await person("ana");
  const recoveryKey = await setUp(ana);
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
  await ana.core.sent(roomId, await ana.core.send(roomId, "x"));
  await whole(ana.core, "1");
  return { ...ana, recoveryKey };
}

test("a backup that is made anew opens with the account's recovery, and takes every key", async () => {
  const { core, account, recoveryKey } = await backedUp();
  await core.ok("backup.delete", { version: "1" });
  expect(await core.ok("backup.status", {})).toEqual({ at: "off" });
  expect(await core.ok("backup.create", {})).toEqual({ version: "2" });
  expect(await core.ok("backup.status", {})).toMatchObject({ at: "on", version: "2" });
  await whole(core, "2");
  expect(await onServer(account)).toMatchObject({ version: "2", count: 1 });
  expect(await core.ok("trust.checkRecovery", { recoveryKey })).toMatchObject({ ok: true, sampleKeysDecrypted: 1 });
});

test("a version that was deleted elsewhere is made anew, and takes every key", async () => {
  const { core, account, recoveryKey } = await backedUp();
  await server().api("DELETE", "v3/room_keys/version/1", { token: account.accessToken });
  expect(await core.ok("backup.create", {})).toEqual({ version: "2" });
  await whole(core, "2");
  expect(await onServer(account)).toMatchObject({ version: "2", count: 1 });
  expect(await core.ok("trust.checkRecovery", { recoveryKey })).toMatchObject({ ok: true, sampleKeysDecrypted: 1 });
});

test("where nobody could open it, none is made", async () => {
  const ana = await person("ana");
  expect(await ana.core.call("backup.create", {})).toMatchObject({
    ok: false,
    error: { code: "conflict", details: { kind: "setup-needed" } },
  });
  expect(ana.proxy.seen(isMaking)).toEqual([]);
  expect(await ana.core.ok("backup.status", {})).toEqual({ at: "off" });
});

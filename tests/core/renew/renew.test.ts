import { cpSync, existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { moveCryptoAside } from "../../../main/core/storage/crypto-files.ts";
import { makeFolder, sameAs, sessionOf, startCore, texts, type Core } from "../core.ts";
import { isSend, isSync, useHomeserver, type Person } from "../people.ts";

// What the host does is in tests/e2e/renew.test.ts; here a core is started on the folder of another device of the same account.
const { server, person, room } = useHomeserver();

const asideOf = (folder: string) => readdirSync(folder).filter((name) => /^crypto\.[0-9a-f]{16}.*\.db$/.test(name));
const newDeviceOf = async (one: Person) => sessionOf(await server().login(one.account), server().url);
const keysOf = async (core: Core) => (await core.ok("account.atRisk", {})).total;

/** An encrypted room of two in which both have written, so that each has room keys of both. */
async function chat(name: string) {
  const ana = await person(`${name}-ana`);
  const ben = await person(`${name}-ben`);
  const roomId = await room(ana, [ben], { encrypted: true, name: "chat" });
  await ana.core.send(roomId, "from ana");
  await ben.core.message(roomId, "from ana");
  await ben.core.send(roomId, "from ben");
  await ana.core.message(roomId, "from ben");
  return { ana, ben, roomId };
}
async function salvaged(core: Core): Promise<number> {
  const { roomKeys } = await core.ok("account.salvage", {});
  await core.stop();
  return roomKeys;
}

test(
  "the next device reads what the one before could, and both it and the other copy go on",
  { timeout: 300_000 },
  async () => {
    const { ana, ben, roomId } = await chat("copied");
    await ana.core.stop();
    const folder = makeFolder();
    cpSync(ana.core.folder, folder, { recursive: true });
    const after = ana.proxy.exchanges.at(-1)?.n ?? 0;
    const original = await startCore({ session: ana.core.session, folder: ana.core.folder, via: ana.proxy.url });
    await original.sync();
    // the copy asks once for the mark of the run before, and leaves its own in its place
    await ana.proxy.waitFor({ method: "PUT", path: /\/account_data\/chat\.tessera\.device_run\./ }, { after });
    const copy = await startCore({ session: ana.core.session, folder });
    await copy.sync();
    await copy.until(
      async () => (await copy.ok("deviceKeys.status", {})).problems.some(({ code }) => code === "cloned-profile"),
      "the copy's problem",
    );

    const had = await keysOf(copy);
    expect(await salvaged(copy)).toBe(had);
    const session = await newDeviceOf(ana);
    const renewed = await startCore({ session, folder });
    await renewed.until(async () => (await keysOf(renewed)) >= had, "the old keys");
    expect(asideOf(folder).length).toBeGreaterThan(0);
    expect((await renewed.ok("deviceKeys.status", {})).problems).toEqual([]);
    expect(texts(await renewed.history(roomId))).toEqual(["from ana", "from ben"]);

    await renewed.sync();
    await ben.core.sync();
    await ben.core.until(
      async () =>
        (await ben.core.ok("trust.recipients", { roomId })).receives.some(
          ({ deviceId }) => deviceId === session.deviceId,
        ),
      "ana's new device",
    );
    await ben.core.send(roomId, "to all of ana's devices");
    await renewed.message(roomId, "to all of ana's devices");
    await original.message(roomId, "to all of ana's devices");
    await renewed.send(roomId, "from the new device");
    await ben.core.message(roomId, "from the new device");
    await original.send(roomId, "from the original");
    await ben.core.message(roomId, "from the original");
    await renewed.message(roomId, "from the original");
    expect((await renewed.ok("deviceKeys.status", {})).problems).toEqual([]);
  },
);

test(
  "messages of before that come only now are read with the keys that were taken along",
  { timeout: 300_000 },
  async () => {
    const { ana, ben, roomId } = await chat("later");
    ana.proxy.setOnline(false);
    for (const body of ["one", "two"]) await ben.core.say(roomId, body);
    expect(await salvaged(ana.core)).toBeGreaterThan(0);
    ana.proxy.setOnline(true);
    // same session of ben's as "from ben": its key is with the old device alone, and in the salvage
    const renewed = await startCore({ session: await newDeviceOf(ana), folder: ana.core.folder, via: ana.proxy.url });
    await renewed.message(roomId, "one");
    await renewed.message(roomId, "two");
  },
);

/** Once crypto has started. */
const fingerprintOf = (core: Core) =>
  core.until(
    () =>
      Promise.resolve(
        core.events
          .flatMap((one) => (one.event === "account.changed" ? [one.payload.status] : []))
          .findLast((status) => status.at === "signed-in" && status.fingerprint !== undefined),
      ).then((status) => (status?.at === "signed-in" ? status.fingerprint : undefined)),
    "the fingerprint",
  );

test(
  "killed between the steps of the change: no key is missing, and the old crypto.db is never run again",
  { timeout: 300_000 },
  async () => {
    const { ana, roomId } = await chat("killed");
    const had = await keysOf(ana.core);
    const before = await fingerprintOf(ana.core);
    await salvaged(ana.core);
    const session = await newDeviceOf(ana);
    const { folder } = ana.core;
    // the files were moved, and nothing else was done yet
    moveCryptoAside(folder, ana.core.session.deviceId);
    const aside = asideOf(folder);
    expect(existsSync(path.join(folder, "crypto.db"))).toBe(false);
    for (let kills = 0; kills < 3; kills++) {
      const core = await startCore({ session, folder, via: ana.proxy.url, lastStopOrderly: false });
      // before crypto has started; after that, with keys on their way in; and later
      if (kills > 0) await fingerprintOf(core);
      if (kills > 1) await core.sync();
      await core.kill();
    }
    const renewed = await startCore({ session, folder, via: ana.proxy.url, lastStopOrderly: false });
    await renewed.until(async () => (await keysOf(renewed)) >= had, "the old keys");
    expect(asideOf(folder)).toEqual(aside);
    expect(texts(await renewed.history(roomId))).toEqual(["from ana", "from ben"]);
    const after = await fingerprintOf(renewed);
    expect(after).not.toBe(before);
    await renewed.stop();
    const again = await startCore({ session, folder, via: ana.proxy.url });
    expect(await fingerprintOf(again)).toBe(after);
    expect(asideOf(folder)).toEqual(aside);
  },
);

test(
  "a change that did not come to be: the old device goes on as it was, and what was put by for another is gone",
  { timeout: 300_000 },
  async () => {
    const { ana, ben, roomId } = await chat("given-up");
    const had = await keysOf(ana.core);
    const before = await fingerprintOf(ana.core);
    await salvaged(ana.core);
    const same = await startCore(sameAs(ana.core));
    expect(await fingerprintOf(same)).toBe(before);
    expect(asideOf(same.folder)).toEqual([]);
    await ben.core.send(roomId, "still there");
    await same.message(roomId, "still there");
    // every key once, not those of the first time as well
    expect(await same.ok("account.salvage", {})).toEqual({ roomKeys: await keysOf(same) });
    expect(await keysOf(same)).toBeGreaterThanOrEqual(had);
  },
);

test(
  "a message that may have gone out already is not sent twice by the next device: its writer is asked",
  { timeout: 300_000 },
  async () => {
    const { ana, ben, roomId } = await chat("queued");
    // its echo would say that it has arrived; a long poll that is under way brings none either
    ana.proxy.on(isSync, { kind: "rewrite-response", json: () => ({}), status: 502 });
    ana.proxy.on(isSend, { kind: "drop-response" });
    const itemId = await ana.core.send(roomId, "sent or not");
    await ben.core.message(roomId, "sent or not");
    await salvaged(ana.core);
    ana.proxy.clear();
    const renewed = await startCore({ session: await newDeviceOf(ana), folder: ana.core.folder, via: ana.proxy.url });
    await renewed.sync();
    const item = await renewed.item(roomId, (one) => one.itemId === itemId);
    expect(item).toMatchObject({ state: "failed", failure: { code: "timeout" } });
    expect(texts(await ben.core.load(roomId)).filter((body) => body === "sent or not")).toHaveLength(1);
  },
);

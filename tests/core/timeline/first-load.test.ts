import { beforeAll, expect, test } from "vitest";
import { startCore, sessionOf, texts } from "../core.ts";
import { holdSync, isSync, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// No silent gaps: a room that no sync has brought yet is not an empty one.
const { person, room, server, put, proxyFor } = useHomeserver();
let ana: Person;

beforeAll(async () => {
  ana = await person("ana");
});

test("a room that was just made is read once its sync is there, not shown empty", async () => {
  const hold = await holdSync(ana);
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group", name: "new" });
  const asked = ana.core.ok("timeline.load", { roomId });
  // once this is answered, that one has found nothing
  await ana.core.ok("rooms.list", {});
  hold.release();
  const page = await asked;
  expect(page.from).toBe("server");
  expect(page.items[0]).toMatchObject({ kind: "state", change: { kind: "created" } });
});

test("what is on its way out is shown at once, and that there is more", async () => {
  const hold = await holdSync(ana);
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
  const itemId = await ana.core.send(roomId, "the first words");
  const page = await ana.core.ok("timeline.load", { roomId });
  expect(page.items.map((item) => item.itemId)).toEqual([itemId]);
  const before = page.before ?? "";
  expect(before).not.toBe("");
  const older = ana.core.ok("timeline.load", { roomId, before });
  hold.release();
  expect((await older).items[0]).toMatchObject({ change: { kind: "created" } });
});

test("without the server it says so, and is answered once the server is back", async () => {
  const hold = await holdSync(ana);
  const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
  ana.proxy.setOnline(false);
  hold.remove();
  expect(await ana.core.call("timeline.load", { roomId })).toMatchObject({
    ok: false,
    error: { code: "unreachable", retryable: true },
  });
  ana.proxy.setOnline(true);
  await ana.core.reconnected();
  expect((await ana.core.load(roomId)).length).toBeGreaterThan(0);
});

test("at the first sign-in a room that is listed before the first sync is read when that has come", async () => {
  const roomId = await room(ana, [], { encrypted: false, name: "from before" });
  await put(ana.account, roomId, "m.room.message", { msgtype: "m.text", body: "from before" });
  const device = await server().login(ana.account);
  const proxy = await proxyFor();
  const hold = proxy.on(isSync, { kind: "hold" });
  const second = await startCore({ session: sessionOf(device, server().url), via: proxy.url });
  await second.room(roomId);
  const asked = second.ok("timeline.load", { roomId });
  const again = second.ok("account.sync", {});
  hold.release();
  expect(texts((await asked).items)).toEqual(["from before"]);
  await again;
  // the first sync was not begun anew by those who wait for it
  expect(proxy.seen({ ...isSync, when: (one) => !one.query.has("since") })).toHaveLength(1);
  await second.stop();
});

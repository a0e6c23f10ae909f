import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { CollectStrategy, RoomId, UserId } from "@matrix-org/matrix-sdk-crypto-wasm";
import { beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { startCrypto } from "../../../main/core/matrix/client.ts";
import { megolm, type Crypto, type Sharing } from "../../../main/core/matrix/crypto.ts";
import { createHttp } from "../../../main/core/matrix/http.ts";
import { openCryptoStore } from "../../../main/core/storage/crypto-store/index.ts";
import { restarted, sessionOf } from "../core.ts";
import { useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// When a room's key is replaced, and when not. README.md has the list; devices that go are tested with trust.
const { person, account, room, server, putState, event } = useHomeserver();
let ana: Person;
let ben: Person;
let cem: Person;

beforeAll(async () => {
  [ana, ben, cem] = await Promise.all([person("ana"), person("ben"), person("cem")]);
});

const isKeySharing = { method: "PUT", path: /\/sendToDevice\/m\.room\.encrypted\// };
/** Says it and answers the Megolm session that it was said in. */
const sessionOfSaying = async (who: Person, roomId: string, body: string): Promise<string> => {
  const said = await who.core.say(roomId, body);
  return String((await event(who.account, roomId, said.eventId ?? "")).content["session_id"]);
};
const roomThatRotates = async (rotation: object, others: Person[]): Promise<string> => {
  const roomId = await room(ana, others, { encrypted: false });
  await putState(ana.account, roomId, "m.room.encryption", { algorithm: megolm, ...rotation });
  await ana.core.until(async () => (await ana.core.room(roomId)).encrypted, "the room's encryption");
  return roomId;
};

test("room key cycled after enough messages, as the room says, and not before", async () => {
  const roomId = await roomThatRotates({ rotation_period_msgs: 3 }, [ben]);
  const sessions: string[] = [];
  for (let n = 1; n <= 7; n++) sessions.push(await sessionOfSaying(ana, roomId, `message ${n}`));
  expect(sessions.map((session) => [...new Set(sessions)].indexOf(session))).toEqual([0, 0, 0, 1, 1, 1, 2]);
  for (let n = 1; n <= 7; n++) await ben.core.message(roomId, `message ${n}`);
});

test("room key not cycled on restart", async () => {
  const roomId = await room(ana, [ben]);
  const before = await sessionOfSaying(ana, roomId, "before");
  ana = { ...ana, core: await restarted(ana.core) };
  expect(await sessionOfSaying(ana, roomId, "after a restart")).toBe(before);
  ben = { ...ben, core: await restarted(ben.core) };
  expect(await sessionOfSaying(ana, roomId, "after the other's restart")).toBe(before);
  await ben.core.message(roomId, "after the other's restart");
});

test("room key not cycled when somebody joins, changes their name or gets a new device", async () => {
  const roomId = await room(ana, [ben]);
  const before = await sessionOfSaying(ana, roomId, "before");
  await ana.core.ok("rooms.invite", { roomId, userId: cem.userId });
  await cem.core.room(roomId);
  await cem.core.ok("rooms.join", { room: roomId });
  await putState(ben.account, roomId, "m.room.member", { membership: "join", displayname: "Benjamin" }, ben.userId);
  await ana.core.item(roomId, (item) => item.change?.kind === "renamed-person");
  const second = await person("ben", await server().login(ben.account));
  // whoever has not heard of the new device yet cannot write to it
  await ana.core.sync();
  expect(await sessionOfSaying(ana, roomId, "after")).toBe(before);
  await Promise.all([ben, cem, second].map((one) => one.core.message(roomId, "after")));
  await second.core.stop();
});

test.each([
  ["leaves", (roomId: string) => cem.core.ok("rooms.leave", { roomId })],
  ["is removed", (roomId: string) => ana.core.ok("rooms.remove", { roomId, userId: cem.userId })],
] as const)("room key cycled when a member %s: they get no key of what is said after", async (_, go) => {
  const roomId = await room(ana, [ben, cem]);
  const before = await sessionOfSaying(ana, roomId, "to all");
  await go(roomId);
  await ana.core.item(roomId, (item) => item.change?.kind === "left" || item.change?.kind === "removed");
  ana.proxy.clear();
  expect(await sessionOfSaying(ana, roomId, "to those who stayed")).not.toBe(before);
  await ben.core.message(roomId, "to those who stayed");
  const shared = ana.proxy.seen(isKeySharing).map((one) => String(one.requestBody));
  expect(shared.length).toBeGreaterThan(0);
  expect(shared.filter((body) => body.includes(cem.userId))).toEqual([]);
});

test("room key cycled on stricter history visibility: the invited no longer get it", async () => {
  const roomId = await room(ana, [ben]);
  await ana.core.ok("rooms.invite", { roomId, userId: cem.userId });
  await cem.core.room(roomId);
  const before = await sessionOfSaying(ana, roomId, "the invited may read this");
  await putState(ana.account, roomId, "m.room.history_visibility", { history_visibility: "joined" });
  await ana.core.sync();
  ana.proxy.clear();
  expect(await sessionOfSaying(ana, roomId, "members alone may read this")).not.toBe(before);
  await ben.core.message(roomId, "members alone may read this");
  const shared = ana.proxy.seen(isKeySharing).map((one) => String(one.requestBody));
  expect(shared.filter((body) => body.includes(cem.userId))).toEqual([]);
  await cem.core.ok("rooms.join", { room: roomId });
  expect((await cem.core.message(roomId, "the invited may read this")).kind).toBe("text");
});

test("room key cycled after enough time; Rust crypto takes no period below an hour", async () => {
  const crypto = await lonelyCrypto();
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const hour = 3_600_000;
  const later = (ms: number) => vi.setSystemTime(Date.now() + ms);
  const weekly = async () => await crypto("!week:tessera.test", 7 * 24 * hour);
  const hasty = async () => await crypto("!hasty:tessera.test", 60_000);
  const [first, firstHasty] = [await weekly(), await hasty()];
  later(10 * 60_000);
  expect(await hasty()).toBe(firstHasty);
  later(hour);
  expect(await hasty()).not.toBe(firstHasty);
  later(6 * 24 * hour);
  expect(await weekly()).toBe(first);
  later(24 * hour);
  expect(await weekly()).not.toBe(first);
});

/** Rust crypto in this thread, whose clock can be set; answers the session of a message said after so long a period. */
async function lonelyCrypto() {
  const folder = await mkdtemp(path.join(tmpdir(), "tessera-rotation-"));
  const store = openCryptoStore({ file: path.join(folder, "crypto.db"), key: new Uint8Array(32).fill(7) });
  const mine = await account("lonely");
  const http = createHttp({ homeserver: server().url, accessToken: mine.accessToken, proxy: {} });
  onTestFinished(async () => {
    await http.close();
    store.close();
    await rm(folder, { recursive: true, force: true });
  });
  const crypto = await startCrypto(sessionOf(mine, server().url), http, store);
  return async (roomId: string, rotationPeriodMs: number): Promise<string> => {
    const wire = await crypto.encrypt({
      roomId,
      members: [mine.userId],
      encryption: { algorithm: megolm, rotationPeriodMs },
      historyVisibility: "shared",
      sharing: withAll(crypto, roomId, mine.userId),
      type: "m.room.message",
      content: { msgtype: "m.text", body: "x" },
    });
    return String(wire["session_id"]);
  };
}
const withAll = (crypto: Crypto, roomId: string, userId: string): Sharing => ({
  check: () => Promise.resolve(),
  share: async (settings) => {
    settings.sharingStrategy = CollectStrategy.allDevices();
    return await crypto.inner.machine.shareRoomKey(new RoomId(roomId), [new UserId(userId)], settings);
  },
  shared: () => undefined,
});

import { expect, test } from "vitest";
import { useHomeserver } from "../people.ts";
import { setUp } from "../verification/verifying.ts";

const { server, person, room } = useHomeserver();
const isOneKey = { method: "GET", path: /\/room_keys\/keys\/[^/]+\/[^/]+$/ };
const isMany = { method: "GET", path: /\/room_keys\/keys(\/[^/]+)?$/ };

test("an undecryptable message asks the backup for its own session, and says so where it is not there", async () => {
  const ana = await person("ana");
  const ben = await person("ben");
  const recoveryKey = await setUp(ana);
  await setUp(ben);
  const roomId = await room(ana, [ben]);
  await ana.core.say(roomId, "in the backup");
  await ana.core.until(async () => {
    const status = await ana.core.ok("backup.status", {});
    return status.at === "on" && status.backedUp === status.total && status.total > 0;
  }, "the backup");
  await ana.core.stop();

  const again = await person("again", await server().login(ana.account));
  await again.core.room(roomId);
  await again.core.history(roomId);
  await again.core.item(roomId, (item) => item.kind === "undecryptable", "an unreadable message");
  expect(again.proxy.seen(isOneKey)).toEqual([]);
  await again.core.ok("trust.recover", { recoveryKey });
  await again.core.message(roomId, "in the backup");
  expect(again.proxy.seen(isOneKey).length).toBeGreaterThan(0);
  expect(again.proxy.seen(isMany)).toEqual([]);
});

test.each([
  ["breaks off", { kind: "drop" }],
  ["refuses", { kind: "status", status: 400, body: { errcode: "M_UNKNOWN" } }],
] as const)("a session for which the server always %s holds up no other", async (_, fault) => {
  const ana = await person("ana");
  const recoveryKey = await setUp(ana);
  const roomIds: string[] = [];
  for (let n = 0; n < 3; n++) {
    const { roomId } = await ana.core.ok("rooms.create", { kind: "group" });
    await ana.core.say(roomId, "in the backup");
    roomIds.push(roomId);
  }
  await ana.core.until(async () => {
    const status = await ana.core.ok("backup.status", {});
    return status.at === "on" && status.backedUp === 3;
  }, "the backup");
  await ana.core.stop();
  const again = await person("again", await server().login(ana.account));
  for (const roomId of roomIds) {
    await again.core.room(roomId);
    await again.core.history(roomId);
  }
  // whichever is asked for first
  let first: string | undefined;
  again.proxy.on({ ...isOneKey, when: ({ path }) => path === (first ??= path) }, fault);
  await again.core.ok("trust.recover", { recoveryKey });
  const readable = async () => {
    const loaded = await Promise.all(roomIds.map((roomId) => again.core.load(roomId)));
    return loaded.filter((items) => items.some((item) => item.body === "in the backup")).length;
  };
  await again.core.until(async () => (await readable()) === 2, "the two others");
  expect(first).toBeDefined();
});

test("a session that the backup lacks is asked for once, and the message says that it was looked for", async () => {
  const ana = await person("ana");
  const ben = await person("ben");
  await setUp(ana);
  await setUp(ben);
  // a backup that is opened later than the message came would be asked once more
  await ana.core.nextEvent("backup.changed", ({ status }) => status.at === "on");
  const roomId = await room(ana, [ben]);
  // the key never arrives
  ana.proxy.on(
    { path: /\/v3\/sync$/ },
    {
      kind: "rewrite-response",
      json: (body) => ({ ...(body as object), to_device: { events: [] } }),
    },
  );
  await ana.core.sync();
  await ben.core.say(roomId, "lost");
  const item = await ana.core.item(
    roomId,
    (one) => one.undecryptable?.tried.includes("backup") === true,
    "a message that was looked for",
  );
  expect(item.kind).toBe("undecryptable");
  const asked = ana.proxy.seen(isOneKey).length;
  expect(asked).toBe(1);
  await ana.core.ok("timeline.retryDecryption", { roomId, itemId: item.itemId });
  await ana.core.sync();
  expect(ana.proxy.seen(isOneKey).length).toBe(asked);
});

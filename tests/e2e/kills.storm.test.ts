import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { AppGone } from "./headless-app.ts";
import {
  conversation,
  joinedChat,
  newPerson,
  onServer,
  password,
  received,
  sent,
  texts,
  type Person,
} from "./people.ts";
import { randomFrom, stormSeed } from "./random.ts";

// in full: TESSERA_FULL=1
const full = process.env["TESSERA_FULL"] === "1";
const rounds = { afterAnswer: full ? 50 : 3, random: full ? 50 : 4, sendAtOnce: full ? 20 : 2 };
const timeoutMs = full ? 30 * 60_000 : 5 * 60_000;

let homeserver: Homeserver;
let proxy: FaultProxy;
let ana: Person;
let ben: Person;
let roomId: string;

beforeEach(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  [ana, ben] = await Promise.all([newPerson(proxy.url, "ana"), newPerson(homeserver.url, "ben")]);
  roomId = await joinedChat(ana, ben);
});
afterEach(async () => {
  await Promise.all([ana.app.remove(), ben.app.remove()]);
  await proxy.stop();
  await homeserver.stop();
});

/** Encrypted events of a person as the server holds them, without asking the app. */
async function encryptedFrom(userId: string): Promise<number> {
  const { accessToken } = await homeserver.login({ userId: ben.userId, localpart: "ben", password });
  const events = await onServer(homeserver, accessToken, roomId);
  return events.filter((event) => event.type === "m.room.encrypted" && event.sender === userId).length;
}

/** Every send into a room of this proxy, by event type. */
const sentTypes = () =>
  proxy.seen({ method: "PUT", path: /\/rooms\/[^/]+\/send\// }).map((one) => /\/send\/([^/]+)\//.exec(one.path)?.[1]);

test(
  `killed right after timeline.send answered, a message is sent exactly once (${rounds.afterAnswer} rounds)`,
  { timeout: timeoutMs },
  async () => {
    const random = randomFrom(stormSeed);
    const wanted: string[] = [];
    for (let round = 1; round <= rounds.afterAnswer; round++) {
      const body = `answered ${round}`;
      const { itemId } = await ana.app.call("timeline.send", { roomId, body });
      wanted.push(body);
      // now and then the request is already under way, or its answer
      if (round % 2 === 0) await sleep(random() * 30);
      await ana.app.kill("SIGKILL");
      await ana.app.start();
      expect((await conversation(ana.app, roomId)).filter((item) => item.body === body)).toMatchObject([{ itemId }]);
      await sent(ana.app, roomId, itemId);
    }
    for (const body of wanted) await received(ben.app, roomId, body);
    expect(await texts(ben.app, roomId)).toEqual(wanted);
    await ana.app.call("account.sync", {});
    expect(await texts(ana.app, roomId)).toEqual(wanted);
    expect(await encryptedFrom(ana.userId)).toBe(rounds.afterAnswer);
    expect(new Set(sentTypes())).toEqual(new Set(["m.room.encrypted"]));
  },
);

test(
  `kills at random moments of a chat lose nothing that was acknowledged, double nothing, keep the order (${rounds.random} kills, seed ${stormSeed})`,
  { timeout: timeoutMs },
  async () => {
    const random = randomFrom(stormSeed + 1);
    const acknowledged = { ana: [] as string[], ben: [] as string[] };
    /** What was asked for and not answered may have been taken or not. */
    const unsure = new Set<string>();
    let count = 0;

    const write = async (person: Person, mine: string[]) => {
      const body = `${person.user} ${++count}`;
      try {
        await person.app.call("timeline.send", { roomId, body });
        mine.push(body);
      } catch (error) {
        if (!(error instanceof AppGone)) throw error;
        unsure.add(body);
      }
    };
    for (let kill = 0; kill < rounds.random; kill++) {
      const [victim, victims, other, others] =
        random() < 0.5
          ? [ana, acknowledged.ana, ben, acknowledged.ben]
          : [ben, acknowledged.ben, ana, acknowledged.ana];
      const untilMs = performance.now() + random() * 900;
      const killed = sleep(untilMs - performance.now()).then(() => victim.app.kill("SIGKILL"));
      const chatting = (async () => {
        while (performance.now() < untilMs) {
          await write(victim, victims);
          if (random() < 0.4) await write(other, others);
          if (random() < 0.3) await sleep(random() * 60);
        }
      })();
      await Promise.all([killed, chatting]);
      await victim.app.start();
    }
    const lasts = await Promise.all(
      [ana, ben].map(async ({ app, user }) => {
        const { itemId } = await app.call("timeline.send", { roomId, body: `${user} is done` });
        await sent(app, roomId, itemId);
        return `${user} is done`;
      }),
    );
    for (const { app } of [ana, ben]) for (const body of lasts) await received(app, roomId, body);
    for (const { app } of [ana, ben]) {
      await app.call("account.sync", {});
      // what a kill left between its coming and its being read is tried again some time after the start
      const items = await eventually(
        () => conversation(app, roomId),
        (all) => all.every((item) => item.kind !== "undecryptable"),
      );
      const ids = items.flatMap((item) => item.eventId ?? []);
      expect(new Set(ids).size).toBe(ids.length);
      const bodies = items
        .filter((item) => item.kind === "text" && !lasts.includes(item.body))
        .map((item) => item.body);
      expect(new Set(bodies).size).toBe(bodies.length);
      for (const [user, mine] of Object.entries(acknowledged))
        expect(bodies.filter((body) => body.startsWith(`${user} `) && !unsure.has(body))).toEqual(mine);
      const strangers = bodies.filter(
        (body) => !acknowledged.ana.includes(body) && !acknowledged.ben.includes(body) && !unsure.has(body),
      );
      expect(strangers).toEqual([]);
    }
    expect(await texts(ana.app, roomId)).toEqual(await texts(ben.app, roomId));
  },
);

test(
  `killed, restarted and sending at once, nothing but m.room.encrypted leaves for an encrypted room (${rounds.sendAtOnce} rounds)`,
  { timeout: timeoutMs },
  async () => {
    const random = randomFrom(stormSeed + 2);
    await ben.app.call("timeline.send", { roomId, body: "settled" });
    await received(ana.app, roomId, "settled");
    const wanted = ["settled"];
    for (let round = 1; round <= rounds.sendAtOnce; round++) {
      const offline = round % 2 === 1;
      await sleep(random() * 200);
      await ana.app.kill("SIGKILL");
      if (offline) proxy.setOnline(false);
      await ana.app.start();
      const body = `at once ${round}`;
      const { itemId } = await ana.app.call("timeline.send", { roomId, body });
      wanted.push(body);
      if (offline) {
        await ana.app.kill("SIGKILL");
        await ana.app.start();
        expect((await conversation(ana.app, roomId)).find((item) => item.itemId === itemId)).toMatchObject({ body });
        proxy.setOnline(true);
        // the network is back: nobody has to wait out the pause between two tries
        await ana.app.ask("account.sync", {});
      }
      await sent(ana.app, roomId, itemId);
      await received(ben.app, roomId, body);
    }
    expect(await texts(ben.app, roomId)).toEqual(wanted);
    expect(sentTypes().length).toBeGreaterThanOrEqual(rounds.sendAtOnce);
    expect(new Set(sentTypes())).toEqual(new Set(["m.room.encrypted"]));
    const clear = proxy.exchanges.filter((one) => wanted.some((body) => one.requestBody.includes(body)));
    expect(clear.map((one) => one.path)).toEqual([]);
  },
);

test(
  "rooms.create with encryption and a kill at once: the first message is encrypted all the same",
  { timeout: timeoutMs },
  async () => {
    const made = await ana.app.call("rooms.create", { kind: "group", name: "New", invite: [ben.userId] });
    await ana.app.kill("SIGKILL");
    await ana.app.start();
    const { itemId } = await ana.app.call("timeline.send", { roomId: made.roomId, body: "first of all" });
    await sent(ana.app, made.roomId, itemId);
    expect(new Set(sentTypes())).toEqual(new Set(["m.room.encrypted"]));
  },
);

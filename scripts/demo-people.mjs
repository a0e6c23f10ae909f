// The people of the demo: who they are, what they have written to each other, and how Ben answers.
import { setTimeout as sleep } from "node:timers/promises";
import { received } from "../tests/e2e/people.ts";

export const password = "a demo on loopback";
export const people = [
  { name: "ana", displayName: "Ana" },
  { name: "ben", displayName: "Ben" },
  { name: "cleo", displayName: "Cleo" },
];

const readAfterMs = 500;
const answerAfterMs = 1200;
const answers = [
  "Good to hear from you!",
  "Sounds good to me.",
  "Let me think about it over a coffee.",
  "Ha, that is just what I was going to say.",
  "Of course. Shall I bring something?",
];

/** Writes in turn, each once the one before has arrived at the last writer's friend. */
async function converse(roomId, lines, reader) {
  for (const [writer, body] of lines) {
    await writer.app.call("timeline.send", { roomId, body, format: "markdown" });
    await received(reader(writer).app, roomId, body);
  }
}

async function create(by, input, ...invited) {
  const { roomId } = await by.app.call("rooms.create", { ...input, invite: invited.map(({ userId }) => userId) });
  for (const { app } of invited) {
    await app.call("account.sync", {});
    await app.call("rooms.join", { room: roomId });
  }
  await by.app.call("account.sync", {});
  return roomId;
}

async function markRead({ app }, roomId) {
  const { items } = await app.call("timeline.load", { roomId, limit: 5 });
  const last = items.findLast((item) => item.kind === "text" && item.state === "sent");
  if (last !== undefined) await app.call("timeline.markRead", { roomId, itemId: last.itemId });
}

/** Encrypted rooms with some life in them. `before()` writes what nobody has read when the window opens. */
export async function fillRooms(ana, ben, cleo) {
  const chat = await create(ben, { kind: "dm" }, ana);
  const dinner = await create(cleo, { kind: "dm" }, ana);
  const hikes = await create(cleo, { kind: "group", name: "Sunday hikes" }, ana, ben);
  const flat = await create(ana, { kind: "group", name: "Flat 12" }, cleo);

  await converse(
    flat,
    [
      [ana, "The plumber comes on **Thursday** at nine."],
      [cleo, "I can be there and let him in."],
    ],
    (writer) => (writer === ana ? cleo : ana),
  );
  await converse(
    hikes,
    [
      [cleo, "Who is in for Sunday? The forecast looks lovely."],
      [ben, "I am. The ridge path, if the bridge is open again?"],
      [ana, "Count me in. I will look up the bridge tonight."],
    ],
    (writer) => (writer === ana ? ben : ana),
  );
  await converse(
    chat,
    [
      [ben, "Hi Ana! Did you find your way around here?"],
      [ana, "I did. It was up before I had put the kettle on."],
      [ben, "And nobody reads along: only your devices and mine have the keys."],
      [ana, "That is rather the point. Are you coming on Sunday?"],
      [ben, "Wouldn't miss it. I am bringing *the good* sandwiches."],
    ],
    (writer) => (writer === ana ? ben : ana),
  );
  await Promise.all([chat, hikes, flat].map((roomId) => markRead(ana, roomId)));
  await Promise.all([chat, hikes].map((roomId) => markRead(ben, roomId)));
  return {
    roomId: chat,
    before: () =>
      converse(hikes, [[cleo, "The bridge is open! Nine o'clock at the station?"]], () => ben).then(async () => {
        for (const body of ["Dinner at mine on Friday?", "I am trying the recipe with the aubergines."])
          await cleo.app.call("timeline.send", { roomId: dinner, body });
        await received(cleo.app, dinner, "I am trying the recipe with the aubergines.");
        await untilSent(cleo.app, dinner);
      }),
  };
}

async function untilSent(app, roomId) {
  for (;;) {
    const { items } = await app.call("timeline.load", { roomId, limit: 10 });
    if (items.every((item) => item.state === "sent")) return;
    await sleep(50);
  }
}

/** Ben reads what Ana writes, answers her in their own chat, and accepts her invitations. */
export function keepAnswering({ app, userId }, whom) {
  const seen = new Set();
  let count = 0;
  let turn = Promise.resolve();

  async function answer(roomId, item) {
    await sleep(readAfterMs);
    await app.call("timeline.markRead", { roomId, itemId: item.itemId });
    const room = (await app.call("rooms.list", {})).find((each) => each.roomId === roomId);
    if (room?.kind !== "dm") return;
    await sleep(answerAfterMs);
    const quoted = item.body.split("\n", 1)[0].slice(0, 60);
    const body = count === 0 ? `You wrote “${quoted}”. ${answers[0]}` : answers[count % answers.length];
    count += 1;
    await app.call("timeline.send", { roomId, body });
  }

  async function acceptInvitations() {
    for (const room of await app.call("rooms.list", {}))
      if (room.membership === "invite" && room.inviter === whom) await app.call("rooms.join", { room: room.roomId });
  }

  const startedMs = Date.now();
  const inTurn = (work) => {
    // a command that fails because the demo is ending needs no words
    turn = turn.then(work).catch(() => undefined);
  };
  void (async () => {
    for (let from = app.events.length; ;) {
      const event = await app.waitFor(
        ({ event: name }) => name === "timeline.changed" || name === "rooms.changed",
        from,
      );
      from = app.events.indexOf(event, from) + 1;
      if (event.event === "rooms.changed") inTurn(acceptInvitations);
      else
        for (const item of event.payload.items)
          if (item.sender !== userId && item.kind === "text" && item.sentAtMs > startedMs && !seen.has(item.itemId)) {
            seen.add(item.itemId);
            inTurn(() => answer(event.payload.roomId, item));
          }
    }
  })();
}

import { randomBytes } from "node:crypto";
import { startHomeserver, type Account, type Homeserver } from "../homeserver/homeserver.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import { joinedChat, newPerson, received, type Person } from "../e2e/people.ts";
import { atLeast, atMost, quantile, rounded, spread, type BenchResult } from "./result.ts";

const warmUps = 20;
const messages = 200;
const queued = 1000;

type BareRoom = { account: Account; roomId: string };

/** A room of two like ours, written to without any app. */
async function bareRoom(homeserver: Homeserver): Promise<BareRoom> {
  const account = await homeserver.register("bare");
  const other = await homeserver.register("bare-friend");
  const { room_id: roomId } = await homeserver.api<{ room_id: string }>("POST", "v3/createRoom", {
    token: account.accessToken,
    body: { preset: "trusted_private_chat", invite: [other.userId] },
  });
  await homeserver.api("POST", `v3/join/${encodeURIComponent(roomId)}`, { token: other.accessToken, body: {} });
  return { account, roomId };
}

/** An event of the size that an encrypted short message has. */
const wire = () => ({
  algorithm: "m.megolm.v1.aes-sha2",
  sender_key: randomBytes(32).toString("base64"),
  session_id: randomBytes(32).toString("base64"),
  device_id: "ABCDEFGHIJ",
  ciphertext: randomBytes(240).toString("base64"),
});

async function barePut(homeserver: Homeserver, { account, roomId }: BareRoom): Promise<number> {
  const fromMs = performance.now();
  await homeserver.api(
    "PUT",
    `v3/rooms/${encodeURIComponent(roomId)}/send/m.room.encrypted/${randomBytes(8).toString("hex")}`,
    { token: account.accessToken, body: wire() },
  );
  return performance.now() - fromMs;
}

const hasItem = (person: Person, from: number, matches: (item: Item) => boolean) =>
  person.app.waitFor(
    ({ event, payload }) => event === "timeline.changed" && (payload as { items: Item[] }).items.some(matches),
    from,
  );

async function oneMessage(from: Person, to: Person, roomId: string, body: string) {
  const marks = { from: from.app.events.length, to: to.app.events.length };
  const startMs = performance.now();
  const readable = hasItem(to, marks.to, (item) => item.body === body && item.kind === "text").then(() =>
    performance.now(),
  );
  await from.app.call("timeline.send", { roomId, body });
  await hasItem(from, marks.from, (item) => item.body === body && item.state === "sent");
  const acknowledgedMs = performance.now() - startMs;
  return { acknowledgedMs, readableMs: (await readable) - startMs };
}

async function rateOfBare(homeserver: Homeserver, room: BareRoom, count: number): Promise<number> {
  const fromMs = performance.now();
  for (let index = 0; index < count; index++) await barePut(homeserver, room);
  return (count / (performance.now() - fromMs)) * 1000;
}

/** Listens only: a question at each event would be work for the app that is being measured. */
async function rateOfQueue(person: Person, roomId: string, what: string): Promise<number> {
  const mark = person.app.events.length;
  const fromMs = performance.now();
  const last = `${what} ${queued - 1}`;
  const drained = hasItem(person, mark, (item) => item.body === last && item.state === "sent");
  for (let index = 0; index < queued; index++)
    void person.app.ask("timeline.send", { roomId, body: `${what} ${index}` });
  await drained;
  return (queued / (performance.now() - fromMs)) * 1000;
}

/** Two headless apps in an encrypted chat, against bare PUTs of events of that size to the same server, in turns. */
export async function bench(): Promise<BenchResult> {
  const homeserver = await startHomeserver();
  const [ana, ben] = await Promise.all([newPerson(homeserver.url, "ana"), newPerson(homeserver.url, "ben")]);
  try {
    const roomId = await joinedChat(ana, ben);
    const bare = await bareRoom(homeserver);
    const acknowledged: number[] = [];
    const readable: number[] = [];
    const put: number[] = [];
    for (let index = 0; index < warmUps + messages; index++) {
      const one = await oneMessage(ana, ben, roomId, `message ${index}`);
      const bareMs = await barePut(homeserver, bare);
      if (index < warmUps) continue;
      acknowledged.push(one.acknowledgedMs);
      readable.push(one.readableMs);
      put.push(bareMs);
    }
    const before = await rateOfBare(homeserver, bare, queued / 2);
    const drain = await rateOfQueue(ana, roomId, "queued");
    const after = await rateOfBare(homeserver, bare, queued / 2);
    await received(ben.app, roomId, `queued ${queued - 1}`);
    // nobody listens to the bare PUTs either
    await ben.app.stop();
    const alone = await rateOfQueue(ana, roomId, "alone");
    const last = await rateOfBare(homeserver, bare, queued / 2);
    const bareRate = 3 / (1 / before + 1 / after + 1 / last);
    const ratio = quantile(acknowledged, 0.5) / quantile(put, 0.5);
    return {
      name: "chat",
      rows: [
        spread("bare PUT", put),
        spread("send to acknowledged", acknowledged),
        spread("send to decrypted on the other side", readable),
        { what: "bare PUTs, one after the other", "per second": rounded(bareRate) },
        { what: `${queued} queued messages drain while the friend reads along`, "per second": rounded(drain) },
        { what: `${queued} queued messages drain while the friend is away`, "per second": rounded(alone) },
      ],
      targets: [
        atMost("acknowledged, p50, against the bare PUT", ratio, 1.5, "×"),
        atLeast(
          "queue drained while the friend reads along, against the bare PUT's rate",
          (drain / bareRate) * 100,
          70,
          "%",
        ),
        atLeast(
          "queue drained while the friend is away, against the bare PUT's rate",
          (alone / bareRate) * 100,
          70,
          "%",
        ),
      ],
    };
  } finally {
    await Promise.all([ana.app.remove(), ben.app.remove()]);
    await homeserver.stop();
  }
}

import type { Item } from "../../preload/contract/timeline.ts";
import type { Homeserver } from "../homeserver/homeserver.ts";
import { openHeadless, type HeadlessApp, type HeadlessOptions } from "./headless-app.ts";

export const password = "a password of some length";

export type Person = { app: HeadlessApp; userId: string; deviceId: string; user: string };

/** A new account on the homeserver, made and signed in by the app itself. `url`: where the app finds the homeserver. */
export async function newPerson(url: string, user: string, options: HeadlessOptions = {}): Promise<Person> {
  const app = await openHeadless(options);
  try {
    const { userId, deviceId } = await app.call("account.register", { homeserver: url, user, password });
    await app.call("account.sync", {});
    return { app, userId, deviceId, user };
  } catch (error) {
    await app.remove();
    throw error;
  }
}

/** An encrypted direct chat that both have joined. */
export async function joinedChat(from: Person, to: Person): Promise<string> {
  const { roomId } = await from.app.call("rooms.create", { kind: "dm", invite: [to.userId] });
  await to.app.call("account.sync", {});
  await to.app.call("rooms.join", { room: roomId });
  await from.app.call("account.sync", {});
  return roomId;
}

/** The whole conversation as the app shows it, oldest first, paged as far back as there is anything. */
export async function conversation(app: HeadlessApp, roomId: string, account?: string): Promise<Item[]> {
  let page = await app.call("timeline.load", { roomId, limit: 1000 }, account);
  const items = [...page.items];
  while (page.before !== undefined) {
    page = await app.call("timeline.load", { roomId, limit: 1000, before: page.before }, account);
    items.unshift(...page.items);
  }
  return items;
}

export async function texts(app: HeadlessApp, roomId: string): Promise<string[]> {
  return (await conversation(app, roomId)).filter((item) => item.kind === "text").map((item) => item.body);
}

/** Resolves once an item of the room satisfies `matches`, looking anew at each change of the conversation. */
export async function itemThat(app: HeadlessApp, roomId: string, matches: (item: Item) => boolean): Promise<Item> {
  for (;;) {
    const from = app.events.length;
    const { items } = await app.call("timeline.load", { roomId, limit: 200 });
    const found = items.findLast(matches);
    if (found !== undefined) return found;
    await app.waitFor(
      (event) => event.event === "timeline.changed" && (event.payload as { roomId: string }).roomId === roomId,
      from,
    );
  }
}

export const received = (app: HeadlessApp, roomId: string, body: string): Promise<Item> =>
  itemThat(app, roomId, (item) => item.kind === "text" && item.body === body);
export const sent = (app: HeadlessApp, roomId: string, itemId: string): Promise<Item> =>
  itemThat(app, roomId, (item) => item.itemId === itemId && item.state === "sent");

export type StoredEvent = { type: string; event_id: string; sender: string; content: Record<string, unknown> };

/** What the homeserver has of a room, oldest first, asked for without the app. */
export async function onServer(homeserver: Homeserver, token: string, roomId: string): Promise<StoredEvent[]> {
  const all: StoredEvent[] = [];
  let from: string | undefined;
  do {
    const page = await homeserver.api<{ chunk: StoredEvent[]; end?: string }>(
      "GET",
      `v3/rooms/${encodeURIComponent(roomId)}/messages`,
      { token, query: { dir: "b", limit: "500", ...(from === undefined ? {} : { from }) } },
    );
    all.push(...page.chunk);
    from = page.end;
  } while (from !== undefined);
  return all.reverse();
}

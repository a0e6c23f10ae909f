/** The order of the room list and what a filter leaves of it. Pure. */
import type { Room } from "../../../../preload/contract/rooms.ts";

export function arrange(rooms: Iterable<Room>): { joined: Room[]; invited: Room[] } {
  const joined: Room[] = [];
  const invited: Room[] = [];
  for (const room of rooms) {
    if (room.kind === "space") continue;
    if (room.membership === "join") joined.push(room);
    else if (room.membership === "invite") invited.push(room);
  }
  const newestFirst = (a: Room, b: Room): number =>
    Number(b.favourite) - Number(a.favourite) || b.lastActivityMs - a.lastActivityMs || (a.roomId < b.roomId ? -1 : 1);
  return { joined: joined.sort(newestFirst), invited: invited.sort(newestFirst) };
}

const plain = (text: string): string => text.normalize("NFD").replace(/\p{M}/gu, "").toLocaleLowerCase();

/** Rooms whose name, or whose person's address, holds every word; those that begin with the text come first. */
export function matching(rooms: readonly Room[], text: string): readonly Room[] {
  const wanted = plain(text.trim());
  if (wanted === "") return rooms;
  const words = wanted.split(/\s+/);
  const begins: Room[] = [];
  const holds: Room[] = [];
  for (const room of rooms) {
    const name = plain(room.name);
    const hay = `${name} ${room.directUserId?.toLowerCase() ?? ""}`;
    if (!words.every((word) => hay.includes(word))) continue;
    (name.startsWith(wanted) ? begins : holds).push(room);
  }
  return [...begins, ...holds];
}

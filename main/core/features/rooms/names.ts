import type { RoomRow } from "../../storage/room-store.ts";

type Person = { userId: string; name: string | undefined };

/** A room's name for a person. Source: client-server API, "Calculating the display name for a room". Names are plain text. */
export function roomName(
  room: Pick<RoomRow, "name" | "alias" | "direct_user">,
  people: Person[],
  others: number,
): string {
  if (room.name !== null) return room.name;
  if (room.alias !== null) return room.alias;
  const names = people.map((person) => person.name ?? localpart(person.userId));
  if (names.length === 0) return room.direct_user === null ? "Empty room" : localpart(room.direct_user);
  const rest = others - names.length;
  if (rest > 0) return `${names.join(", ")} and ${rest} more`;
  if (names.length === 1) return names[0] ?? "";
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1) ?? ""}`;
}

export const localpart = (userId: string) => /^@([^:]+):/.exec(userId)?.[1] ?? userId;

import type { RoomRow, RoomStore } from "../../storage/room-store.ts";

type Parts = { rooms: RoomStore; create: (userId: string) => Promise<string> };

/** The encrypted direct chat with a user: one that they are in, else one that they are invited to, else a new one. */
export const directRoom =
  ({ rooms, create }: Parts) =>
  async (userId: string): Promise<string> => {
    const direct = rooms
      .list(undefined)
      .filter((room: RoomRow) => room.membership === "join" && room.direct_user === userId && room.encryption !== null);
    const where = (membership: string) =>
      direct.find((room) => rooms.member(room.room_id, userId)?.membership === membership)?.room_id;
    return where("join") ?? where("invite") ?? (await create(userId));
  };

/** The rooms of the account: the list, what is open, and what one does with a room. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Input } from "../../../../preload/contract/index.ts";
import type { Room } from "../../../../preload/contract/rooms.ts";
import { call, failureOf, on } from "../../bridge.ts";
import { arrange, matching } from "./arrange.ts";

export type RoomsState = { at: "loading" } | { at: "ready" } | { at: "failed"; failure: Failure };

/** Changes that come within this time after a refresh are taken together. */
const refreshEveryMs = 250;
/** From here on asking for all costs no more than asking for each. */
const manyRooms = 50;

export class Rooms {
  state = $state.raw<RoomsState>({ at: "loading" });
  joined = $state.raw<readonly Room[]>([]);
  invited = $state.raw<readonly Room[]>([]);
  filter = $state("");
  currentId = $state<string | undefined>();
  readonly visible = $derived(matching(this.joined, this.filter));
  readonly current = $derived(this.joined.find((room) => room.roomId === this.currentId));
  readonly unreadRooms = $derived(
    this.joined.reduce((sum, room) => sum + (room.unread.messages > 0 && !room.muted ? 1 : 0), 0),
  );
  /** Ids of invitations that are being answered. */
  answering = $state.raw<ReadonlySet<string>>(new Set());
  #byId = new Map<string, Room>();
  #refreshedMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #changed = new Set<string>();
  #running = false;
  #again = false;
  readonly #leaving = new Set<string>();
  readonly #onended: (room: Room) => void;

  /** `onended`: the account is no longer in the open chat, and it was not left here. */
  constructor(onended: (room: Room) => void) {
    this.#onended = onended;
    on("rooms.changed", ({ roomIds }) => {
      for (const roomId of roomIds) this.#changed.add(roomId);
      this.#schedule();
    });
  }

  /** The remembered room, to be opened when nothing else is. */
  async lastOpened(): Promise<string | undefined> {
    try {
      return (await call("rooms.lastOpened", {})).roomId;
    } catch (error) {
      if (failureOf(error).code === "unexpected") console.warn("rooms.lastOpened failed");
      return undefined;
    }
  }

  load = async (): Promise<void> => {
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    try {
      this.#changed.clear();
      this.#take(await call("rooms.list", {}));
      this.state = { at: "ready" };
    } catch (error) {
      const failure = failureOf(error);
      // Before sign-in and while locked there is no list, and no failure to speak of.
      if (this.#byId.size === 0 && !["not-signed-in", "locked"].includes(failure.code))
        this.state = { at: "failed", failure };
    } finally {
      this.#running = false;
      this.#refreshedMs = performance.now();
    }
    if (this.#again) {
      this.#again = false;
      this.#schedule();
    }
  };

  open(roomId: string | undefined): void {
    if (this.currentId === roomId) return;
    this.currentId = roomId;
    if (roomId !== undefined) call("rooms.lastOpened", { roomId }).catch(() => undefined);
  }

  /** The room above or below the open one in the list. */
  neighbour(step: 1 | -1): string | undefined {
    const index = this.visible.findIndex((room) => room.roomId === this.currentId);
    return this.visible[index === -1 ? 0 : index + step]?.roomId;
  }

  roomById = (roomId: string): Room | undefined => this.#byId.get(roomId);

  directWith = (userId: string): Room | undefined =>
    this.joined.find((room) => room.kind === "dm" && room.directUserId === userId);

  unignore = async (userId: string): Promise<Failure | undefined> => {
    try {
      await call("people.ignore", { userId, ignored: false });
      return undefined;
    } catch (error) {
      return failureOf(error);
    }
  };

  create = async (input: Input<"rooms.create">): Promise<string> => {
    const { roomId } = await call("rooms.create", input);
    await this.load();
    return roomId;
  };

  /** The id of the joined room. */
  join = async (room: string, via: readonly string[] = []): Promise<string> => {
    const { roomId } = await call("rooms.join", { room, ...(via.length === 0 ? {} : { via: [...via] }) });
    await this.load();
    return roomId;
  };

  /** Accepts or declines; answers the failure, if any. */
  answer = async (roomId: string, accept: boolean): Promise<Failure | undefined> => {
    this.answering = new Set([...this.answering, roomId]);
    try {
      if (accept) await call("rooms.join", { room: roomId });
      else await call("rooms.leave", { roomId });
      await this.load();
      return undefined;
    } catch (error) {
      return failureOf(error);
    } finally {
      this.answering = new Set([...this.answering].filter((id) => id !== roomId));
    }
  };

  leave = async (roomId: string): Promise<Failure | undefined> => {
    this.#leaving.add(roomId);
    try {
      await call("rooms.leave", { roomId });
      if (this.currentId === roomId) this.currentId = undefined;
      await this.load();
      return undefined;
    } catch (error) {
      return failureOf(error);
    } finally {
      this.#leaving.delete(roomId);
    }
  };

  /** Forgets everything shown, after a sign-out or a lock. */
  clear(): void {
    this.#byId.clear();
    this.joined = [];
    this.invited = [];
    this.currentId = undefined;
    this.filter = "";
    this.state = { at: "loading" };
  }

  #schedule(): void {
    if (this.#timer !== undefined) return;
    const waitMs = Math.max(0, this.#refreshedMs + refreshEveryMs - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#refresh();
    }, waitMs);
  }

  /** Asks for the rooms that changed alone, unless they are many. */
  async #refresh(): Promise<void> {
    const roomIds = [...this.#changed];
    if (this.state.at !== "ready" || roomIds.length === 0 || roomIds.length > manyRooms) return this.load();
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#changed.clear();
    this.#running = true;
    try {
      const fresh = new Map((await call("rooms.list", { roomIds })).map((room) => [room.roomId, room]));
      const asked = new Set(roomIds);
      this.#take([...[...this.#byId.values()].filter((room) => !asked.has(room.roomId)), ...fresh.values()]);
    } catch (error) {
      // the next change asks again; what is shown stands until then
      for (const roomId of roomIds) this.#changed.add(roomId);
      if (failureOf(error).code === "unexpected") console.warn("rooms.list failed");
    } finally {
      this.#running = false;
      this.#refreshedMs = performance.now();
    }
    if (this.#again) {
      this.#again = false;
      this.#schedule();
    }
  }

  /** Rooms that did not change keep their object, so that their rows are not drawn again. */
  #take(rooms: readonly Room[]): void {
    const next = new Map<string, Room>();
    for (const room of rooms) {
      const known = this.#byId.get(room.roomId);
      next.set(room.roomId, known !== undefined && sameRoom(known, room) ? known : room);
    }
    this.#byId = next;
    const { joined, invited } = arrange(next.values());
    const open = this.current;
    this.joined = joined;
    this.invited = invited;
    if (open !== undefined && this.current === undefined && !this.#leaving.has(open.roomId)) this.#onended(open);
  }
}

function sameRoom(a: Room, b: Room): boolean {
  return (
    a.lastActivityMs === b.lastActivityMs &&
    a.unread.messages === b.unread.messages &&
    a.unread.mentions === b.unread.mentions &&
    a.name === b.name &&
    a.membership === b.membership &&
    a.members === b.members &&
    a.encrypted === b.encrypted &&
    a.muted === b.muted &&
    a.favourite === b.favourite &&
    a.kind === b.kind &&
    a.latest?.itemId === b.latest?.itemId &&
    a.latest?.state === b.latest?.state &&
    a.latest?.kind === b.latest?.kind &&
    a.latest?.body === b.latest?.body &&
    a.latest?.senderName === b.latest?.senderName
  );
}

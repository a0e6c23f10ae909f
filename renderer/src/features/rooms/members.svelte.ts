/** The people of one room, loaded when somebody looks. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Member } from "../../../../preload/contract/rooms.ts";
import { call, failureOf, on } from "../../bridge.ts";
import { legibleLine, localpart } from "../../lib/legible.ts";

export type MembersState = { at: "idle" } | { at: "loading" } | { at: "ready" } | { at: "failed"; failure: Failure };
export type Person = Member & { shownName: string };

const rank: Record<string, number> = { join: 0, invite: 1, knock: 2 };

export class Members {
  state = $state.raw<MembersState>({ at: "idle" });
  people = $state.raw<readonly Person[]>([]);
  roomId = $state<string | undefined>();

  constructor() {
    on("rooms.changed", ({ roomIds }) => {
      if (this.roomId !== undefined && this.state.at === "ready" && roomIds.includes(this.roomId))
        void this.#fetch(this.roomId);
    });
    on("trust.changed", ({ userIds = [] }) => {
      const { roomId } = this;
      if (roomId === undefined || this.state.at !== "ready") return;
      if (this.people.some((person) => userIds.includes(person.userId))) void this.#fetch(roomId);
    });
  }

  /** Loads the room's people unless they are here. */
  show = (roomId: string): void => {
    if (this.roomId === roomId && this.state.at !== "failed") return;
    this.roomId = roomId;
    this.people = [];
    this.state = { at: "loading" };
    void this.#fetch(roomId);
  };

  invite = async (roomId: string, userId: string): Promise<Failure | undefined> => {
    try {
      await call("rooms.invite", { roomId, userId });
      await this.#fetch(roomId);
      return undefined;
    } catch (error) {
      return failureOf(error);
    }
  };

  async #fetch(roomId: string): Promise<void> {
    try {
      const members = await call("rooms.members", { roomId });
      if (this.roomId !== roomId) return;
      this.people = members
        .filter((member) => rank[member.membership] !== undefined)
        .map((member) => ({ ...member, shownName: legibleLine(member.name, 80) || localpart(member.userId) }))
        .sort(
          (a, b) =>
            (rank[a.membership] ?? 9) - (rank[b.membership] ?? 9) ||
            b.powerLevel - a.powerLevel ||
            a.shownName.localeCompare(b.shownName),
        );
      this.state = { at: "ready" };
    } catch (error) {
      if (this.roomId === roomId) this.state = { at: "failed", failure: failureOf(error) };
    }
  }
}

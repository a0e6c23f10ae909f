/** The form that starts a chat: with one person, a group, or a room that exists. */
import type { Failure } from "../../../../preload/contract/define.ts";
import { failureOf } from "../../bridge.ts";
import type { Rooms } from "./rooms.svelte.ts";

export type NewChatKind = "dm" | "group" | "join";
type Task = { at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure };

const userIdShape = /^@[^:\s]*:[^:\s]+(:\d+)?$/;
const roomShape = /^[!#]\S+$/;

export class NewChat {
  #rooms: Rooms;
  #server: string;
  kind = $state<NewChatKind>("dm");
  person = $state("");
  name = $state("");
  people = $state<string[]>([]);
  room = $state("");
  encrypted = $state(true);
  task = $state.raw<Task>({ at: "idle" });
  readonly personProblem = $derived.by(() =>
    this.person.trim() === "" || userIdShape.test(complete(this.person, this.#server)) ? "none" : "shape",
  );
  readonly ready = $derived.by(() => {
    if (this.kind === "join") return roomShape.test(this.room.trim());
    if (this.kind === "group") return this.name.trim() !== "" && this.personProblem === "none";
    return this.person.trim() !== "" && this.personProblem === "none";
  });

  /** `ownId`: a bare name typed for a person is taken for one on the same server. */
  constructor(rooms: Rooms, ownId: string) {
    this.#rooms = rooms;
    this.#server = ownId.slice(ownId.indexOf(":") + 1);
  }

  add(): void {
    if (this.person.trim() === "" || this.personProblem !== "none") return;
    const userId = complete(this.person, this.#server);
    if (!this.people.includes(userId)) this.people = [...this.people, userId];
    this.person = "";
  }

  remove(userId: string): void {
    this.people = this.people.filter((one) => one !== userId);
  }

  /** The room's id once it can be written to. A direct chat that exists is opened, not made twice. */
  async start(): Promise<string | undefined> {
    if (!this.ready || this.task.at === "busy") return undefined;
    this.task = { at: "busy" };
    try {
      const roomId = await this.#make();
      this.task = { at: "idle" };
      return roomId;
    } catch (error) {
      this.task = { at: "failed", failure: failureOf(error) };
      return undefined;
    }
  }

  async #make(): Promise<string> {
    if (this.kind === "join") return this.#rooms.join(this.room.trim());
    if (this.kind === "group") {
      this.add();
      return this.#rooms.create({
        kind: "group",
        name: this.name.trim(),
        invite: $state.snapshot(this.people),
        encrypted: this.encrypted,
      });
    }
    const userId = complete(this.person, this.#server);
    const known = this.#rooms.joined.find((room) => room.kind === "dm" && room.directUserId === userId);
    return known?.roomId ?? this.#rooms.create({ kind: "dm", invite: [userId] });
  }
}

/** `ana` → `@ana:own.server`; a full address stays. */
function complete(text: string, server: string): string {
  const typed = text.trim();
  const link = /^https:\/\/matrix\.to\/#\/(@[^?/]+)/.exec(typed)?.[1];
  if (link !== undefined) return decodeURIComponent(link);
  if (/^@?[a-z0-9._=/+-]+$/i.test(typed)) return `@${typed.replace(/^@/, "").toLowerCase()}:${server}`;
  return typed.startsWith("@") ? typed : `@${typed}`;
}

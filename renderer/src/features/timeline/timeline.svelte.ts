/** The conversations kept in the window, and what one does with a message. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Item } from "../../../../preload/contract/timeline.ts";
import { call, failureOf, on } from "../../bridge.ts";
import { Conversation } from "./conversation.svelte.ts";

/** Rooms that open in one frame because they were open lately. */
const keptConversations = 16;

export type Arrival = { roomId: string; item: Item };

export class Timeline {
  current = $state.raw<Conversation | undefined>();
  /** The newest message of another in the open room, for the spoken announcement. */
  arrival = $state.raw<Arrival | undefined>();
  /** Ids of undecryptable messages that are being tried again. */
  trying = $state.raw<ReadonlySet<string>>(new Set());
  #kept = new Map<string, Conversation>();

  constructor() {
    on("timeline.changed", ({ roomId, items, removed, gap }) => {
      const conversation = this.#kept.get(roomId);
      if (conversation === undefined) return;
      const here = conversation === this.current ? new Set(conversation.items.map((item) => item.itemId)) : undefined;
      // what is missing before these items is for the core to fill: the room is read anew from what is continuous
      if (gap === true && conversation !== this.current) {
        this.#kept.delete(roomId);
        return;
      }
      if (gap === true) void conversation.reload();
      else conversation.take(items, removed ?? []);
      const fresh = items.findLast((item) => here?.has(item.itemId) === false && item.kind !== "state");
      if (fresh !== undefined) this.arrival = { roomId, item: fresh };
    });
    addEventListener("pagehide", () => void this.current?.saveDraft());
  }

  open(roomId: string | undefined, unread: number, ownId: string): void {
    if (this.current?.roomId === roomId) return;
    this.current?.leave();
    if (this.current?.tooLong === true) this.#kept.delete(this.current.roomId);
    if (roomId === undefined) {
      this.current = undefined;
      return;
    }
    const conversation = this.#kept.get(roomId) ?? new Conversation(roomId);
    this.#kept.delete(roomId);
    this.#kept.set(roomId, conversation);
    const oldest = this.#kept.keys().next().value;
    if (this.#kept.size > keptConversations && oldest !== undefined) this.#kept.delete(oldest);
    this.current = conversation;
    conversation.open(unread, ownId);
  }

  clear(): void {
    this.#kept.clear();
    this.current = undefined;
  }

  retry = (item: Item): Promise<Failure | undefined> => attempt(call("timeline.retry", { itemId: item.itemId }));

  discard = (item: Item): Promise<Failure | undefined> => attempt(call("timeline.discard", { itemId: item.itemId }));

  redact = (item: Item): Promise<Failure | undefined> =>
    attempt(call("timeline.redact", { roomId: item.roomId, itemId: item.itemId }));

  tryDecryption = async (item: Item): Promise<Failure | undefined> => {
    this.trying = new Set([...this.trying, item.itemId]);
    const failure = await attempt(call("timeline.retryDecryption", { roomId: item.roomId, itemId: item.itemId }));
    this.trying = new Set([...this.trying].filter((id) => id !== item.itemId));
    return failure;
  };

  openLink = (url: string): Promise<Failure | undefined> => attempt(call("app.openLink", { url }));
}

async function attempt(work: Promise<unknown>): Promise<Failure | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return failureOf(error);
  }
}

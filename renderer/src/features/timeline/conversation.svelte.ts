/** One room's conversation in the window: its newest items, where one was reading, and the draft. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Item } from "../../../../preload/contract/timeline.ts";
import { call, failureOf } from "../../bridge.ts";
import { buildRows, firstUnread, type Row } from "./rows.ts";
import { upsert } from "./upsert.ts";

export type LoadState = { at: "loading" } | { at: "ready" } | { at: "failed"; failure: Failure };
export type OlderState = { at: "idle" } | { at: "loading" } | { at: "start" } | { at: "failed"; failure: Failure };
/** Where the timeline stood when it was left. `sizes` is the virtualiser's own memory. */
export type Place = { atEnd: boolean; itemId?: string; offsetPx: number; length: number; sizes: unknown };

const firstPage = 40;
const furtherPage = 60;
/** A conversation with more items than this is forgotten when it is left. */
const keptItems = 400;
const draftAfterMs = 400;

export class Conversation {
  readonly roomId: string;
  items = $state.raw<readonly Item[]>([]);
  load = $state.raw<LoadState>({ at: "loading" });
  older = $state.raw<OlderState>({ at: "idle" });
  /** What the newest change of `items` did: the virtualiser keeps the view's end in place only when items came before. */
  lastChange = $state.raw<"append" | "prepend">("append");
  unreadFrom = $state<string | undefined>();
  draft = $state("");
  place: Place | undefined;
  readonly rows = $derived.by(() => this.#rows(this.items, this.unreadFrom));
  #before: string | undefined;
  #known = new Map<string, Row>();
  #wanted: Promise<void> | undefined;
  #draftTouched = false;
  #draftTimer: ReturnType<typeof setTimeout> | undefined;
  #savedDraft = "";
  #readTo: string | undefined;
  #early: { items: Item[]; removed: string[] }[] = [];

  constructor(roomId: string) {
    this.roomId = roomId;
  }

  /** Loads what is not here yet. `unread`: how many messages the room list counts, for the unread line. */
  open(unread: number, ownId: string): void {
    if (unread > 0) void this.ready().then(() => (this.unreadFrom = firstUnread(this.items, ownId, unread)));
    void this.ready();
  }

  ready(): Promise<void> {
    this.#wanted ??= Promise.all([this.#loadNewest(), this.#loadDraft()]).then(() => undefined);
    return this.#wanted;
  }

  retryLoad = (): void => {
    this.load = { at: "loading" };
    void this.reload();
  };

  /** Reads the newest page again in place of what is shown: there is a hole behind it. */
  reload(): Promise<void> {
    this.#wanted = this.#loadNewest();
    return this.#wanted;
  }

  loadOlder = async (): Promise<void> => {
    if (this.load.at !== "ready" || this.older.at === "loading" || this.older.at === "start") return;
    if (this.#before === undefined) {
      this.older = { at: "start" };
      return;
    }
    this.older = { at: "loading" };
    try {
      const page = await call("timeline.load", { roomId: this.roomId, before: this.#before, limit: furtherPage });
      const here = new Set(this.items.map((item) => item.itemId));
      const fresh = page.items.filter((item) => !here.has(item.itemId));
      this.#before = page.before;
      this.lastChange = "prepend";
      this.items = [...fresh, ...this.items];
      this.older = { at: page.before === undefined ? "start" : "idle" };
    } catch (error) {
      this.older = { at: "failed", failure: failureOf(error) };
    }
  };

  take(items: Item[], removed: string[]): void {
    // Before the first page has come there is nothing to put them into; the page may have been read before they happened.
    if (this.load.at !== "ready") this.#early.push({ items, removed });
    else {
      this.lastChange = "append";
      this.items = upsert(this.items, items, removed, this.#before !== undefined);
    }
  }

  leave(): void {
    this.unreadFrom = undefined;
    void this.saveDraft();
  }

  /** Scrolled back so far that it is not worth keeping: it is read anew when it is opened again. */
  get tooLong(): boolean {
    return this.items.length > keptItems;
  }

  typed(text: string): void {
    this.draft = text;
    this.#draftTouched = true;
    clearTimeout(this.#draftTimer);
    this.#draftTimer = setTimeout(() => void this.saveDraft(), draftAfterMs);
  }

  async saveDraft(): Promise<void> {
    clearTimeout(this.#draftTimer);
    const body = this.draft;
    if (!this.#draftTouched || body === this.#savedDraft) return;
    this.#savedDraft = body;
    try {
      await call("timeline.draft", { roomId: this.roomId, body });
    } catch (error) {
      this.#savedDraft = "";
      console.warn("a draft was not saved:", failureOf(error).code);
    }
  }

  /** Queues the text; the message itself comes as an event. Answers the failure, after which the text stands in the composer again. */
  async send(body: string, mentions: string[]): Promise<Failure | undefined> {
    this.draft = "";
    this.#draftTouched = true;
    this.unreadFrom = undefined;
    try {
      await call("timeline.send", {
        roomId: this.roomId,
        body,
        format: "markdown",
        transactionId: crypto.randomUUID(),
        ...(mentions.length === 0 ? {} : { mentions }),
      });
      void this.saveDraft();
      return undefined;
    } catch (error) {
      if (this.draft === "") this.draft = body;
      return failureOf(error);
    }
  }

  /** Tells the server that everything up to the newest item was read; once for each newest. */
  markRead(ownId: string): void {
    const newest = this.items.findLast((item) => item.state === "sent" && item.eventId !== undefined);
    if (newest === undefined || newest.itemId === this.#readTo) return;
    const unseen = this.items.findLast((item) => item.sender !== ownId);
    this.#readTo = newest.itemId;
    if (unseen === undefined) return;
    call("timeline.markRead", { roomId: this.roomId, itemId: newest.itemId }).catch(() => {
      this.#readTo = undefined;
    });
  }

  async #loadNewest(): Promise<void> {
    try {
      const page = await call("timeline.load", { roomId: this.roomId, limit: firstPage });
      this.#before = page.before;
      this.lastChange = "append";
      let items: Item[] = page.items;
      for (const early of this.#early.splice(0))
        items = upsert(items, early.items, early.removed, page.before !== undefined);
      this.items = items;
      this.older = { at: page.before === undefined ? "start" : "idle" };
      this.load = { at: "ready" };
    } catch (error) {
      this.load = { at: "failed", failure: failureOf(error) };
      this.#wanted = undefined;
    }
  }

  async #loadDraft(): Promise<void> {
    try {
      const { body } = await call("timeline.draft", { roomId: this.roomId });
      this.#savedDraft = body;
      if (!this.#draftTouched) this.draft = body;
    } catch (error) {
      console.warn("a draft was not read:", failureOf(error).code);
    }
  }

  #rows(items: readonly Item[], unreadFrom: string | undefined): Row[] {
    const rows = buildRows(items, unreadFrom, this.#known);
    this.#known = new Map(rows.map((row) => [row.item.itemId, row]));
    return rows;
  }
}

/** On which devices the next message of the open chat can be read, and on which it cannot. */
import type { Output } from "../../../../preload/contract/index.ts";
import { call, failureOf, on } from "../../bridge.ts";

type Recipients = Output<"trust.recipients">;
export type ReadersState =
  { at: "idle" } | { at: "loading" } | { at: "ready"; recipients: Recipients } | { at: "failed"; code: string };

/** Changes that come closely one after the other are asked about once. */
const settleMs = 300;

export class Readers {
  roomId = $state<string | undefined>();
  state = $state.raw<ReadersState>({ at: "idle" });
  #ownId = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asked = 0;

  constructor() {
    on("trust.changed", () => {
      this.#soon();
    });
    on("devices.changed", () => {
      this.#soon();
    });
    on("rooms.changed", ({ roomIds }) => {
      if (this.roomId !== undefined && roomIds.includes(this.roomId)) this.#soon();
    });
    on("timeline.changed", ({ roomId, items }) => {
      // what grew is counted from one's last message on
      if (roomId === this.roomId && items.some((item) => item.sender === this.#ownId && item.state === "sent"))
        this.#soon();
    });
  }

  /** People, this account's own other devices among them. */
  readonly people = $derived(
    this.state.at === "ready" ? new Set(this.state.recipients.receives.map((device) => device.userId)).size : 0,
  );

  show = (roomId: string | undefined, ownId: string): void => {
    this.#ownId = ownId;
    if (this.roomId === roomId) return;
    this.roomId = roomId;
    this.#asked += 1;
    this.state = { at: "idle" };
    if (roomId !== undefined) void this.load();
  };

  load = async (): Promise<void> => {
    const { roomId } = this;
    if (roomId === undefined) return;
    this.#asked += 1;
    const asked = this.#asked;
    if (this.state.at !== "ready") this.state = { at: "loading" };
    try {
      const recipients = await call("trust.recipients", { roomId });
      if (asked === this.#asked) this.state = { at: "ready", recipients };
    } catch (error) {
      if (asked === this.#asked) this.state = { at: "failed", code: failureOf(error).code };
    }
  };

  #soon(): void {
    if (this.roomId === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.load(), settleMs);
  }
}

/** Devices by their owners: the account's own first, then by name. */
export function byPerson<T>(
  entries: readonly T[],
  ownerOf: (entry: T) => string,
  ownId: string,
  nameOf: (userId: string) => string,
): { userId: string; name: string; entries: T[] }[] {
  const groups = new Map<string, T[]>();
  for (const entry of entries) {
    const group = groups.get(ownerOf(entry));
    if (group === undefined) groups.set(ownerOf(entry), [entry]);
    else group.push(entry);
  }
  return [...groups]
    .map(([userId, own]) => ({ userId, name: nameOf(userId), entries: own }))
    .sort((a, b) => Number(b.userId === ownId) - Number(a.userId === ownId) || a.name.localeCompare(b.name));
}

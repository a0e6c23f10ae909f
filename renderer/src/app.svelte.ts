/** Builds the window's features and wires them to each other; no feature knows another. */
import type { Room } from "../../preload/contract/rooms.ts";
import { Account } from "./features/account/account.svelte.ts";
import { Members } from "./features/rooms/members.svelte.ts";
import { Rooms } from "./features/rooms/rooms.svelte.ts";
import { Preferences } from "./features/settings/preferences.svelte.ts";
import { Timeline } from "./features/timeline/timeline.svelte.ts";
import { Vault } from "./features/vault/vault.svelte.ts";
import { vaultText } from "./features/vault/vault-text.ts";
import { legibleLine, localpart } from "./lib/legible.ts";
import { Notices } from "./lib/notices.svelte.ts";
import { m } from "./paraglide/messages.js";

type Page =
  { at: "chats" } | { at: "settings"; section: "account" | "encryption" | "appearance" | "privacy" | "about" };
export type DialogName = "switcher" | "new-chat" | "shortcuts" | "sign-out" | "sign-in-again" | "leave";

export class App {
  readonly notices = new Notices();
  readonly preferences = new Preferences();
  readonly rooms = new Rooms();
  readonly timeline = new Timeline();
  readonly members = new Members();
  readonly account = new Account(() => {
    void this.#enter();
  });
  // The account may have been known while the vault was locked; its rooms were not.
  readonly vault = new Vault(() => {
    void this.account.load().then(() => this.#enter());
  });
  page = $state.raw<Page>({ at: "chats" });
  dialog = $state<DialogName | undefined>();
  detailsOpen = $state(false);
  /** Which of the pages a person is on; `blank` until the host has said what is. */
  readonly stage = $derived.by((): "blank" | "failed" | "vault" | "sign-in" | "chats" => {
    const { vault, account } = this;
    if (vault.status !== undefined && vaultText(vault.status) !== undefined) return "vault";
    if (account.status?.at === "signed-in") return "chats";
    if (vault.status !== undefined && account.status?.at === "signed-out") return "sign-in";
    return vault.failure !== undefined || account.failure !== undefined ? "failed" : "blank";
  });
  readonly ownName = $derived.by(() => {
    const { status } = this.account;
    if (status?.at !== "signed-in") return "";
    return legibleLine(status.name ?? "", 80) || localpart(status.userId);
  });
  #entered = false;

  /** Asks for all that the first paint needs at once. */
  start(): void {
    void this.vault.load();
    void this.account.load();
    void this.rooms.load().then(() => this.#reopen());
    void this.preferences.load();
  }

  /** `unread` is read before the room is opened: opening marks it as read. */
  openRoom = (roomId: string | undefined): void => {
    const unread = roomId === undefined ? 0 : (this.rooms.roomById(roomId)?.unread.messages ?? 0);
    this.timeline.open(roomId, unread, this.account.ownId);
    this.rooms.open(roomId);
    this.page = { at: "chats" };
    this.dialog = undefined;
    if (roomId !== undefined) this.#learnPeople(roomId);
  };

  /** Names of readers and the tick of verified people want the members; of large rooms only when the panel shows them. */
  #learnPeople(roomId: string): void {
    const small = (this.rooms.roomById(roomId)?.members ?? 0) <= 50;
    if (!small && !this.detailsOpen) return;
    requestIdleCallback(() => {
      if (this.rooms.currentId === roomId) this.members.show(roomId);
    });
  }

  answerInvitation = async (room: Room, accept: boolean): Promise<void> => {
    const failure = await this.rooms.answer(room.roomId, accept);
    if (failure !== undefined) this.notices.fail(failure);
    else if (accept) this.openRoom(room.roomId);
    else this.notices.say(m.invitation_declined({ name: legibleLine(room.name, 60) || m.room_unnamed() }));
  };

  leave = async (roomId: string): ReturnType<Rooms["leave"]> => {
    const failure = await this.rooms.leave(roomId);
    if (failure === undefined) {
      this.detailsOpen = false;
      this.openRoom(undefined);
    }
    return failure;
  };

  /** Everything on screen belongs to the session that just ended. */
  leaveSession(): void {
    this.#entered = false;
    this.rooms.clear();
    this.timeline.clear();
    this.page = { at: "chats" };
    this.dialog = undefined;
    this.detailsOpen = false;
  }

  async #enter(): Promise<void> {
    if (this.account.status?.at !== "signed-in") return;
    await this.rooms.load();
    await this.#reopen();
  }

  async #reopen(): Promise<void> {
    if (this.#entered || this.rooms.state.at !== "ready") return;
    this.#entered = true;
    const roomId = await this.rooms.lastOpened();
    if (roomId === undefined || this.rooms.currentId !== undefined) return;
    if (this.rooms.roomById(roomId)?.membership !== "join") return;
    // The list is painted first: drawing both in one task would hold up the first frame.
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (this.timeline.current !== undefined) return;
    // In one column the list comes first.
    if (innerWidth >= 720) this.openRoom(roomId);
  }
}

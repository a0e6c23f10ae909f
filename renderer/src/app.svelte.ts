/** Builds the window's features and wires them to each other; no feature knows another. */
import type { Room } from "../../preload/contract/rooms.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import { Account } from "./features/account/account.svelte.ts";
import { Rescue } from "./features/account/rescue.svelte.ts";
import { Backup, type Work } from "./features/backup/backup.svelte.ts";
import { Devices } from "./features/devices/devices.svelte.ts";
import type { Invite } from "../../preload/contract/invites.ts";
import { Intake } from "./features/invites/intake.svelte.ts";
import { Invites } from "./features/invites/invites.svelte.ts";
import type { JoinAction } from "./features/invites/join-text.ts";
import { Members } from "./features/rooms/members.svelte.ts";
import { Rooms } from "./features/rooms/rooms.svelte.ts";
import { Preferences } from "./features/settings/preferences.svelte.ts";
import { Timeline } from "./features/timeline/timeline.svelte.ts";
import { Readers } from "./features/trust/readers.svelte.ts";
import { Trust } from "./features/trust/trust.svelte.ts";
import type { TrustAction } from "./features/trust/trust-text.ts";
import { Vault } from "./features/vault/vault.svelte.ts";
import { vaultText } from "./features/vault/vault-text.ts";
import { Verification } from "./features/verification/verification.svelte.ts";
import { deviceName } from "./lib/device-text.ts";
import { oneColumn } from "./lib/layout.ts";
import { legibleLine, localpart } from "./lib/legible.ts";
import { numberText } from "./lib/numbers.ts";
import { Notices } from "./lib/notices.svelte.ts";
import { m } from "./paraglide/messages.js";

export type SectionName =
  "account" | "devices" | "encryption" | "recovery" | "invites" | "appearance" | "privacy" | "about";
type Page = { at: "chats" } | { at: "settings"; section: SectionName };
export type DialogName =
  | "switcher"
  | "new-chat"
  | "code"
  | "shortcuts"
  | "sign-out"
  | "sign-in-again"
  | "leave"
  | "keep-safe"
  | "is-it-you"
  | "reset-identity"
  | "restore"
  | "export-keys"
  | "import-keys"
  | "delete-backup";

/** When there is nothing else to do, or after a while: on a busy machine there may always be. */
const whenIdle = (run: () => void): void => void requestIdleCallback(run, { timeout: 2_000 });
const isWriting = (): boolean => {
  const field = document.activeElement;
  return (field instanceof HTMLTextAreaElement || field instanceof HTMLInputElement) && field.value !== "";
};
/** Whoever skipped making a way back is not asked again before this has passed. */
const remindEveryMs = 7 * 86_400_000;

export class App {
  readonly notices = new Notices();
  readonly preferences = new Preferences();
  readonly rooms = new Rooms((room) => {
    this.detailsOpen = false;
    this.openRoom(undefined);
    this.notices.say(m.room_ended({ name: legibleLine(room.name, 60) || m.room_unnamed() }));
  });
  readonly timeline = new Timeline();
  readonly members = new Members();
  readonly backup = new Backup((work) => {
    this.#ended(work);
  });
  readonly trust = new Trust(() => void this.backup.restore());
  readonly readers = new Readers();
  readonly verification = new Verification(() => this.account.ownId);
  readonly invites = new Invites();
  readonly intake = new Intake(
    {
      onfound: () => {
        if (this.dialog === "code") this.dialog = undefined;
      },
      onjoin: (joinId) => void this.invites.follow(joinId),
    },
    () => this.stage === "chats",
  );
  readonly devices = new Devices((device) => {
    this.notices.say(m.device_new({ device: deviceName(device) }), {
      label: m.devices_look(),
      run: () => {
        this.notices.dismiss();
        this.page = { at: "settings", section: "devices" };
      },
    });
  });
  readonly rescue = new Rescue();
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
  /** What the dialog of codes does, and into which group it invites. */
  codeSide = $state<"show" | "scan">("show");
  codeRoomId = $state<string | undefined>();
  /** The one that is to be shown once more; otherwise one is made. */
  codeAgain = $state.raw<Invite | undefined>();
  /** Whose panel stands in the place of the details. */
  person = $state<string | undefined>();
  /** Which of the pages a person is on; `blank` until the host has said what is. */
  readonly stage = $derived.by((): "blank" | "failed" | "vault" | "sign-in" | "damaged" | "chats" => {
    const { vault, account } = this;
    if (vault.status !== undefined && vaultText(vault.status) !== undefined) return "vault";
    // what was saved is read before the chats come back
    if (account.damaged || this.rescue.state.at !== "explained") return "damaged";
    if (account.status?.at === "signed-in") return "chats";
    if (vault.status !== undefined && account.status?.at === "signed-out") return "sign-in";
    return vault.failure !== undefined || account.failure !== undefined ? "failed" : "blank";
  });
  /** What is here already of what was scanned. */
  readonly scannedSituation = $derived.by(() => {
    const scanned = this.intake.sheet.at === "found" ? this.intake.sheet.scanned : undefined;
    return {
      unconfirmed: this.trust.status?.identity === "this-device-unverified",
      verifying: this.verification.begun,
      known:
        (scanned?.kind === "user" && this.rooms.directWith(scanned.userId) !== undefined) ||
        (scanned?.kind === "room" && this.rooms.joined.some((room) => room.roomId === scanned.room)),
    };
  });
  /** Where the invitation leads that was just accepted, once one can be there. */
  readonly joinedRoomId = $derived.by(() => {
    const { sheet } = this.intake;
    if (sheet.at !== "joining") return undefined;
    const state = this.invites.join(sheet.joinId)?.state;
    if (state?.at === "failed" || state?.at === "blocked") return undefined;
    const roomId = state?.at === "done" ? state.roomId : undefined;
    const joined = (id: string | undefined): boolean => this.rooms.joined.some((room) => room.roomId === id);
    if (roomId !== undefined) return joined(roomId) ? roomId : undefined;
    return sheet.group ? undefined : this.rooms.directWith(sheet.userId)?.roomId;
  });
  readonly live = $derived(this.account.status?.at === "signed-in" && this.account.status.sync.at === "live");
  readonly ownName = $derived.by(() => {
    const { status } = this.account;
    if (status?.at !== "signed-in") return "";
    return legibleLine(status.name ?? "", 80) || localpart(status.userId);
  });
  #entered = false;
  /** Just signed in, rather than come back to: the first questions are asked at once. */
  #fresh = false;
  #asked = false;
  #preferencesRead: Promise<void> | undefined;

  /** Asks for all that the first paint needs at once. */
  start(): void {
    void this.vault.load();
    void this.account.load();
    void this.rooms.load().then(() => this.#reopen());
    this.#preferencesRead = this.preferences.load();
  }

  openRoom = (roomId: string | undefined): void => {
    this.page = { at: "chats" };
    this.dialog = undefined;
    this.#open(roomId);
  };

  /** `unread` is read before the room is opened: opening marks it as read. */
  #open(roomId: string | undefined): void {
    const unread = roomId === undefined ? 0 : (this.rooms.roomById(roomId)?.unread.messages ?? 0);
    this.timeline.open(roomId, unread, this.account.ownId);
    this.rooms.open(roomId);
    this.person = undefined;
    this.#learnReaders(roomId);
    if (roomId !== undefined) this.#learnPeople(roomId);
  }

  /** Names of readers and the tick of verified people want the members; of large rooms only when the panel shows them. */
  #learnPeople(roomId: string): void {
    const small = (this.rooms.roomById(roomId)?.members ?? 0) <= 50;
    if (!small && !this.detailsOpen) return;
    whenIdle(() => {
      if (this.rooms.currentId === roomId) this.members.show(roomId);
    });
  }

  /** Asked once the room stands on the screen. */
  #learnReaders(roomId: string | undefined): void {
    const encrypted = roomId !== undefined && this.rooms.roomById(roomId)?.encrypted === true;
    whenIdle(() => {
      if (this.rooms.currentId === roomId) this.readers.show(encrypted ? roomId : undefined, this.account.ownId);
    });
  }

  /** The name under which somebody is shown, where the open room does not say. */
  personName = (userId: string): string =>
    userId === this.account.ownId
      ? this.ownName
      : (this.members.people.find((one) => one.userId === userId)?.shownName ?? this.#nameOfDirect(userId));

  /** People of other chats are known by the name of the direct one. */
  #nameOfDirect(userId: string): string {
    const room = this.rooms.joined.find((one) => one.directUserId === userId);
    return legibleLine(room?.name ?? "", 60) || localpart(userId);
  }

  roomName = (roomId: string): string => legibleLine(this.rooms.roomById(roomId)?.name ?? "", 60) || m.room_unnamed();

  openPerson = (userId: string): void => {
    this.person = userId;
    this.detailsOpen = true;
  };

  /** A person, or one of one's own devices. */
  verify = (userId: string, deviceId?: string): void => {
    void this.verification.openVerification({ userId, ...(deviceId === undefined ? {} : { deviceId }) });
  };

  /** Without a side: the one that was used last, so that whoever only scans makes no codes. */
  openCode = (side: "show" | "scan" = this.codeSide, roomId?: string, again?: Invite): void => {
    this.intake.close();
    this.codeSide = side;
    this.codeRoomId = roomId;
    this.codeAgain = again;
    this.dialog = "code";
  };

  /** The way on from a join that wants something of the person. */
  joinAction = (action: JoinAction, userId: string): void => {
    if (action === "verify") this.verify(userId);
    else if (action === "scan") this.openCode("scan");
    else if (action === "set-up")
      this.ownTrust(this.trust.status?.identity === "this-device-unverified" ? "confirm" : "set-up");
    else if (action === "unignore") void this.#unignore(userId);
    else if (action === "look") this.openPerson(userId);
  };

  async #unignore(userId: string): Promise<void> {
    const failure = await this.rooms.unignore(userId);
    if (failure !== undefined) this.notices.fail(failure);
    else this.notices.say(m.invites_unignored({ name: this.personName(userId) }));
  }

  /** What the button of a scanned code does, where it is no invitation of somebody else. */
  pressScanned = async (): Promise<void> => {
    const { sheet } = this.intake;
    if (sheet.at !== "found") return;
    const { scanned } = sheet;
    if (scanned.kind === "invite") {
      this.intake.close();
      if (this.trust.status?.identity === "this-device-unverified") this.ownTrust("confirm");
      else this.page = { at: "settings", section: "invites" };
    } else if (scanned.kind === "user") {
      await this.intake.run(async () => {
        const known = this.rooms.directWith(scanned.userId)?.roomId;
        this.openRoom(known ?? (await this.rooms.create({ kind: "dm", invite: [scanned.userId] })));
      });
    } else if (scanned.kind === "room") {
      await this.intake.run(async () => {
        const known = this.rooms.joined.find((room) => room.roomId === scanned.room)?.roomId;
        this.openRoom(known ?? (await this.rooms.join(scanned.room, scanned.via)));
      });
    } else {
      this.intake.close();
      if (scanned.kind === "verification") this.verification.goOn();
    }
  };

  openDetails = (): void => {
    this.person = undefined;
    this.detailsOpen = true;
  };

  openLink = async (url: string): Promise<void> => {
    const failure = await this.timeline.openLink(url);
    if (failure !== undefined) this.notices.fail(failure);
  };

  /** What one can do about the own identity, from wherever it is offered. */
  ownTrust = (action: TrustAction): void => {
    this.dialog = action === "set-up" ? "keep-safe" : action === "confirm" ? "is-it-you" : "reset-identity";
  };

  /** The history comes back, or shows how it did. */
  restore = (): void => {
    const { restoring } = this.backup;
    if (restoring?.state.at !== "restored" && restoring?.state.at !== "failed") void this.backup.restore();
    this.dialog = "restore";
  };

  /** Work of the background that was opened. */
  openWork = (kind: Work["kind"] | "upload"): void => {
    if (kind === "upload") this.page = { at: "settings", section: "recovery" };
    else this.dialog = kind === "restore" ? "restore" : kind === "import" ? "import-keys" : "export-keys";
  };

  /** Told where nobody is looking at it. */
  #ended({ kind, state }: Work): void {
    if (kind !== "restore" || state.at !== "restored" || this.dialog === "restore" || this.dialog === "is-it-you")
      return;
    const { total } = state.result;
    if (total === 0) return;
    this.notices.say(m.restore_done_notice({ count: total, shown: numberText(total) }), {
      label: m.keys_details(),
      run: () => {
        this.notices.dismiss();
        this.dialog = "restore";
      },
    });
  }

  /** What stands in the way of a message that was not sent: the person who changed, or who would be left out. */
  resolve = (item: Item): void => {
    const { userIds } = (item.failure?.details ?? {}) as { userIds?: unknown };
    const named: unknown = Array.isArray(userIds) ? userIds[0] : undefined;
    const changed = this.members.people.find((one) => one.trust.identity === "verification-violated")?.userId;
    const whom = typeof named === "string" ? named : changed;
    if (item.failure?.code === "identity-changed" && whom !== undefined) this.openPerson(whom);
    else this.openDetails();
  };

  /** After sign-in, and then weekly at most: a way back is missing, or this device is not yet one's own. */
  askAboutHistory = async (): Promise<void> => {
    if (this.#asked) return;
    this.#asked = true;
    this.devices.enter(this.account.ownId);
    await Promise.all([this.trust.load(), this.#preferencesRead]);
    // a dialog that came under somebody's hands would take the Enter that was meant for their words
    while (isWriting()) await new Promise((resolve) => setTimeout(resolve, 500));
    const { status } = this.trust;
    if (status === undefined || this.dialog !== undefined || this.stage !== "chats") return;
    const missing =
      status.identity === "this-device-unverified"
        ? "is-it-you"
        : status.identity === "none" || status.recovery === "none"
          ? "keep-safe"
          : undefined;
    if (missing === undefined && this.trust.practice?.due !== true) return;
    if (!this.#fresh && Date.now() - this.preferences.remindedMs < remindEveryMs) return;
    this.#fresh = false;
    this.preferences.reminded();
    if (missing === undefined) this.#remindToPractise();
    else this.dialog = missing;
  };

  /** Half a year after anybody knew that the way back works: a quiet line, and no dialog. */
  #remindToPractise(): void {
    this.notices.say(m.practise_reminder(), {
      label: m.practise_open(),
      run: () => {
        this.notices.dismiss();
        this.page = { at: "settings", section: "recovery" };
      },
    });
  }

  /** What was saved of a damaged account was read: it goes on as a new device. */
  rescued = (): void => {
    this.rescue.clear();
    // nothing could be read before
    this.#entered = false;
    void this.#enter();
    this.#enteredAnew();
  };

  /** The account goes on as another device: what was of the old one is asked for anew, and the new one is confirmed like any. */
  renewed = (): void => {
    this.notices.say(m.renew_done());
    this.#enteredAnew();
  };

  #enteredAnew(): void {
    this.trust.clear();
    this.devices.clear();
    this.verification.clear();
    void this.verification.load();
    this.#asked = false;
    this.#fresh = true;
    void this.askAboutHistory();
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
    this.#asked = false;
    this.#fresh = this.stage === "sign-in";
    this.trust.clear();
    this.backup.clear();
    this.devices.clear();
    this.verification.clear();
    this.invites.clear();
    this.intake.close();
    this.readers.show(undefined, "");
    this.person = undefined;
    this.rooms.clear();
    this.timeline.clear();
    this.page = { at: "chats" };
    this.dialog = undefined;
    this.detailsOpen = false;
  }

  async #enter(): Promise<void> {
    if (this.account.status?.at !== "signed-in") return;
    void this.verification.load();
    void this.invites.load();
    void this.intake.takeLink();
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
    // In one column the list comes first. Whatever else was opened meanwhile stays in front.
    if (!oneColumn.current) this.#open(roomId);
  }
}

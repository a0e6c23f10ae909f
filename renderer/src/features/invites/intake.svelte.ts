/**
 * Everything that may be a code passes here: by camera, picture, paste, drop, or a link that was opened outside. It is looked at,
 * one sheet says what it is, and nothing is done before the person presses its one button.
 */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Scanned } from "../../../../preload/contract/invites.ts";
import { call, failureOf, on } from "../../bridge.ts";

export type Source = "camera" | "picture" | "paste" | "link";
export type Code = { text: string } | { bytes: Uint8Array };
type Task = { at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure };
export type IntakeSheet =
  | { at: "closed" }
  | { at: "found"; scanned: Scanned; code: Code; source: Source }
  /** Not even what it is could be found out. */
  | { at: "failed"; failure: Failure; code: Code; source: Source }
  /** Whom the code is of was verified with another identity: that is asked about before anything is done. */
  | { at: "identity-changed"; userId: string; group: boolean; code: Code; source: Source }
  | { at: "joining"; joinId: string; userId: string; group: boolean };

export type IntakeOptions = {
  /** A sheet has come: whatever brought the code has done its work. */
  onfound: () => void;
  onjoin: (joinId: string) => void;
};

export class Intake {
  sheet = $state.raw<IntakeSheet>({ at: "closed" });
  task = $state.raw<Task>({ at: "idle" });
  /** Codes that came while the sheet stood there. One answers one question at a time. */
  aside = $state(0);
  #looking = false;
  #options: IntakeOptions;
  #wanted: () => boolean;

  /** `wanted`: somebody is signed in and looks at the chats; a link that is opened before then waits with the host. */
  constructor(options: IntakeOptions, wanted: () => boolean) {
    this.#options = options;
    this.#wanted = wanted;
    on("app.linkWaiting", () => {
      if (this.#wanted()) void this.takeLink();
    });
  }

  takeLink = async (): Promise<void> => {
    try {
      const { text, others } = await call("app.takeLink", {});
      if (text !== undefined) await this.offer({ text }, "link");
      this.aside += others;
    } catch (error) {
      console.warn("an opened link was not taken:", failureOf(error).code);
    }
  };

  /** The first stays until it is answered or put away: what comes under one's finger must not change. */
  offer = async (code: Code, source: Source): Promise<void> => {
    if (this.#looking || this.sheet.at !== "closed") {
      // a camera sees the same code again and again
      if (source === "link") this.aside += 1;
      return;
    }
    this.#looking = true;
    this.aside = 0;
    this.task = { at: "idle" };
    try {
      const scanned = await call("invites.inspect", "text" in code ? code : { bytes: toBase64(code.bytes) });
      this.sheet = { at: "found", scanned, code, source };
    } catch (error) {
      this.sheet = { at: "failed", failure: failureOf(error), code, source };
    } finally {
      this.#looking = false;
    }
    this.#options.onfound();
  };

  close = (): void => {
    this.sheet = { at: "closed" };
    this.task = { at: "idle" };
    this.aside = 0;
  };

  /** The one button, where it is an invitation's. */
  accept = async (acceptIdentityChange = false): Promise<void> => {
    const { sheet } = this;
    if ((sheet.at !== "found" && sheet.at !== "identity-changed") || this.task.at === "busy") return;
    const { code, source } = sheet;
    const whose = whoseInvitation(sheet);
    if (whose === undefined) return;
    this.task = { at: "busy" };
    try {
      const text = "text" in code ? code.text : new TextDecoder().decode(code.bytes);
      const { joinId } = await call("invites.accept", acceptIdentityChange ? { text, acceptIdentityChange } : { text });
      this.#options.onjoin(joinId);
      if (this.sheet === sheet) this.sheet = { at: "joining", joinId, ...whose };
      this.task = { at: "idle" };
    } catch (error) {
      const failure = failureOf(error);
      if (this.sheet !== sheet) return;
      if (failure.code === "identity-changed" && !acceptIdentityChange) {
        this.task = { at: "idle" };
        this.sheet = { at: "identity-changed", ...whose, code, source };
      } else this.task = { at: "failed", failure };
    }
  };

  /** The one button of the others: what it does fails in words on the sheet. Answers whether it was done. */
  run = async (work: () => Promise<void>): Promise<boolean> => {
    if (this.task.at === "busy") return false;
    const { sheet } = this;
    this.task = { at: "busy" };
    try {
      await work();
      if (this.sheet === sheet) this.close();
      return true;
    } catch (error) {
      if (this.sheet === sheet) this.task = { at: "failed", failure: failureOf(error) };
      return false;
    }
  };
}

function whoseInvitation(
  sheet: Extract<IntakeSheet, { at: "found" | "identity-changed" }>,
): { userId: string; group: boolean } | undefined {
  if (sheet.at === "identity-changed") return { userId: sheet.userId, group: sheet.group };
  const { scanned } = sheet;
  return scanned.kind === "invite" ? { userId: scanned.userId, group: scanned.inviteKind === "group" } : undefined;
}

const toBase64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));

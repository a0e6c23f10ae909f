/** A code of one's own while it is shown: made for this, held open, saved. Its link is kept no longer than the dialog stands. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Invite, InviteKind, InvitePreset } from "../../../../preload/contract/invites.ts";
import { call, failureOf } from "../../bridge.ts";
import { saveFile } from "../../lib/save-text.ts";
import { pngOf, svgOf } from "./code-file.ts";

export type Target = { kind: InviteKind; roomId?: string };
export type OwnCodeState =
  | { at: "making" }
  | { at: "shown"; tokenId: string; link: string }
  | { at: "withdrawn" }
  | { at: "failed"; failure: Failure };
export type FileFormat = "png" | "svg";

/** Who joins before the end of ten minutes is verified at once; the end moves on for as long as the code is looked at. */
const holdEveryMs = 60_000;

export class OwnCode {
  state = $state.raw<OwnCodeState>({ at: "making" });
  /** What the last try to save it, or withdraw it, came to. */
  failure = $state.raw<Failure | undefined>();
  preset = $state<InvitePreset>("show");
  /** It was there before. */
  isAgain = false;
  readonly target: Target;
  #timer: ReturnType<typeof setInterval> | undefined;
  #turn = 0;

  constructor(target: Target) {
    this.target = target;
  }

  make = async (preset: InvitePreset, label: string): Promise<void> => {
    const turn = this.#begin(preset);
    try {
      const { tokenId, link } = await call("invites.create", {
        ...this.target,
        preset,
        ...(label.trim() === "" ? {} : { label: label.trim() }),
      });
      // another was asked for, or the dialog is gone
      if (turn !== this.#turn) return;
      this.state = { at: "shown", tokenId, link };
      if (preset === "show") this.#hold(tokenId);
    } catch (error) {
      if (turn === this.#turn) this.state = { at: "failed", failure: failureOf(error) };
    }
  };

  /** A window in which it verifies unasked was for whoever stood before it then, so it is not held open. */
  again = async ({ tokenId, preset }: Pick<Invite, "tokenId" | "preset">): Promise<void> => {
    const turn = this.#begin(preset);
    this.isAgain = true;
    try {
      const { link } = await call("invites.show", { tokenId });
      if (turn === this.#turn) this.state = { at: "shown", tokenId, link };
    } catch (error) {
      if (turn === this.#turn) this.state = { at: "failed", failure: failureOf(error) };
    }
  };

  #begin(preset: InvitePreset): number {
    this.end();
    this.preset = preset;
    this.failure = undefined;
    this.isAgain = false;
    return (this.#turn += 1);
  }

  /** The dialog goes. */
  end(): void {
    clearInterval(this.#timer);
    this.#turn += 1;
    this.state = { at: "making" };
  }

  withdrawn(): void {
    clearInterval(this.#timer);
    this.state = { at: "withdrawn" };
  }

  /** True once it is written. The person chooses where; a door without dialogs leaves that to the browser. */
  save = async (format: FileFormat, name: string): Promise<boolean> => {
    if (this.state.at !== "shown") return false;
    this.failure = undefined;
    const file = `${name}.${format}`;
    try {
      const bytes = format === "png" ? await pngOf(this.state.link) : svgOf(this.state.link);
      let chosen;
      try {
        chosen = await call("file.choose", {
          purpose: "save",
          name: file,
          filters: [{ name: format.toUpperCase(), extensions: [format] }],
        });
      } catch (error) {
        if (failureOf(error).code !== "unsupported") throw error;
        saveFile(file, bytes, format === "png" ? "image/png" : "image/svg+xml");
        return true;
      }
      if (chosen === null) return false;
      await call("file.save", { path: chosen.path, base64: toBase64(bytes) });
      return true;
    } catch (error) {
      this.failure = failureOf(error);
      return false;
    }
  };

  #hold(tokenId: string): void {
    this.#timer = setInterval(() => {
      // nobody looks at a window that is hidden
      if (document.hidden) return;
      call("invites.keepOpen", { tokenId }).catch((error: unknown) => {
        console.warn("the code was not held open:", failureOf(error).code);
      });
    }, holdEveryMs);
  }
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

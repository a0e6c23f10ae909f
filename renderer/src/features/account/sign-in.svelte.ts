/** The sign-in form: finds the server while one types, then signs in or makes an account there. */
import type { Failure } from "../../../../preload/contract/define.ts";
import { failureOf } from "../../bridge.ts";
import type { Account, Discovered } from "./account.svelte.ts";

export type ServerState =
  | { at: "empty" }
  | { at: "looking"; server: string }
  | { at: "found"; server: string; found: Discovered }
  | { at: "failed"; server: string; failure: Failure };

export type SubmitState = { at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure };

export class SignInForm {
  server = $state("");
  user = $state("");
  password = $state("");
  repeated = $state("");
  way = $state<"login" | "register">("login");
  serverState = $state.raw<ServerState>({ at: "empty" });
  submitState = $state.raw<SubmitState>({ at: "idle" });
  readonly browserOnly = $derived(
    this.serverState.at === "found" && !this.serverState.found.flows.includes("password"),
  );
  readonly mayRegister = $derived(this.serverState.at === "found" && this.serverState.found.registration);
  readonly complete = $derived(
    this.server.trim() !== "" &&
      this.user.trim() !== "" &&
      this.password !== "" &&
      (this.way === "login" || this.repeated === this.password),
  );
  #account: Account;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(account: Account) {
    this.#account = account;
  }

  /** A full address (`@ana:example.org`) typed anywhere fills both fields. */
  typed(field: "server" | "user"): void {
    this.submitState = { at: "idle" };
    const address = /^@([^:\s]+):(\S+)$/.exec(field === "server" ? this.server.trim() : this.user.trim());
    if (address?.[1] !== undefined && address[2] !== undefined && /\.|localhost|:\d+$/.test(address[2])) {
      if (field === "server") this.user = address[1];
      else if (this.server.trim() !== "" || !/\.\w{2,}$|:\d+$/.test(address[2])) return;
      this.server = address[2];
    } else if (field === "user") return;
    clearTimeout(this.#timer);
    if (this.server.trim() === "") this.serverState = { at: "empty" };
    else this.#timer = setTimeout(() => void this.look(), 500);
  }

  /** Finds the server of what is typed; answers what was found, once for the same text. */
  look = async (): Promise<Discovered | undefined> => {
    clearTimeout(this.#timer);
    const server = this.server.trim();
    if (server === "") return undefined;
    if (this.serverState.at === "found" && this.serverState.server === server) return this.serverState.found;
    this.serverState = { at: "looking", server };
    try {
      const found = await this.#account.discover(server);
      if (this.server.trim() !== server) return undefined;
      this.serverState = { at: "found", server, found };
      if (!found.registration) this.way = "login";
      return found;
    } catch (error) {
      if (this.server.trim() === server) this.serverState = { at: "failed", server, failure: failureOf(error) };
      return undefined;
    }
  };

  async submit(): Promise<void> {
    if (!this.complete || this.submitState.at === "busy") return;
    this.submitState = { at: "busy" };
    const found = await this.look();
    if (found === undefined || this.browserOnly) {
      this.submitState = { at: "idle" };
      return;
    }
    try {
      await this.#account.signIn(this.way, found.homeserver, this.user.trim(), this.password);
      this.password = "";
      this.repeated = "";
      this.submitState = { at: "idle" };
    } catch (error) {
      this.submitState = { at: "failed", failure: failureOf(error) };
    }
  }
}

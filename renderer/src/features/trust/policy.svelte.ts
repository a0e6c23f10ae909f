/** Whom messages may go to, for all chats or for one; a stricter choice is tried out before it holds. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Output } from "../../../../preload/contract/index.ts";
import type { SendTo, TrustPolicy } from "../../../../preload/contract/trust.ts";
import { call, failureOf, on } from "../../bridge.ts";

export type Simulation = Output<"trust.simulate">;
export type PolicyState = { at: "loading" } | { at: "ready"; policy: TrustPolicy } | { at: "failed"; failure: Failure };
/** Null: a chat goes with the choice for all of them again. */
type Choice = SendTo | null;
export type Wish =
  | { at: "none" }
  | { at: "trying"; sendTo: Choice }
  | { at: "asked"; sendTo: Choice; simulation: Simulation }
  | { at: "failed"; sendTo: Choice; failure: Failure };

const strictness: Record<SendTo, number> = { everyone: 0, "signed-devices": 1, "verified-users": 2 };

export class Policy {
  state = $state.raw<PolicyState>({ at: "loading" });
  wish = $state.raw<Wish>({ at: "none" });
  #roomId: string | undefined;
  #off = on("trust.changed", () => {
    if (this.wish.at === "none") void this.load();
  });

  /** Without a room: the choice for all chats. */
  constructor(roomId?: string) {
    this.#roomId = roomId;
  }

  get chosen(): SendTo | undefined {
    if (this.state.at !== "ready") return undefined;
    const { policy } = this.state;
    if (this.wish.at !== "none") return this.wish.sendTo ?? policy.sendTo;
    return this.#roomId === undefined ? policy.sendTo : (policy.roomOverride ?? policy.sendTo);
  }

  load = async (): Promise<void> => {
    try {
      this.state = { at: "ready", policy: await call("trust.policy", this.#where()) };
    } catch (error) {
      if (this.state.at !== "ready") this.state = { at: "failed", failure: failureOf(error) };
    }
  };

  /** A looser choice holds at once; a stricter one once it is known whom it cuts off, and the person said so. */
  choose = async (sendTo: Choice): Promise<void> => {
    const before = this.wish.at === "none" ? this.chosen : undefined;
    if (sendTo === before) return;
    this.wish = { at: "trying", sendTo };
    const then = this.chosen;
    try {
      if (before !== undefined && then !== undefined && strictness[then] > strictness[before]) {
        const simulation = await call("trust.simulate", { sendTo: then, ...this.#where() });
        if (simulation.rooms.length > 0) {
          this.wish = { at: "asked", sendTo, simulation };
          return;
        }
      }
      await this.#set(sendTo);
    } catch (error) {
      this.wish = { at: "failed", sendTo, failure: failureOf(error) };
    }
  };

  confirm = async (): Promise<void> => {
    if (this.wish.at !== "asked") return;
    const { sendTo } = this.wish;
    this.wish = { at: "trying", sendTo };
    try {
      await this.#set(sendTo);
    } catch (error) {
      this.wish = { at: "failed", sendTo, failure: failureOf(error) };
    }
  };

  drop = (): void => {
    this.wish = { at: "none" };
  };

  end(): void {
    this.#off();
  }

  async #set(sendTo: Choice): Promise<void> {
    const roomId = this.#roomId;
    const choice = sendTo === null ? roomId !== undefined && { sendTo, roomId } : { sendTo, ...this.#where() };
    if (choice !== false) this.state = { at: "ready", policy: await call("trust.policy", choice) };
    this.wish = { at: "none" };
  }

  #where(): { roomId?: string } {
    return this.#roomId === undefined ? {} : { roomId: this.#roomId };
  }
}

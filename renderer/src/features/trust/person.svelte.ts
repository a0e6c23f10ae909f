/** One person as far as trust goes: their identity, their devices, and what was noted about both. */
import type { Device } from "../../../../preload/contract/devices.ts";
import type { Failure } from "../../../../preload/contract/define.ts";
import type { UserTrust } from "../../../../preload/contract/rooms.ts";
import type { LedgerEntry } from "../../../../preload/contract/trust.ts";
import { call, failureOf, on } from "../../bridge.ts";
import { saveText } from "../../lib/save-text.ts";

export type PersonState =
  | { at: "loading" }
  | { at: "ready"; trust: UserTrust; devices: Device[]; ledger: LedgerEntry[] }
  | { at: "failed"; failure: Failure };

const shownEntries = 200;
const allEntries = 10_000;

export class PersonTrust {
  state = $state.raw<PersonState>({ at: "loading" });
  /** What the last press of a button came to. */
  task = $state.raw<{ at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure }>({ at: "idle" });
  readonly userId: string;
  #offs: (() => void)[];

  constructor(userId: string) {
    this.userId = userId;
    this.#offs = [
      on("trust.changed", ({ userIds }) => {
        if (userIds?.includes(userId) === true) void this.load();
      }),
      on("devices.changed", ({ userIds }) => {
        if (userIds.includes(userId)) void this.load();
      }),
    ];
  }

  load = async (): Promise<void> => {
    const { userId } = this;
    try {
      const [trust, devices, ledger] = await Promise.all([
        call("trust.user", { userId }),
        call("devices.list", { userId }),
        call("trust.ledger", { userId, limit: shownEntries }),
      ]);
      this.state = { at: "ready", trust, devices, ledger };
    } catch (error) {
      if (this.state.at !== "ready") this.state = { at: "failed", failure: failureOf(error) };
    }
  };

  /** Accepts the identity that was shown, and no later one. */
  accept = (): Promise<boolean> => {
    const fingerprint = this.state.at === "ready" ? this.state.trust.fingerprint : undefined;
    return this.#do(() =>
      call("trust.acceptIdentity", { userId: this.userId, ...(fingerprint === undefined ? {} : { fingerprint }) }),
    );
  };

  withdraw = (): Promise<boolean> => this.#do(() => call("trust.withdrawVerification", { userId: this.userId }));

  block = (deviceId: string, blocked: boolean): Promise<boolean> =>
    this.#do(() => call("devices.block", { userId: this.userId, deviceId, blocked }));

  /** The whole of what was noted, as a file for the person's own records. */
  exportLedger = (name: string): Promise<boolean> =>
    this.#do(async () => {
      const entries = await call("trust.ledger", { userId: this.userId, limit: allEntries });
      const rows = entries.map(({ atMs, ...entry }) => ({ at: new Date(atMs).toISOString(), ...entry }));
      saveText(name, `${JSON.stringify(rows, undefined, 2)}\n`);
    });

  end(): void {
    for (const off of this.#offs) off();
  }

  async #do(work: () => Promise<unknown>): Promise<boolean> {
    this.task = { at: "busy" };
    try {
      await work();
      await this.load();
      this.task = { at: "idle" };
      return true;
    } catch (error) {
      this.task = { at: "failed", failure: failureOf(error) };
      return false;
    }
  }
}

/** Codes of one's own, joins with those of others, and what asks for the person's word. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Alarm, Invite, InviteDigits, InviteRequest, Join } from "../../../../preload/contract/invites.ts";
import { call, failureOf, on } from "../../bridge.ts";
import type { Digits } from "./invite-text.ts";

type Kind = "codes" | "joins" | "requests" | "alarms";
export type CodesState = { at: "loading" } | { at: "ready" } | { at: "failed"; failure: Failure };

/** Nothing of it is confirmed yet. A group that was asked to let one in is the group's own matter. */
export const canCancel = ({ state }: Join): boolean =>
  state.at !== "done" && state.at !== "failed" && !(state.at === "blocked" && state.code === "no-permission");
export const isEnded = ({ state }: Join): boolean => state.at === "done" || state.at === "failed";

export class Invites {
  state = $state.raw<CodesState>({ at: "loading" });
  codes = $state.raw<readonly Invite[]>([]);
  /** Oldest first. */
  joins = $state.raw<readonly Join[]>([]);
  requests = $state.raw<readonly InviteRequest[]>([]);
  alarms = $state.raw<readonly Alarm[]>([]);
  /** Codes and requests that are being changed. */
  busy = $state.raw<ReadonlySet<string>>(new Set());
  /** Since when a join has been under way, as far as this window saw it; 0 for one that is older than the window. */
  sinceMs = $state.raw<ReadonlyMap<string, number>>(new Map());
  /** What was put away. */
  #hidden = $state.raw<ReadonlySet<string>>(new Set());
  /** Joins that went on while this window looked: of these it says how they ended. */
  #seen = $state.raw<ReadonlySet<string>>(new Set());
  #loaded = false;
  #running = new Set<Kind>();
  #again = new Set<Kind>();

  /** What is under way, or has come to an end that was not yet put away. */
  readonly shownJoins = $derived.by(() =>
    this.joins.filter((join, index) => {
      if (this.#hidden.has(join.joinId)) return false;
      if (!isEnded(join)) return true;
      // a newer code of theirs speaks for itself
      if (this.joins.slice(index + 1).some((later) => later.userId === join.userId)) return false;
      // a block on somebody stands until it is settled, also after a restart
      return this.#seen.has(join.joinId) || (join.state.at === "failed" && join.state.code === "keys-differ");
    }),
  );
  constructor() {
    on("invites.changed", (changed) => {
      // each of them asks for the truth: what was missed, or came out of order, does no harm
      if (changed.invites !== undefined) void this.#refresh("codes");
      if (changed.joins !== undefined) void this.#refresh("joins");
      if (changed.requests !== undefined) void this.#refresh("requests");
      if (changed.alarms !== undefined) void this.#refresh("alarms");
    });
  }

  load = async (): Promise<void> => {
    await Promise.all((["codes", "joins", "requests", "alarms"] as const).map((kind) => this.#refresh(kind)));
  };

  clear(): void {
    this.codes = [];
    this.joins = [];
    this.requests = [];
    this.alarms = [];
    this.state = { at: "loading" };
    this.sinceMs = new Map();
    this.#hidden = new Set();
    this.#seen = new Set();
    this.#loaded = false;
  }

  code = (tokenId: string): Invite | undefined => this.codes.find((one) => one.tokenId === tokenId);

  join = (joinId: string): Join | undefined => this.joins.find((one) => one.joinId === joinId);

  /** The newest join that has to do with a chat: with its person, or into it. */
  joinFor(roomId: string, directUserId: string | undefined): Join | undefined {
    return this.shownJoins.findLast((join) =>
      join.state.at === "done" && join.state.roomId !== undefined
        ? join.state.roomId === roomId
        : join.userId === directUserId,
    );
  }

  /** What can be compared with somebody, by whoever's code one of the two came. Each once. */
  digitsWith(userId: string): Digits[] {
    const scanned = this.joins.filter((join) => join.userId === userId).flatMap(({ digits }) => digits ?? []);
    const all = [
      ...scanned.toReversed().map((digits) => ({ digits })),
      ...this.codes.flatMap((code) => code.digits ?? []).filter((one) => one.userId === userId),
    ];
    return all.filter((one, index) => all.findIndex((other) => other.digits === one.digits) === index);
  }

  /** Of those whom an alarm is about, in the order in which they came. */
  digitsOf = ({ tokenId, userIds, kind }: Alarm): InviteDigits[] =>
    kind === "second-key" || kind === "two-users"
      ? (this.code(tokenId)?.digits ?? []).filter((one) => userIds.includes(one.userId)).toReversed()
      : [];

  hide = (id: string): void => {
    this.#hidden = new Set([...this.#hidden, id]);
  };

  /** One that was just begun from here. */
  follow = async (joinId: string): Promise<void> => {
    this.#see(joinId, Date.now());
    await this.#refresh("joins");
  };

  withdraw = (tokenId: string): Promise<Failure | undefined> =>
    this.#change(tokenId, async () => {
      this.#put(await call("invites.withdraw", { tokenId }));
    });

  revive = (tokenId: string): Promise<Failure | undefined> =>
    this.#change(tokenId, async () => {
      this.#put(await call("invites.revive", { tokenId }));
    });

  putAway = (alarmId: string): Promise<Failure | undefined> =>
    this.#change(alarmId, async () => {
      await call("invites.putAway", { alarmId });
      this.alarms = this.alarms.filter((one) => one.alarmId !== alarmId);
    });

  /** Its end comes as a change. */
  cancel = (joinId: string): Promise<Failure | undefined> =>
    this.#change(joinId, async () => {
      await call("invites.cancel", { joinId });
    });

  contactOnly = (joinId: string): Promise<Failure | undefined> =>
    this.#change(joinId, async () => {
      await call("invites.contactOnly", { joinId });
    });

  answer = (requestId: string, gave: boolean): Promise<Failure | undefined> =>
    this.#change(requestId, async () => {
      await call("invites.answer", { requestId, gave });
      this.requests = this.requests.filter((one) => one.requestId !== requestId);
    });

  async #change(id: string, work: () => Promise<void>): Promise<Failure | undefined> {
    this.busy = new Set([...this.busy, id]);
    try {
      await work();
      return undefined;
    } catch (error) {
      return failureOf(error);
    } finally {
      this.busy = new Set([...this.busy].filter((one) => one !== id));
    }
  }

  #put(invite: Invite): void {
    const at = this.codes.findIndex((one) => one.tokenId === invite.tokenId);
    this.codes = at === -1 ? [invite, ...this.codes] : this.codes.with(at, invite);
  }

  #see(joinId: string, sinceMs: number): void {
    if (!this.#seen.has(joinId)) this.#seen = new Set([...this.#seen, joinId]);
    if (!this.sinceMs.has(joinId)) this.sinceMs = new Map(this.sinceMs).set(joinId, sinceMs);
  }

  /** One question at a time of each kind; a change that comes meanwhile asks once more. */
  async #refresh(kind: Kind): Promise<void> {
    if (this.#running.has(kind)) {
      this.#again.add(kind);
      return;
    }
    this.#running.add(kind);
    try {
      await this.#ask(kind);
    } catch (error) {
      const failure = failureOf(error);
      // what is shown stands; the next change asks again
      if (kind === "codes" && this.state.at !== "ready") this.state = { at: "failed", failure };
      if (failure.code === "unexpected") console.warn(`${kind} were not listed`);
    } finally {
      this.#running.delete(kind);
    }
    if (this.#again.delete(kind)) await this.#refresh(kind);
  }

  async #ask(kind: Kind): Promise<void> {
    switch (kind) {
      case "codes":
        this.codes = await call("invites.list", {});
        this.state = { at: "ready" };
        break;
      case "joins": {
        this.joins = (await call("invites.joins", {})).toReversed();
        const sinceMs = this.#loaded ? Date.now() : 0;
        this.#loaded = true;
        for (const join of this.joins) if (!isEnded(join)) this.#see(join.joinId, sinceMs);
        break;
      }
      case "requests":
        this.requests = await call("invites.requests", {});
        break;
      case "alarms":
        this.alarms = await call("invites.alarms", {});
    }
  }
}

/** Verifications as the window shows them: which there are, which one the sheet shows, and what is pressed on it. */
import type { Failure } from "../../../../preload/contract/define.ts";
import type { Flow } from "../../../../preload/contract/verification.ts";
import { call, failureOf, on } from "../../bridge.ts";
import { codeKind, type CodeKind } from "./code-kind.ts";

/** Whom to verify; with a device, that one of one's own. */
export type Target = { userId: string; deviceId?: string };
/** How one has chosen to go on while the flow is `ready`. */
export type Way = { at: "choose" } | { at: "scan" } | { at: "show"; code: Uint8Array } | { at: "waiting" };
export type Sheet =
  | { at: "closed" }
  /** The request is being sent. */
  | { at: "asking"; target: Target }
  | { at: "not-asked"; target: Target; failure: Failure }
  | { at: "flow"; flowId: string };
/** What the last code that was held into the camera was, where it was not the right one. */
export type Refusal = Exclude<CodeKind, "verification"> | "refused" | "keys-differ";
type Task = { at: "idle" } | { at: "busy" } | { at: "failed"; failure: Failure };

const unfinished = (flow: Flow): boolean => flow.state.at !== "done" && flow.state.at !== "cancelled";

export class Verification {
  flows = $state.raw<readonly Flow[]>([]);
  sheet = $state.raw<Sheet>({ at: "closed" });
  way = $state.raw<Way>({ at: "choose" });
  task = $state.raw<Task>({ at: "idle" });
  refusal = $state.raw<Refusal | undefined>();
  /** The three numbers in place of the seven pictures. */
  byNumbers = $state(false);
  /** Names of devices by user and device. */
  deviceNames = $state.raw<ReadonlyMap<string, string>>(new Map());
  /** When each flow began to settle, as far as this window saw it. */
  settlingSinceMs = $state.raw<ReadonlyMap<string, number>>(new Map());
  readonly current = $derived.by(() => {
    const { sheet } = this;
    return sheet.at === "flow" ? this.flows.find((flow) => flow.flowId === sheet.flowId) : undefined;
  });
  #ownId: () => string;
  /** Cards that were put away. */
  #hidden = $state.raw<ReadonlySet<string>>(new Set());
  /** Whoever was turned away once does not get a sheet again; a card in the conversation is left. */
  #quiet = new Set<string>();
  /** Flows that a sheet was shown for unasked. */
  #announced = new Set<string>();

  constructor(ownId: () => string) {
    this.#ownId = ownId;
    on("verification.changed", ({ flow }) => {
      this.#take(flow);
    });
  }

  async load(): Promise<void> {
    try {
      for (const flow of await call("verification.list", {})) this.#take(flow);
    } catch (error) {
      // there is nothing to show, and each later change brings its flow
      console.warn("verifications were not listed:", failureOf(error).code);
    }
  }

  clear(): void {
    this.flows = [];
    this.sheet = { at: "closed" };
    this.#hidden = new Set();
    this.#quiet.clear();
    this.#announced.clear();
    this.#reset();
  }

  /** The entry point for all of the window: goes on with what has begun with them, or asks them. */
  openVerification = async (target: Target): Promise<void> => {
    const begun = this.flows.findLast(
      (flow) =>
        flow.userId === target.userId &&
        unfinished(flow) &&
        (target.deviceId === undefined || flow.deviceId === target.deviceId),
    );
    if (begun !== undefined) {
      this.show(begun.flowId);
      return;
    }
    this.#reset();
    const asking: Sheet = { at: "asking", target };
    this.sheet = asking;
    try {
      const { flowId } = await call("verification.request", target);
      if (!this.flows.some((flow) => flow.flowId === flowId)) await this.load();
      // closed meanwhile: the request stands, and its card tells of it
      if (this.sheet === asking) this.show(flowId);
    } catch (error) {
      if (this.sheet === asking) this.sheet = { at: "not-asked", target, failure: failureOf(error) };
    }
  };

  /** Whether one is under way that a code could belong to. */
  readonly begun = $derived(this.flows.some(unfinished));

  /** Shows the newest that is under way. */
  goOn = (): void => {
    const flow = this.flows.findLast(unfinished);
    if (flow !== undefined) this.show(flow.flowId);
  };

  show = (flowId: string): void => {
    this.#reset();
    this.sheet = { at: "flow", flowId };
    const flow = this.current;
    if (flow?.deviceId !== undefined) void this.#nameDevice(flow.userId, flow.deviceId);
  };

  /** Puts the sheet away; the flow goes on. */
  close = (): void => {
    const flow = this.current;
    if (flow !== undefined) {
      if (flow.state.at === "requested" && !flow.mine) this.#quiet.add(flow.userId);
      if (!unfinished(flow)) this.hideCard(flow.flowId);
    }
    this.sheet = { at: "closed" };
    this.#reset();
  };

  /** The newest flow that a conversation shows a card of: with its person, or among one's own devices. */
  cardFor(roomId: string | undefined): Flow | undefined {
    return this.flows.findLast(
      (flow) =>
        !this.#hidden.has(flow.flowId) &&
        (flow.userId === this.#ownId() ? unfinished(flow) : roomId !== undefined && flow.roomId === roomId),
    );
  }

  hideCard = (flowId: string): void => {
    this.#hidden = new Set([...this.#hidden, flowId]);
  };

  accept = (flowId: string): Promise<void> => this.#run(() => call("verification.accept", { flowId }));

  decline = async (flow: Flow): Promise<void> => {
    this.#quiet.add(flow.userId);
    await this.cancel(flow.flowId);
    this.hideCard(flow.flowId);
    this.sheet = { at: "closed" };
  };

  cancel = (flowId: string): Promise<void> => this.#run(() => call("verification.cancel", { flowId }));

  confirm = (flowId: string, same: boolean): Promise<void> =>
    this.#run(() => call("verification.confirm", { flowId, same }));

  comparePictures = async (flowId: string): Promise<void> => {
    this.way = { at: "waiting" };
    await this.#run(() => call("verification.start", { flowId, method: "emoji" }));
    if (this.task.at === "failed") this.way = { at: "choose" };
  };

  showCode = (flowId: string): Promise<void> =>
    this.#run(async () => {
      const { bytes } = await call("verification.showQr", { flowId });
      this.way = { at: "show", code: fromBase64(bytes) };
    });

  scanCode = (): void => {
    this.task = { at: "idle" };
    this.refusal = undefined;
    this.way = { at: "scan" };
  };

  choose = (): void => {
    this.task = { at: "idle" };
    this.refusal = undefined;
    this.way = { at: "choose" };
  };

  /** Of the codes in view, the one for this is used; of others, one is named. */
  scanned = async (flowId: string, codes: readonly Uint8Array[]): Promise<void> => {
    if (this.task.at === "busy") return;
    const right = codes.find((code) => codeKind(code) === "verification");
    const [first] = codes;
    if (right === undefined) {
      const kind = first === undefined ? "other" : codeKind(first);
      this.refusal = kind === "verification" ? "other" : kind;
      return;
    }
    this.refusal = undefined;
    await this.#run(async () => {
      await call("verification.scanQr", { flowId, bytes: toBase64(right) });
      // the camera has done its work
      if (this.way.at === "scan") this.way = { at: "waiting" };
    });
    if (this.task.at !== "failed") return;
    const { code } = this.task.failure;
    if (code !== "bad-request" && code !== "wrong-key") return;
    this.refusal = code === "wrong-key" ? "keys-differ" : "refused";
    this.task = { at: "idle" };
  };

  nameOfDevice(userId: string, deviceId: string): string {
    return this.deviceNames.get(`${userId} ${deviceId}`) ?? deviceId;
  }

  async #run(work: () => Promise<unknown>): Promise<void> {
    const { sheet } = this;
    this.task = { at: "busy" };
    try {
      await work();
      if (this.sheet === sheet) this.task = { at: "idle" };
    } catch (error) {
      if (this.sheet === sheet) this.task = { at: "failed", failure: failureOf(error) };
    }
  }

  #take(flow: Flow): void {
    const known = this.flows.findIndex((one) => one.flowId === flow.flowId);
    const before = this.flows[known];
    this.flows = known === -1 ? [...this.flows, flow] : this.flows.with(known, flow);
    if (flow.state.at === "settling" && !this.settlingSinceMs.has(flow.flowId))
      this.settlingSinceMs = new Map(this.settlingSinceMs).set(flow.flowId, Date.now());
    if (this.current?.flowId === flow.flowId && before?.state.at !== flow.state.at) this.#reset();
    if (before === undefined && flow.deviceId !== undefined && unfinished(flow))
      void this.#nameDevice(flow.userId, flow.deviceId);
    if (this.#announces(flow)) {
      this.#announced.add(flow.flowId);
      this.show(flow.flowId);
    }
  }

  /** A request comes as a sheet, but not over another, nor again and again from one whom the person has put off. */
  #announces(flow: Flow): boolean {
    if (flow.mine || flow.state.at !== "requested" || this.#announced.has(flow.flowId)) return false;
    if (this.#quiet.has(flow.userId) && flow.userId !== this.#ownId()) return false;
    if (this.sheet.at === "closed") return true;
    const { current } = this;
    return current !== undefined && current.userId === flow.userId && !unfinished(current);
  }

  async #nameDevice(userId: string, deviceId: string): Promise<void> {
    try {
      const devices = await call("devices.list", { userId });
      const name = devices.find((device) => device.deviceId === deviceId)?.name;
      if (name !== undefined && name !== "")
        this.deviceNames = new Map(this.deviceNames).set(`${userId} ${deviceId}`, name);
    } catch (error) {
      console.warn("a device has no name to show:", failureOf(error).code);
    }
  }

  #reset(): void {
    this.way = { at: "choose" };
    this.task = { at: "idle" };
    this.refusal = undefined;
    this.byNumbers = false;
  }
}

const toBase64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

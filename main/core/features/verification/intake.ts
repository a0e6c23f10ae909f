import { isObject, type Json } from "../../json.ts";
import { createTurns } from "../../in-turn.ts";
import { log } from "../../log.ts";
import type { VerificationMachine } from "../../matrix/verification.ts";
import type { EventRow } from "../../storage/timeline-store.ts";
import type { Entry, Flows, Received } from "./flows.ts";
import { decide, isFresh, type OpenFlow, type View } from "./gate.ts";
import { wireOfRoom, wireOfToDevice, type Wire } from "./wire.ts";

type Parts = {
  me: string;
  deviceId: string;
  flows: Flows;
  machine: () => Promise<VerificationMachine>;
  nowMs: () => number;
  ignored: (userId: string) => boolean;
  /** Ends a flow and tells the other side. */
  cancel: (entry: Entry, code: string) => void;
  accept: (entry: Entry) => Promise<void>;
  /** Looks at every open flow again, after what arrived. */
  advance: () => Promise<void>;
  rows: (eventIds: Iterable<string>) => EventRow[];
};
type Announced = OpenFlow & { received: Received; wire: Wire; accept: boolean; instead: string[] };
const mostHeld = 4;
const mostSeen = 2_000;

/** What arrives, by both roads: decided on, then shown to Rust crypto, then looked at. One after the other, in the order of arrival. */
export function createIntake(parts: Parts) {
  const { me, deviceId, flows, nowMs } = parts;
  /** Requests that the machine is being shown, and that are no flows yet. */
  const announced = new Map<string, Announced>();
  const seen = new Set<string>();
  /** Feeding and asking take turns: an answer must not be fed before the request it answers is a flow. */
  const inTurn = createTurns();

  const view = (): View => ({
    me,
    deviceId,
    nowMs: nowMs(),
    ignored: parts.ignored,
    open: [...flows.view(), ...announced.values()],
    known: (flowId) => flows.isKnown(flowId) || announced.has(flowId),
  });
  /** True where the machine may see it now. */
  const judge = (wire: Wire, received: Received): boolean => {
    const decision = decide(wire, view());
    switch (decision.kind) {
      case "pass":
        if (wire.kind === "request") announce(wire, received, false, []);
        return true;
      case "replace":
        for (const flowId of decision.flowIds) {
          announced.delete(flowId);
          const entry = flows.find(flowId);
          if (entry !== undefined) parts.cancel(entry, decision.accept ? "m.accepted" : "m.user");
        }
        announce(wire, received, decision.accept, decision.flowIds);
        return true;
      case "hold": {
        const held = flows.find(wire.flowId)?.held;
        if (held !== undefined && held.length < mostHeld) held.push(received);
        return false;
      }
      case "answered-elsewhere":
        endQuietly(flows.find(wire.flowId), wire.kind === "cancel" ? "m.user" : "m.accepted");
        return false;
      case "drop":
        if (decision.why !== "own" && decision.why !== "known")
          log.debug(`a verification ${wire.kind} was left out: ${decision.why}`);
        return false;
    }
  };
  const announce = (wire: Wire, received: Received, accept: boolean, instead: string[]) => {
    const flow = { flowId: wire.flowId, userId: wire.sender, mine: false, unanswered: true, agreed: false };
    announced.set(wire.flowId, { ...flow, received, wire, accept, instead });
  };
  /** The machine's own flow is cancelled, and nobody is told: it goes on elsewhere. */
  const endQuietly = (entry: Entry | undefined, code: string) => {
    if (entry === undefined) return;
    entry.handle?.cancel("m.user");
    flows.setState(entry, { at: "cancelled", code, byMe: false });
  };

  /** Of a sync's to-device events those that the machine may see; `done` says whether it took them. */
  const toDevice = (events: unknown[]): { events: unknown[]; done: (taken: boolean) => void } => {
    const passed: { event: unknown; flowId?: string }[] = [];
    const fresh = new Set<string>();
    for (const event of events) {
      const wire = wireOfToDevice(event);
      if (wire === undefined || !isObject(event)) {
        passed.push({ event });
        continue;
      }
      if (!judge(wire, { event })) continue;
      if (wire.kind === "request") fresh.add(wire.flowId);
      passed.push({ event, flowId: wire.flowId });
    }
    // a request that a later one of the same batch replaced would cancel both
    const gone = [...fresh].filter((flowId) => !announced.has(flowId));
    return {
      events: passed.flatMap(({ event, flowId }) => (flowId !== undefined && gone.includes(flowId) ? [] : [event])),
      done: (taken) => {
        if (taken) void inTurn(adopt).then(parts.advance).catch(unexpected);
        // the same sync comes again
        else for (const flowId of fresh) announced.delete(flowId);
      },
    };
  };

  /** Makes flows of the requests that the machine took. */
  const adopt = async (): Promise<void> => {
    for (const one of [...announced.values()]) {
      const machine = await parts.machine();
      let handle = machine.find(one.userId, one.flowId);
      if (handle === undefined && one.received.roomId === undefined) {
        // the device that asks may be newer than what is known of its user's devices
        await machine.learnDevices(one.userId).catch(unexpected);
        await machine.forgetEnded([one.received.event]);
        handle = machine.find(one.userId, one.flowId);
      }
      announced.delete(one.flowId);
      if (handle === undefined) {
        log.info("a verification request was not taken: its device is unknown");
        continue;
      }
      const entry = flows.add(handle, {
        mine: false,
        requestedAtMs: one.wire.atMs ?? nowMs(),
        request: one.received,
      });
      if (!one.accept) continue;
      for (const flowId of one.instead) {
        const before = flows.find(flowId);
        if (before !== undefined) flows.update(before, { replacedBy: one.flowId });
      }
      await parts.accept(entry).catch(unexpected);
    }
  };

  const feed = async (roomId: string, event: RoomVerification): Promise<void> => {
    const wire = wireOfRoom(event);
    if (wire === undefined || !judge(wire, { roomId, event })) return;
    const machine = await parts.machine();
    if (wire.kind === "request") await machine.forgetEnded();
    await machine.feed(roomId, event);
    await adopt();
  };

  /** Events of a room that were stored or decrypted just now. Each is taken once, and only while its flow could live. */
  const roomEvents = (roomId: string, eventIds: Iterable<string>): void => {
    const events = parts
      .rows(eventIds)
      .filter((row) => row.room_id === roomId && !seen.has(row.event_id) && isFresh(row.sent_at_ms, nowMs()))
      .sort((a, b) => a.segment - b.segment || a.position - b.position)
      .flatMap((row) => verificationOf(row) ?? []);
    if (events.length === 0) return;
    for (const event of events) remember(event.event_id);
    void inTurn(async () => {
      for (const event of events) await feed(roomId, event).catch(unexpected);
    })
      .then(parts.advance)
      .catch(unexpected);
  };
  const remember = (eventId: string) => {
    seen.add(eventId);
    if (seen.size <= mostSeen) return;
    for (const oldest of seen) {
      seen.delete(oldest);
      break;
    }
  };

  return {
    inTurn,
    toDevice,
    roomEvents,
    /** Requests of the run before that nobody has answered yet. */
    again: (requests: Received[]): Promise<void> =>
      inTurn(async () => {
        for (const received of requests) {
          const { roomId, event } = received;
          if (roomId !== undefined) {
            await feed(roomId, event as RoomVerification).catch(unexpected);
            continue;
          }
          const wire = wireOfToDevice(event);
          if (wire === undefined || !judge(wire, received)) continue;
          await (await parts.machine()).forgetEnded([event]);
          await adopt();
        }
      }),
    /** What was held back is shown to the machine, now that we have agreed. */
    release: (entry: Entry): Promise<void> =>
      inTurn(async () => {
        const machine = await parts.machine();
        for (const { roomId, event } of entry.held.splice(0))
          if (roomId === undefined) await machine.forgetEnded([event]);
          else await machine.feed(roomId, event as RoomVerification);
      }),
  };
}

type RoomVerification = Json & {
  type: string;
  sender: string;
  event_id: string;
  origin_server_ts: number;
  content: Json;
};

/** The event as it was meant: what came encrypted and could be read, or what came in clear. */
function verificationOf(row: EventRow): RoomVerification | undefined {
  if (row.redacted === 1 || row.undecryptable !== null || row.replayed === 1) return undefined;
  if (row.type !== "m.room.message" && !row.type.startsWith("m.key.verification.")) return undefined;
  const stored = JSON.parse(row.clear ?? row.event) as unknown;
  const content = isObject(stored) ? stored["content"] : undefined;
  if (!isObject(content)) return undefined;
  const event = {
    type: row.type,
    sender: row.sender,
    event_id: row.event_id,
    origin_server_ts: row.sent_at_ms,
    content,
  };
  return wireOfRoom(event) === undefined ? undefined : event;
}

const unexpected = (error: unknown) => {
  log.warn("a verification event could not be taken", error);
};

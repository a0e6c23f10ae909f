import { createHash } from "node:crypto";
import { log } from "../../log.ts";
import type { ToDevice } from "../../matrix/crypto.ts";
import type { InboxRow, InviteStore } from "../../storage/invite-store.ts";
import type { Flood } from "./flood.ts";
import {
  confirmSchema,
  largestMessageBytes,
  messageTypes,
  outerSchema,
  proofSchema,
  read,
  type Confirm,
  type Outer,
  type Proof,
} from "./messages.ts";
import type { Judged, Received } from "./ports.ts";

type Parts = {
  me: string;
  store: InviteStore;
  flood: Flood;
  /** A note of an own device; true where it is one. Writes it down. */
  note: (event: ToDevice) => boolean;
  /** Everything that own devices said so far counts now. */
  notesSettled: () => Promise<void>;
  ignored: (userId: string) => boolean;
  /** No stranger. */
  knows: (userId: string) => boolean;
  /** Whether it answers something of ours: such a one is no stranger's. */
  awaits: (sender: string, x: Uint8Array) => boolean;
  judge: {
    hello: (sender: string, outer: Outer) => Promise<Judged>;
    reply: (sender: string, outer: Outer) => Promise<Judged>;
    proof: (sender: string, curve25519: string, proof: Proof) => Promise<Judged>;
    confirm: (sender: string, curve25519: string, confirm: Confirm) => Promise<Judged>;
  };
  dropped: (gate: string) => void;
  nowMs: () => number;
};
const mostWaiting = 5_000;
const atOnce = 50;
const mostOut = 12;
const mostTries = 30;
const longestWaitMs = 10 * 60_000;
const lastsMs = 14 * 24 * 3_600_000;

/**
 * Handshake messages from the sync to whoever judges them. What passes the first gates is in the inbox before the sync's token is saved,
 * since the server forgets it then; what was judged leaves it. The first gates cost a stranger's message next to nothing.
 */
export function createIntake(parts: Parts) {
  const { me, store, flood, nowMs, dropped } = parts;
  let unwritten: ToDevice[] = [];
  let open = false;
  let stopped = false;
  const isStopped = () => stopped;
  let running = false;
  let again = false;
  let wake: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  // being judged now, for those that ask a server first
  const out = new Map<number, Promise<void>>();
  // proofs of strangers among them: what they wait for has its own bounds (flood.ts), and nobody else waits for it
  const strangers = new Set<number>();

  /** Whether it may wait in the inbox. */
  const passes = (event: ToDevice): boolean => {
    const { type, sender, content, olm } = event;
    if (sender === me) return refuse("from oneself");
    if (Buffer.byteLength(JSON.stringify(content)) > largestMessageBytes) return refuse("size");
    if (type === messageTypes.open) {
      if (olm !== undefined) return refuse("inside Olm");
      const outer = read(outerSchema, content);
      if (outer === undefined) return refuse("shape");
      if (parts.ignored(sender)) return refuse("ignored");
      return parts.awaits(sender, outer.x) || flood.mayLook(sender) || refuse("too many");
    }
    if (olm === undefined || olm.sender !== sender) return refuse("in clear");
    if (read(type === messageTypes.proof ? proofSchema : confirmSchema, content) === undefined) return refuse("shape");
    if (parts.ignored(sender)) return refuse("ignored");
    return type !== messageTypes.proof || flood.mayProve(sender) || refuse("too many");
  };
  const refuse = (gate: string): false => {
    dropped(`message: ${gate}`);
    return false;
  };
  const isOurs = (type: string): boolean => Object.values<string>(messageTypes).includes(type);

  const judge = ({ type, sender, content, olm }: Received): Promise<Judged> => {
    if (parts.ignored(sender)) return Promise.resolve("done");
    if (type === messageTypes.open) {
      const outer = read(outerSchema, content);
      if (outer === undefined) return Promise.resolve("done");
      return parts.awaits(sender, outer.x) ? parts.judge.reply(sender, outer) : parts.judge.hello(sender, outer);
    }
    const curve25519 = olm?.curve25519;
    if (curve25519 === undefined) return Promise.resolve("done");
    const proof = type === messageTypes.proof ? read(proofSchema, content) : undefined;
    if (proof !== undefined) return parts.judge.proof(sender, curve25519, proof);
    const confirm = type === messageTypes.confirm ? read(confirmSchema, content) : undefined;
    return confirm === undefined ? Promise.resolve("done") : parts.judge.confirm(sender, curve25519, confirm);
  };

  /** Its sender's keys have to be asked for, at whatever server they name. */
  const isStrangersProof = ({ type, sender }: Received): boolean => type === messageTypes.proof && !parts.knows(sender);

  const dealWith = async (row: InboxRow, event: Received): Promise<void> => {
    let judged: Judged = "later";
    try {
      judged = await judge(event);
    } catch (error) {
      log.error("a handshake message could not be judged", error);
    }
    if (stopped) return;
    const isOld = row.tries + 1 >= mostTries || nowMs() - row.arrived_at_ms > lastsMs;
    if (judged === "done" || isOld) store.dealtWith(row.number);
    else store.triedLater(row.number, nowMs() + Math.min(1_000 * 2 ** Math.min(row.tries, 12), longestWaitMs));
  };

  const run = async (): Promise<void> => {
    await parts.notesSettled();
    for (;;) {
      const rows = store.inbox(nowMs(), atOnce, [...out.keys()]);
      if (rows.length === 0 || isStopped()) return;
      for (const row of rows) {
        if (isStopped()) return;
        const event = JSON.parse(row.event) as Received;
        const mine = dealWith(row, event).finally(() => {
          out.delete(row.number);
          strangers.delete(row.number);
        });
        out.set(row.number, mine);
        if (isStrangersProof(event)) strangers.add(row.number);
        // those that ask a server are waited for only where many do
        if (out.size - strangers.size >= mostOut)
          await Promise.race([...out].flatMap(([number, judged]) => (strangers.has(number) ? [] : [judged])));
      }
      // others have their turn, and what was quick is gone from the inbox
      await new Promise((resolve) => setImmediate(resolve));
      if (store.inbox(nowMs(), 1, [...out.keys()]).length === 0) {
        if (out.size === 0) return;
        // what comes meanwhile does not wait for somebody's server
        await Promise.race([...out.values(), new Promise<void>((resolve) => (wake = resolve))]);
      }
    }
  };
  const look = (): void => {
    if (!open || stopped) return;
    if (running) {
      again = true;
      wake?.();
      return;
    }
    running = true;
    again = false;
    run()
      .catch((error: unknown) => {
        log.error("the inbox of handshake messages failed", error);
      })
      .finally(() => {
        running = false;
        if (again) look();
        else arm();
      });
  };
  const arm = (): void => {
    clearTimeout(timer);
    const next = store.inboxNextMs();
    if (next !== undefined && !stopped)
      timer = setTimeout(look, Math.min(Math.max(next - nowMs(), 250), longestWaitMs));
  };

  return {
    /** What a sync brought, before its token is saved. */
    heard: (events: ToDevice[]): void => {
      for (const event of events) if (event.type.startsWith(messageTypes.open)) unwritten.push(event);
    },
    /** Writes down what was heard. Where it throws the sync must not be saved; nothing is lost then. */
    persist: (): void => {
      if (unwritten.length === 0) return;
      store.transaction(() => {
        for (const event of unwritten) {
          if (parts.note(event) || !isOurs(event.type) || !passes(event)) continue;
          if (store.inboxSize() >= mostWaiting) {
            refuse("full");
            continue;
          }
          const { type, sender, content, olm } = event;
          const kept: Received = {
            type,
            sender,
            content,
            ...(olm === undefined ? {} : { olm: { sender: olm.sender, curve25519: olm.curve25519 } }),
          };
          const json = JSON.stringify(kept);
          store.receive(createHash("sha256").update(json).digest("base64"), json, nowMs());
        }
      });
      unwritten = [];
    },
    /** `false`: strangers wait, since own devices may have said something that is still on its way. */
    setOpen: (isOpen: boolean): void => {
      open = isOpen;
      look();
    },
    look,
    stop: async (): Promise<void> => {
      stopped = true;
      clearTimeout(timer);
      await Promise.allSettled(out.values());
    },
  };
}

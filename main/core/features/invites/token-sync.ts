import { randomBytes } from "node:crypto";
import { asCoreError } from "../../errors.ts";
import { log } from "../../log.ts";
import type { ToDevice } from "../../matrix/crypto.ts";
import type { OwnDevices } from "../../matrix/own-devices.ts";
import type { PeerDevice } from "../../matrix/peer-devices.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { InviteTokenStore, NoteRow } from "../../storage/invite-token-store.ts";
import type { Json } from "../../json.ts";
import type { Outbox } from "./outbox.ts";
import type { Token, TokenBook } from "./token-book.ts";
import { clamp, merge, useKey, type TokenState } from "./token-merge.ts";
import { askContent, codeOf, digestOf, longestNoteChars, notesOf, readNote, type Note } from "./token-note.ts";
import { isForgotten, latestVerifyMs } from "./token-presets.ts";

type Parts = {
  me: string;
  deviceId: string;
  db: AccountDatabase;
  store: InviteTokenStore;
  book: TokenBook;
  outbox: Outbox;
  own: () => OwnDevices | undefined;
  /** Learns what the own identity is now; codes of an earlier one are gone after it. */
  learn: () => Promise<void>;
  noteType: string;
  /** In the transaction that applied a note: these codes may have changed. */
  applied: (tokens: Token[]) => void;
  nowMs: () => number;
};

const dayMs = 24 * 3_600_000;
/** Long enough for a computer that stays off; then a snapshot does better. */
const noteLastsMs = 90 * dayMs;
const askLastsMs = dayMs;
/** Whatever was lost on the way is made good once in this time. */
const askEveryMs = dayMs;
const lookEveryMs = 10 * 60_000;
const mostRows = 2_000;
const mostNotes = 500;
const mostNotesOfOne = 100;
/** Between two questions to the server about one and the same unsigned sender, and two snapshots for one device. */
const quietMs = 10_000;
const firstRetryMs = 2_000;
const longestRetryMs = 60_000;

/**
 * Codes between own devices, by state: each note carries whole registers, so that losing one, getting it twice or late makes no lasting
 * difference. What changed here is marked in the rows; when the devices are known it goes into the outbox. What comes is written down
 * first, believed only of a device that the own identity has signed, and put together with what is here.
 */
export function createTokenSync(parts: Parts) {
  const { me, deviceId, db, store, book, outbox, own, noteType, nowMs } = parts;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let retries = 0;
  let lookedMs = Number.NEGATIVE_INFINITY;
  // what Olm had read when the process ended, and was not written down yet, does not come again
  let lostSomething = store.mark("running") !== undefined;
  const strangers = new Map<string, number>();
  const snapshots = new Map<string, number>();

  const send = (devices: PeerDevice[], contents: Json[], lastsMs: number): void => {
    for (const device of devices)
      for (const content of contents)
        outbox.put({
          kind: "olm",
          id: `n${randomBytes(18).toString("base64url")}`,
          type: noteType,
          userId: me,
          deviceId: device.deviceId,
          curve25519: device.curve25519,
          content,
          expiresAtMs: nowMs() + lastsMs,
        });
  };
  /** Undefined as long as this device is nobody whom the others would believe. */
  const siblings = async (): Promise<PeerDevice[] | undefined> => {
    const devices = own();
    if (devices === undefined || !(await devices.standing()).deviceSigned) return undefined;
    return (await devices.known()).devices.filter((one) => one.signed && one.deviceId !== deviceId);
  };

  const tellOnce = async (): Promise<void> => {
    if (store.untold().length === 0) return;
    const devices = await siblings();
    if (devices === undefined || stopped) return;
    db.transaction(() => {
      const tokens: TokenState[] = [];
      for (const tokenId of store.untold()) {
        const token = book.load(tokenId);
        if (token !== undefined && devices.length > 0) {
          const untold = new Set(
            store.uses(tokenId).flatMap((use) => (use.told === 0 ? [useKey(use.user_id, use.master_key)] : [])),
          );
          const uses = token.uses.filter((use) => untold.has(useKey(use.userId, use.masterKey)));
          tokens.push({ ...token, uses });
          for (const device of devices) store.knows(tokenId, device.deviceId);
        }
        store.told(tokenId);
      }
      send(devices, notesOf(tokens, nowMs()), noteLastsMs);
    });
  };

  const snapshotFor = (device: PeerDevice, ask: string): void => {
    const last = snapshots.get(device.deviceId);
    if (last !== undefined && nowMs() - last < quietMs) return;
    const tokens = known();
    for (const token of tokens) store.knows(token.tokenId, device.deviceId);
    if (ask === digestOf(tokens) || tokens.length === 0) return;
    snapshots.set(device.deviceId, nowMs());
    send([device], notesOf(tokens, nowMs()), noteLastsMs);
  };
  const known = (): Token[] =>
    book.all().filter((token) => book.isOurs(token.code) && !isForgotten(token.code, nowMs()));

  const applyNote = (note: Note, device: PeerDevice, receivedAtMs: number): void => {
    // nobody sends from the future
    const sentAtMs = Math.min(note.sentAtMs, receivedAtMs);
    const changed: Token[] = [];
    for (const claimed of note.tokens) {
      const code = codeOf(me, claimed.header, claimed.secret);
      if (code === undefined || !book.isOurs(code) || isForgotten(code, nowMs())) continue;
      const ids = book.idsOf(claimed.header, claimed.secret);
      const here = book.load(ids.tokenId);
      if (here === undefined && store.countTokens() >= mostRows) continue;
      const told = clamp(claimed, sentAtMs, (atMs) => latestVerifyMs(code.preset, code.expiresAtMs, atMs));
      book.save({ ...(here === undefined ? told : merge(here, told)), ...ids }, true);
      store.knows(ids.tokenId, device.deviceId);
      const now = book.load(ids.tokenId);
      if (now !== undefined) changed.push(now);
    }
    if (note.ask !== undefined) snapshotFor(device, note.ask);
    if (changed.length > 0) parts.applied(changed);
  };

  /** The own device that is signed by the own identity and has this key. Throws where that cannot be judged now. */
  const siblingWith = async (curve25519: string, devices: OwnDevices): Promise<PeerDevice | undefined> => {
    const among = (all: PeerDevice[]) =>
      all.find((one) => one.signed && one.curve25519 === curve25519 && one.deviceId !== deviceId);
    const before = among((await devices.known()).devices);
    if (before !== undefined) return before;
    const asked = strangers.get(curve25519);
    if (asked !== undefined && nowMs() - asked < quietMs) return undefined;
    // a device that was verified a moment ago may be unsigned in what is known here
    try {
      const after = among((await devices.fresh()).devices);
      if (after === undefined) strangers.set(curve25519, nowMs());
      return after;
    } catch (error) {
      if (asCoreError(error).code === "not-found") return undefined;
      throw error;
    }
  };

  const judge = async (row: NoteRow, devices: OwnDevices): Promise<void> => {
    const sibling = await siblingWith(row.curve25519, devices);
    // the identity that vouches for the sender is the one that this device trusts and belongs to, or it vouches for nothing
    const { deviceSigned } = await devices.standing();
    // not yet, or it changed this moment: what came may be good, and waits for a day
    const waits = !deviceSigned || !book.hasOwnKey();
    if (isStopped() || (waits && nowMs() - row.received_at_ms < dayMs)) return;
    db.transaction(() => {
      store.removeNote(row.number);
      const note = sibling === undefined || waits ? undefined : readNote(JSON.parse(row.content) as Json, me);
      if (note !== undefined && sibling !== undefined) applyNote(note, sibling, row.received_at_ms);
      else log.info("a note about invitations was dropped: it is of no signed device of one's own");
    });
  };
  const applyOnce = async (): Promise<void> => {
    const devices = own();
    if (devices === undefined) return;
    for (const row of store.notes()) if (!isStopped()) await judge(row, devices);
  };

  /** The others are asked once as soon as they know this device as signed, after a run that ended by itself, and once a day. */
  const askOnce = async (): Promise<void> => {
    const standing = await own()?.standing();
    if (standing?.deviceSigned !== true || standing.masterKey === undefined) return;
    const [key, atMs] = (store.mark("asked") ?? "").split(" ");
    const isRecent = nowMs() - Number(atMs) < askEveryMs && nowMs() >= Number(atMs);
    if (key === standing.masterKey && isRecent && !lostSomething) return;
    const devices = await siblings();
    if (devices === undefined || devices.length === 0 || isStopped()) return;
    db.transaction(() => {
      store.setMark("asked", `${standing.masterKey ?? ""} ${nowMs()}`);
      send(devices, [askContent(digestOf(known()), nowMs())], askLastsMs);
    });
    lostSomething = false;
  };

  const isStopped = () => stopped;
  const again = createRepeat(async () => {
    if (stopped || own() === undefined) return;
    clearTimeout(timer);
    lookedMs = nowMs();
    try {
      await parts.learn();
      await applyOnce();
      await tellOnce();
      await askOnce();
      retries = 0;
    } catch (error) {
      if (isStopped()) return;
      log.info(`codes are not the same on all own devices yet: ${asCoreError(error).code}`);
      timer = setTimeout(() => void again(), Math.min(firstRetryMs * 2 ** retries++, longestRetryMs));
    }
  });

  return {
    /** From now on an end without `stop` counts as one. */
    started: (): void => {
      if (store.mark("running") === undefined) store.setMark("running", "1");
    },
    /** Applies what came and tells what changed. Never throws; resolves when both were tried. */
    run: again,
    /** After a sync: only where there may be something to do. */
    synced: (): void => {
      const idle = store.countNotes() === 0 && store.untold().length === 0;
      if (!idle || nowMs() - lookedMs >= lookEveryMs) void again();
    },
    received: (event: ToDevice): boolean => {
      if (event.type !== noteType) return false;
      const { olm } = event;
      const content = JSON.stringify(event.content);
      if (olm === undefined || event.sender !== me || olm.sender !== me || content.length > longestNoteChars) {
        log.info("a note about invitations was dropped: it came in clear, or from somebody else");
        return true;
      }
      if (store.countNotes() >= mostNotes || store.countNotesFrom(olm.curve25519) >= mostNotesOfOne) {
        log.warn("too many notes about invitations are waiting");
        return true;
      }
      store.addNote(olm.curve25519, content, nowMs());
      queueMicrotask(() => void again());
      return true;
    },
    stop: async (): Promise<void> => {
      if (stopped) return;
      stopped = true;
      clearTimeout(timer);
      await again();
      store.removeMark("running");
    },
  };
}

/** One run at a time; whoever calls during one gets another after it. Resolves when a run that began after the call has ended. */
function createRepeat(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  return () => {
    next ??= running.then(() => {
      next = undefined;
      return (running = work());
    });
    return next;
  };
}

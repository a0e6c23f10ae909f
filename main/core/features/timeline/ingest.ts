import { object, text, type Json } from "../../json.ts";
import { megolm, messageIndexOf, type Crypto, type Decrypted, type Trust } from "../../matrix/crypto.ts";
import type { RoomEvent, Touched } from "../../room-event.ts";
import type { AccountDatabase } from "../../storage/database.ts";
import type { QueueRow, QueueStore } from "../../storage/queue-store.ts";
import type { EventRow, TimelineStore } from "../../storage/timeline-store.ts";
import { parse } from "./items.ts";
import { showsState } from "./state-items.ts";
import { afterTry, firstRecord, readRecord } from "./undecryptable.ts";

export type Evaluate = (roomId: string, event: Json) => 0 | 1 | 2;
export type Ingest = ReturnType<typeof createIngest>;

const messageTypes = new Set(["m.room.message", "m.sticker", "m.room.encrypted"]);
const decryptedAtOnce = 50;

type Parts = {
  db: AccountDatabase;
  timeline: TimelineStore;
  queue: QueueStore;
  me: string;
  nowMs: () => number;
  evaluate: Evaluate;
  /** Told of rows that could not be read; says whether own devices are asked for their keys. */
  undecryptable: { asksOwnDevices: () => boolean; failed: (numbers: number[]) => void };
  /** What is known of the sender and crypto does not say. */
  shieldThen?: (sender: string, trust: Trust) => Trust;
};

/** Events into rows. `store` runs inside the sync's transaction; `decrypt` comes after it, when crypto has taken the same sync's keys. */
export function createIngest({ db, timeline, queue, me, nowMs, evaluate, undecryptable, shieldThen }: Parts) {
  /** Returns the row's number where the event is new. */
  const store = (
    roomId: string,
    event: RoomEvent,
    at: { segment: number; position: number },
    touched: Touched,
  ): number | undefined => {
    const encrypted = event.type === "m.room.encrypted" && event.state_key === undefined;
    const own = event.sender === me ? queuedAs(roomId, event) : undefined;
    const sessionId = encrypted ? text(event.content["session_id"]) : undefined;
    const redacted = object(event.unsigned["redacted_because"]) !== undefined;
    const number = timeline.insert({
      event_id: event.event_id,
      room_id: roomId,
      ...at,
      item_id: own?.item_id ?? event.event_id,
      sender: event.sender,
      sent_at_ms: event.origin_server_ts,
      type: event.type,
      event: JSON.stringify(kept(event)),
      session_id: sessionId ?? null,
      undecryptable: encrypted && !redacted && own === undefined ? JSON.stringify(firstRecord(nowMs())) : null,
      shown: event.state_key === undefined ? (isMessage(event.type, event.content) ? 1 : 0) : showsState(event) ? 1 : 0,
    });
    if (number === undefined) return undefined;
    if (own !== undefined) {
      if (encrypted) readOwn(number, own, event);
      queue.remove(own.item_id);
    }
    touched.events.add(event.event_id);
    if (redacted) redactRow(number, event.event_id, touched);
    if (event.type === "m.room.redaction") redact(event.redacts, event, roomId, touched);
    else if (
      timeline
        .relationsOf([event.event_id])
        .some((relation) => relation.kind === "redaction" && relation.room_id === roomId)
    )
      redactRow(number, event.event_id, touched);
    else if (
      encrypted ||
      // a verification's request is told of by itself, as what it is
      (!isVerificationRequest(event.type, event.content) &&
        !relate(roomId, event.event_id, event.sender, event.origin_server_ts, event.type, event.content, touched))
    )
      // an encrypted event counts as one that notifies until it is known what it says
      notify(number, roomId, event);
    return number;
  };

  const queuedAs = (roomId: string, event: RoomEvent) => {
    const known = queue.byEvent(event.event_id);
    if (known !== undefined) return known.room_id === roomId ? known : undefined;
    const transactionId = text(event.unsigned["transaction_id"]);
    const row = transactionId === undefined ? undefined : queue.byTransaction(transactionId);
    // a server cannot have taken what was never sent; a message that failed may have got there before
    return row?.state === "pending" || row?.room_id !== roomId ? undefined : row;
  };

  /** What this device wrote it need not decrypt; the message index is taken all the same, so that a replay is seen. */
  const readOwn = (number: number, own: QueueRow, event: RoomEvent) => {
    const index = messageIndexOf(text(event.content["ciphertext"]) ?? "");
    const sessionId = text(event.content["session_id"]);
    if (index !== undefined && sessionId !== undefined) timeline.claimIndex(sessionId, index, event.event_id);
    timeline.setDecrypted(number, {
      clear: JSON.stringify({ type: own.type, content: parse(own.content) }),
      type: own.type,
      trust: JSON.stringify({ shield: "none" }),
      shown: 1,
      replayed: 0,
    });
  };

  const redact = (target: string | undefined, event: RoomEvent, roomId: string, touched: Touched) => {
    if (target === undefined) return;
    const row = timeline.event(target);
    if (row !== undefined && row.room_id === roomId) {
      redactRow(row.number, target, touched);
      return;
    }
    // the redaction came before what it redacts
    if (row === undefined)
      timeline.addRelation({
        event_id: event.event_id,
        target_id: target,
        room_id: roomId,
        kind: "redaction",
        sender: event.sender,
        key: null,
        sent_at_ms: event.origin_server_ts,
      });
  };

  const redactRow = (number: number, eventId: string, touched: Touched) => {
    const row = timeline.eventByNumber(number);
    if (row === undefined) return;
    const event = parse(row.event);
    timeline.setRedacted(number, JSON.stringify({ ...event, content: {}, unsigned: {} }));
    const relation = timeline.removeRelation(eventId);
    if (relation !== undefined) touched.events.add(relation.target_id);
    touched.events.add(eventId);
  };

  /** Edits and reactions are no items of their own: they change the one they point at. */
  const relate = (
    roomId: string,
    eventId: string,
    sender: string,
    atMs: number,
    type: string,
    content: Json,
    touched: Touched,
  ): boolean => {
    const relates = object(content["m.relates_to"]);
    const kind = text(relates?.["rel_type"]);
    const target = text(relates?.["event_id"]);
    if (target === undefined || !/^\$\S+$/.test(target)) return false;
    const isEdit = kind === "m.replace" && type === "m.room.message";
    const isReaction = kind === "m.annotation" && type === "m.reaction";
    if (!isEdit && !isReaction) return false;
    const key = isReaction ? text(relates?.["key"])?.slice(0, 100) : undefined;
    timeline.addRelation({
      event_id: eventId,
      target_id: target,
      room_id: roomId,
      kind: isEdit ? "m.replace" : "m.annotation",
      sender,
      key: key ?? null,
      sent_at_ms: atMs,
    });
    const row = timeline.event(eventId);
    if (row !== undefined) timeline.setShown(row.number, 0);
    touched.events.add(target);
    return true;
  };

  const notify = (number: number, roomId: string, event: { sender: string } & Json) => {
    if (event.sender === me) return;
    timeline.setNotify(number, evaluate(roomId, event));
  };

  /** Tries the rows and commits what came of it, some at a time so that the thread stays free. Returns what must be told. */
  const decrypt = async (crypto: Crypto, rows: EventRow[]): Promise<Touched> => {
    const touched: Touched = { events: new Set() };
    const failed: number[] = [];
    for (let from = 0; from < rows.length; from += decryptedAtOnce) {
      const part = rows.slice(from, from + decryptedAtOnce);
      const results: Decrypted[] = [];
      for (const row of part) results.push(await crypto.decrypt(row.room_id, parse(row.event)));
      db.transaction(() => {
        for (const [index, row] of part.entries()) {
          const result = results[index];
          const now = timeline.eventByNumber(row.number);
          // it may have been redacted, or decrypted by a late key, in the meantime
          if (result === undefined || now?.undecryptable == null) continue;
          if (result.ok) accept(now, result, touched);
          else {
            const record = afterTry(
              readRecord(now.undecryptable),
              result.reason,
              undecryptable.asksOwnDevices(),
              nowMs(),
            );
            timeline.setUndecryptable(row.number, JSON.stringify(record));
            failed.push(row.number);
          }
          touched.events.add(row.event_id);
        }
      });
    }
    if (failed.length > 0) undecryptable.failed(failed);
    return touched;
  };

  const accept = (row: EventRow, result: Extract<Decrypted, { ok: true }>, touched: Touched) => {
    const wire = object(parse(row.event)["content"]) ?? {};
    const content =
      result.relatesTo === undefined ? result.content : { ...result.content, "m.relates_to": result.relatesTo };
    const index = wire["algorithm"] === megolm ? messageIndexOf(text(wire["ciphertext"]) ?? "") : undefined;
    const replayed =
      index !== undefined &&
      row.session_id !== null &&
      timeline.claimIndex(row.session_id, index, row.event_id) === "replayed";
    timeline.setDecrypted(row.number, {
      clear: JSON.stringify({ type: result.type, content }),
      type: result.type,
      trust: JSON.stringify(shieldThen?.(row.sender, result.trust) ?? result.trust),
      shown: isMessage(result.type, content) && result.type !== "m.room.encrypted" ? 1 : 0,
      replayed: replayed ? 1 : 0,
    });
    timeline.setNotify(row.number, 0);
    // a replayed event must change nothing that was there before it
    if (replayed || isVerificationRequest(result.type, content)) return;
    const related = relate(row.room_id, row.event_id, row.sender, row.sent_at_ms, result.type, content, touched);
    if (!related)
      notify(row.number, row.room_id, {
        type: result.type,
        content,
        sender: row.sender,
        room_id: row.room_id,
        event_id: row.event_id,
      });
  };

  /** Only what is read later; servers put much else into `unsigned`. */
  const kept = (event: RoomEvent): Json => ({
    event_id: event.event_id,
    type: event.type,
    sender: event.sender,
    origin_server_ts: event.origin_server_ts,
    content: event.content,
    ...(event.state_key === undefined ? {} : { state_key: event.state_key }),
    unsigned: {
      ...(event.unsigned["prev_content"] === undefined ? {} : { prev_content: event.unsigned["prev_content"] }),
      ...(event.unsigned["membership"] === undefined ? {} : { membership: event.unsigned["membership"] }),
    },
  });

  return {
    store,
    decrypt,
    /** Rows of the events, as far as they are here. */
    rowsOf: (eventIds: Iterable<string>): EventRow[] => [...eventIds].flatMap((id) => timeline.event(id) ?? []),
  };
}

/** Source: client-server API, `m.key.verification.request` in rooms. What follows such a request has types of its own. */
const isVerificationRequest = (type: string, content: Json): boolean =>
  type === "m.room.message" && content["msgtype"] === "m.key.verification.request";
const isMessage = (type: string, content: Json): boolean =>
  messageTypes.has(type) && !isVerificationRequest(type, content);

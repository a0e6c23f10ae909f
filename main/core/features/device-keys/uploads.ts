import { asCoreError } from "../../errors.ts";
import { integer, isObject, object, text, type Json } from "../../json.ts";
import type { Http } from "../../matrix/http.ts";
import {
  acknowledged,
  algorithm,
  conflicted,
  failed,
  leaving,
  refused,
  withoutConflict,
  type Change,
  type KeyHistory,
  type Upload,
} from "./history.ts";

type Parts = {
  http: Http;
  nowMs: () => number;
  history: () => KeyHistory;
  change: (work: (history: KeyHistory) => Change) => void;
  lost: { add: (keyIds: string[]) => void; has: (keyId: string) => boolean };
};

const path = "/_matrix/client/v3/keys/upload";
/** Short, since other requests of Rust crypto wait behind it. */
const timeoutMs = 20_000;

const withoutAlgorithm = (id: string) => id.slice(id.indexOf(":") + 1);
const idsOf = (keys: unknown) => Object.keys(object(keys) ?? {}).map(withoutAlgorithm);

export function uploadOf(body: Json): Upload {
  const [fallbackKeyId] = idsOf(body["fallback_keys"]);
  return { oneTimeKeyIds: idsOf(body["one_time_keys"]), ...(fallbackKeyId === undefined ? {} : { fallbackKeyId }) };
}

/** The body without the keys of these ids; empty parts are left out, since some servers take them amiss. */
export function without(body: Json, isOut: (keyId: string, kind: "one-time" | "fallback") => boolean): Json {
  const left = (keys: unknown, kind: "one-time" | "fallback") =>
    Object.fromEntries(Object.entries(object(keys) ?? {}).filter(([id]) => !isOut(withoutAlgorithm(id), kind)));
  const parts = {
    ...(object(body["device_keys"]) === undefined ? {} : { device_keys: body["device_keys"] }),
    one_time_keys: left(body["one_time_keys"], "one-time"),
    fallback_keys: left(body["fallback_keys"], "fallback"),
  };
  return Object.fromEntries(Object.entries(parts).filter(([, part]) => Object.keys(object(part) ?? {}).length > 0));
}

/** Members in the order of canonical JSON: a server that stores keys as they came, and compares them so, finds a repeated one equal. */
export function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inOrder);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .toSorted()
      .map((key) => [key, inOrder(value[key])]),
  );
}

/**
 * Which of the keys that were sent the server has under another form already; all of them where it does not say which.
 * Undefined where the refusal is of another kind. The sentence is Synapse's and Dendrite's: there is no code for it.
 */
export function conflictIn(status: number, body: Json, sent: string[]): string[] | undefined {
  const sentence = text(body["error"]) ?? "";
  if (status !== 400 || sent.length === 0 || !/already exists/i.test(sentence)) return undefined;
  const named = sent.filter((id) => sentence.slice(0, 500).includes(id));
  return named.length === 0 ? sent : named;
}

/** Sends what Rust crypto wants uploaded, and never more of it, nor more often, than the history allows. */
export function createUploads({ http, nowMs, history, change, lost }: Parts) {
  const just = (work: (history: KeyHistory) => KeyHistory) => {
    change((now) => ({ history: work(now), rows: [] }));
  };

  const post = async (body: Json, seeRefusal?: (status: number, body: Json) => void): Promise<number> => {
    const answer = await http.request("POST", path, {
      body: inOrder(body),
      timeoutMs,
      ...(seeRefusal === undefined ? {} : { refused: seeRefusal }),
    });
    const count = integer(object(object(answer)?.["one_time_key_counts"])?.[algorithm]) ?? 0;
    return Math.min(Math.max(count, 0), 1_000_000);
  };

  /**
   * What is on the server already is not sent again: it would forget that a one-time key was claimed and hand it out twice. Where an
   * answer was lost, a count that rose tells that the keys had arrived.
   */
  const stillToSend = async (body: Json): Promise<{ body: Json; arrived: Upload | undefined }> => {
    const there = history().unsettled;
    const given = without(body, (id, kind) => kind === "one-time" && lost.has(id));
    const upload = uploadOf(given);
    if (there === undefined) return { body: given, arrived: undefined };
    const isRepeated = (id: string) => there.oneTimeKeyIds.includes(id);
    const repeated = upload.oneTimeKeyIds.filter(isRepeated);
    if (there.acknowledged) {
      const isThere = (id: string, kind: "one-time" | "fallback") =>
        kind === "one-time" ? isRepeated(id) : id === there.fallbackKeyId;
      return { body: without(given, isThere), arrived: undefined };
    }
    if (repeated.length === 0 || there.countBefore === null) return { body: given, arrived: undefined };
    if ((await post({})) <= there.countBefore) return { body: given, arrived: undefined };
    return {
      body: without(given, (id, kind) => kind === "one-time" && isRepeated(id)),
      arrived: { oneTimeKeyIds: repeated },
    };
  };

  const attempt = async (given: Json): Promise<number | undefined> => {
    let conflicts = 0;
    let refusal: { status: number; body: Json } | undefined;
    const before = history().unsettled;
    try {
      const { body: first, arrived } = await stillToSend(given);
      for (let body = first; ;) {
        const upload = uploadOf(body);
        // all of it is there, or lost: Rust crypto may go on to new keys
        if (Object.keys(body).length === 0) {
          if (arrived !== undefined) change((now) => acknowledged(now, arrived, now.oneTime.onServer ?? 0, nowMs()));
          return undefined;
        }
        just((now) => leaving(now, withArrived(upload, arrived), nowMs()));
        refusal = undefined;
        try {
          const count = await post(body, (status, answer) => (refusal = { status, body: answer }));
          change((now) => {
            const next = acknowledged(now, withArrived(upload, arrived), count, nowMs());
            return conflicts === 0 && upload.oneTimeKeyIds.length > 0 ? withoutConflict(next) : next;
          });
          // a count below the target would make Rust crypto upload again at once
          return conflicts > 0 || count === 0 ? undefined : count;
        } catch (error) {
          const seen = refusal as { status: number; body: Json } | undefined;
          const named = seen && conflictIn(seen.status, seen.body, upload.oneTimeKeyIds);
          if (named === undefined) throw error;
          conflicts++;
          // a copy of this profile has taken the ids in a row: after the second one all of this batch are given up
          const given = conflicts === 1 ? named : upload.oneTimeKeyIds;
          lost.add(given);
          change((now) => conflicted(now, named, nowMs()));
          body = without(body, (id, kind) => kind === "one-time" && given.includes(id));
        }
      }
    } catch (error) {
      const known = asCoreError(error);
      const status = integer(object(known.details)?.["status"]);
      const isRefused = status !== undefined && status < 500;
      change((now) =>
        failed(
          isRefused ? refused(now, before) : now,
          {
            kind: status === undefined || status >= 500 || status === 429 ? "unreachable" : "rejected",
            detail: status === undefined ? known.code : String(status),
            ...(known.retryAfterMs === undefined ? {} : { retryAfterMs: known.retryAfterMs }),
          },
          nowMs(),
        ),
      );
      throw error;
    }
  };

  return {
    /** For Rust crypto's upload requests: answers the count it may act upon. */
    send: attempt,
    /** How many one-time keys the server has: an upload of nothing answers it. */
    count: (): Promise<number> => post({}),
  };
}

const withArrived = (upload: Upload, arrived: Upload | undefined): Upload =>
  arrived === undefined ? upload : { ...upload, oneTimeKeyIds: [...arrived.oneTimeKeyIds, ...upload.oneTimeKeyIds] };

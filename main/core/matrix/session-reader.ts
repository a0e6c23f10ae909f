import { isObject, object, text } from "../json.ts";
import type { Fetched } from "./backup-fetch.ts";

/** What is larger is passed over as it comes, and counted as too large; a session has less than 1 kB. */
const largestHeld = 256 * 1024;
const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openObject, closeObject, openList, closeList] = [0x7b, 0x7d, 0x5b, 0x5d];
const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/**
 * Takes the JSON of a backup's rooms in pieces of any size and gives out each session as it ends. In memory is never more than one
 * session, and of that no more than `largestHeld`: a value that is malformed or beyond all measure costs itself, not the rest.
 * What surrounds the sessions is read for their names alone. Throws where it is no such JSON.
 */
export function createSessionReader(roomId: string | undefined) {
  /** Names on the way to where we are; the root has none. */
  const names: (string | undefined)[] = [];
  const levelOfSessions = roomId === undefined ? 4 : 2;
  let lists = 0;
  /** Of values within a session that are open. */
  let within = 0;
  let inString = false;
  let isEscaped = false;
  let expectsName = false;
  let lastName: string | undefined;
  /** A session's name was read, and its value not yet. */
  let isAwaited = false;
  let held: Held | undefined;
  let ended = false;

  const isAmongSessions = () =>
    lists === 0 &&
    names.length === levelOfSessions &&
    names.at(-1) === "sessions" &&
    (roomId !== undefined || names[1] === "rooms");
  const session = (value: Held | undefined): Fetched => {
    isAwaited = false;
    const room = roomId ?? names[2];
    const name = { roomId: room ?? "", sessionId: lastName ?? "" };
    if (value?.isTooLarge === true || room === undefined || lastName === undefined) return { ...name, data: "" };
    const content = value === undefined ? undefined : parsed(value.text());
    const { ephemeral, mac, ciphertext } = (isObject(content) ? object(content["session_data"]) : undefined) ?? {};
    // nothing else of it is written out again: it may be nested deeper than that can go
    return {
      ...name,
      data: JSON.stringify({ ephemeral: text(ephemeral), mac: text(mac), ciphertext: text(ciphertext) }),
    };
  };

  /** The sessions that ended within this piece. */
  const take = (piece: Uint8Array): Fetched[] => {
    const found: Fetched[] = [];
    held?.begin(0);
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at] ?? 0;
      if (inString) {
        if (isEscaped) isEscaped = false;
        else if (byte === backslash) isEscaped = true;
        else if (byte === quote) {
          inString = false;
          if (within === 0 && held !== undefined) {
            held.end(piece, at + 1);
            const name = held.isTooLarge ? undefined : parsed(held.text());
            lastName = typeof name === "string" ? name : undefined;
            held = undefined;
            isAwaited = isAmongSessions();
          }
        }
        continue;
      }
      if (byte === quote) {
        inString = true;
        if (within === 0 && expectsName) {
          held = new Held(at);
          expectsName = false;
        }
        continue;
      }
      if (byte === colon || isSpace(byte)) continue;
      if (ended) throw new Error("something follows the answer");
      if (names.length === 0 && byte !== openObject) throw new Error("the answer is no object");
      if (byte === openObject || byte === openList) {
        if (within > 0) within++;
        else if (isAwaited) {
          within = 1;
          held = new Held(at);
        } else if (byte === openList) lists++;
        else {
          names.push(names.length === 0 ? "" : lastName);
          expectsName = true;
        }
      } else if (byte === closeObject || byte === closeList) {
        if (within > 0) {
          if (--within > 0) continue;
          held?.end(piece, at + 1);
          found.push(session(held));
          held = undefined;
          continue;
        }
        if (isAwaited) found.push(session(undefined));
        if (byte === closeList) lists--;
        else names.pop();
        expectsName = false;
        if (names.length === 0 && lists === 0) ended = true;
      } else if (byte === comma && within === 0) {
        if (isAwaited) found.push(session(undefined));
        expectsName = lists === 0;
      }
    }
    held?.end(piece, piece.length);
    return found;
  };
  return { take, hasEnded: () => ended };
}

/** Bytes of a value that may lie in several pieces. */
class Held {
  isTooLarge = false;
  private parts: Uint8Array[] = [];
  private length = 0;
  private from: number;

  constructor(from: number) {
    this.from = from;
  }
  begin(from: number): void {
    this.from = from;
  }
  end(piece: Uint8Array, to: number): void {
    this.length += to - this.from;
    this.isTooLarge ||= this.length > largestHeld;
    if (this.isTooLarge) this.parts = [];
    else this.parts.push(piece.subarray(this.from, to));
  }
  text(): string {
    return Buffer.concat(this.parts).toString("utf8");
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return undefined; // malformed: told as such where it is counted
  }
}

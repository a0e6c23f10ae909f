import { createDecipheriv, createHmac, timingSafeEqual } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import { JSONParser } from "@streamparser/json";
import { CoreError } from "../../../errors.ts";
import { unarmoured } from "./armour.ts";
import {
  assertRounds,
  formatVersion,
  headBytes,
  ivBytes,
  keysFrom,
  macBytes,
  saltBytes,
  wrongFile,
  type Keys,
} from "./format.ts";

export type ReadBatch = {
  sessions: unknown[];
  /** How much of the file's contents has been read, 0 to 1. */
  part: number;
};
type Whole = { keys: Keys; iv: Buffer; bytes: number; mac: string };

const batchSize = 200;
/** No session of the format needs more. */
const largestSession = 1024 * 1024;

/**
 * Reads a key file: once to check its MAC over every byte, and only then again to decrypt, a piece at a time. Nothing is given out
 * before the check; memory does not grow with the file. Throws `not-found`, `wrong-file`, and `wrong-key` where the MAC does not fit,
 * which a wrong passphrase and a change of the contents do alike.
 */
export async function openKeyFile(path: string, passphrase: string, signal: AbortSignal) {
  const file = await open(path, "r").catch((cause: unknown) => {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT")
      throw new CoreError("not-found", { message: "There is no such file.", details: { kind: "file" }, cause });
    if (code === "EACCES" || code === "EPERM")
      throw new CoreError("forbidden", { message: "This file may not be read.", cause });
    throw new CoreError("wrong-file", {
      message: "This cannot be read as a file.",
      details: { kind: "not-a-key-file" },
      cause,
    });
  });
  try {
    const whole = await check(file, passphrase, signal);
    return {
      /** Tells one file's contents from another's. */ mac: whole.mac,
      batches: () => decrypt(file, whole, signal),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    if ((error as NodeJS.ErrnoException).code === "EISDIR") throw wrongFile("not-a-key-file", error);
    throw error;
  }
}

/** The head, and then all but the last 32 bytes, through the MAC. */
async function check(file: FileHandle, passphrase: string, signal: AbortSignal): Promise<Whole> {
  let held: Buffer = Buffer.alloc(0);
  let keys: Keys | undefined;
  let iv: Buffer | undefined;
  let hmac: ReturnType<typeof createHmac> | undefined;
  let bytes = 0;
  for await (const piece of unarmoured(file)) {
    signal.throwIfAborted();
    held = held.length === 0 ? piece : Buffer.concat([held, piece]);
    if (keys === undefined) {
      if (held.length > 0 && held[0] !== formatVersion) throw wrongFile("unsupported-version");
      if (held.length < headBytes + macBytes) continue;
      const rounds = held.readUInt32BE(1 + saltBytes + ivBytes);
      assertRounds(rounds);
      keys = await keysFrom(passphrase, held.subarray(1, 1 + saltBytes), rounds);
      iv = Buffer.from(held.subarray(1 + saltBytes, 1 + saltBytes + ivBytes));
      hmac = createHmac("sha256", keys.mac);
    }
    const ready = held.length - macBytes;
    if (ready <= 0) continue;
    hmac?.update(held.subarray(0, ready));
    bytes += ready;
    held = Buffer.from(held.subarray(ready));
  }
  if (keys === undefined || iv === undefined || hmac === undefined) throw wrongFile("truncated");
  const mac = hmac.digest();
  if (!timingSafeEqual(mac, held))
    throw new CoreError("wrong-key", {
      message: "This is not the passphrase of the file, or the file was altered.",
      details: { kind: "passphrase" },
    });
  return { keys, iv, bytes, mac: mac.toString("base64url") };
}

async function* decrypt(file: FileHandle, whole: Whole, signal: AbortSignal): AsyncGenerator<ReadBatch> {
  const cipher = createDecipheriv("aes-256-ctr", whole.keys.aes, whole.iv);
  let sessions: unknown[] = [];
  const json = { ended: false };
  let sinceLast = 0;
  const parser = new JSONParser({ paths: ["$.*"], keepStack: false });
  parser.onValue = ({ value }) => {
    sinceLast = 0;
    sessions.push(value);
  };
  parser.onEnd = () => {
    json.ended = true;
  };
  let read = 0;
  for await (const piece of unarmoured(file)) {
    signal.throwIfAborted();
    const from = Math.max(0, headBytes - read);
    const to = Math.min(piece.length, whole.bytes - read);
    read += piece.length;
    if (to <= from) continue;
    sinceLast += to - from;
    try {
      parser.write(cipher.update(piece.subarray(from, to)));
    } catch (cause) {
      throw wrongFile("damaged", cause);
    }
    if (sinceLast > largestSession + piece.length) throw wrongFile("damaged");
    while (sessions.length >= batchSize) {
      yield { sessions: sessions.slice(0, batchSize), part: Math.min(1, read / whole.bytes) };
      sessions = sessions.slice(batchSize);
    }
  }
  if (!json.ended) throw wrongFile("damaged");
  if (sessions.length > 0) yield { sessions, part: 1 };
}

import type { Readable, Writable } from "node:stream";

const newline = 0x0a;

type LineListener = {
  onLine: (line: Uint8Array) => void;
  /** Once for each line that is longer than `mostBytes`; nothing of it is kept. */
  onTooLong: () => void;
  onEnd: () => void;
};

/** Splits a stream at its newlines. A line without its newline at the very end counts; empty lines do not. */
export function readLines(stream: Readable, mostBytes: number, listener: LineListener): void {
  let parts: Buffer[] = [];
  let sizeBytes = 0;
  let skipping = false;

  function add(part: Buffer): void {
    if (skipping) return;
    sizeBytes += part.length;
    if (sizeBytes > mostBytes) {
      skipping = true;
      parts = [];
      listener.onTooLong();
    } else if (part.length > 0) parts.push(part);
  }

  function finishLine(): void {
    if (!skipping && sizeBytes > 0) {
      const line = Buffer.concat(parts);
      if (!(line.length === 1 && line[0] === 0x0d)) listener.onLine(line);
    }
    parts = [];
    sizeBytes = 0;
    skipping = false;
  }

  let ended = false;
  const end = () => {
    if (ended) return;
    ended = true;
    finishLine();
    listener.onEnd();
  };
  stream.on("data", (chunk: Buffer) => {
    let from = 0;
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      add(chunk.subarray(from, at));
      finishLine();
      from = at + 1;
    }
    add(chunk.subarray(from));
  });
  stream.on("end", end);
  stream.on("close", end);
  stream.on("error", end);
}

export type LineWriter = {
  write: (value: unknown) => void;
  /** Resolves when all that was written has left, or the reader is gone. */
  flushed: () => Promise<void>;
};

/** One JSON value a line. `onCrowded`: the reader is behind by more than it should be (true), and has caught up (false). */
export function lineWriter(
  write: Writable["write"],
  stream: Writable,
  onGone: () => void,
  onCrowded: (crowded: boolean) => void,
): LineWriter {
  const mostWaitingBytes = 8 * 1024 * 1024;
  let gone = false;
  let crowded = false;
  let pending = 0;
  let idle: (() => void)[] = [];

  const settle = () => {
    pending -= 1;
    if (crowded && stream.writableLength < mostWaitingBytes / 2) {
      crowded = false;
      onCrowded(false);
    }
    if (pending > 0) return;
    for (const resolve of idle) resolve();
    idle = [];
  };
  stream.on("error", () => {
    // the reader closed its end
    gone = true;
    for (const resolve of idle) resolve();
    idle = [];
    onGone();
  });

  return {
    write(value) {
      if (gone) return;
      pending += 1;
      write(`${JSON.stringify(value)}\n`, settle);
      if (!crowded && stream.writableLength > mostWaitingBytes) {
        crowded = true;
        onCrowded(true);
      }
    },
    flushed: () => (gone || pending === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
  };
}

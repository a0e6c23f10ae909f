import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DeviceOnDisk, startRustCrypto } from "./store-on-disk.ts";
import { decryptEvent } from "./transport.ts";

const isFull = process.env.TESSERA_FULL === "1";
/** 12 kills, or 200 in full: most at work, some during the first start with its 29 upgrades. */
const killsAtWork = isFull ? 170 : 9;
const killsAtStart = isFull ? 30 : 3;
const directory = mkdtempSync(join(tmpdir(), "tessera-kill-"));

type Line =
  | { kind: "identity"; key: string; sessions: number }
  | { kind: "imported"; count: number }
  | { kind: "started" }
  | { kind: "sent"; room: string; sessionId: string; ciphertext: string };

/** Reproducible moments: a linear congruential generator, as in Numerical Recipes. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The message index of a Megolm ciphertext, read from the wire. */
function messageIndex(ciphertext: string): number {
  const bytes = Buffer.from(ciphertext, "base64");
  if (bytes[0] !== 3 || bytes[1] !== 0x08) throw new Error("no Megolm message");
  let index = 0;
  for (let position = 2, shift = 0; ; position++, shift += 7) {
    const byte = bytes[position] ?? 0;
    index += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return index;
  }
}

/** Runs the child until `afterMs` after it first says `word`, and answers what it acknowledged. */
function runUntilKilled(file: string, word: Line["kind"], afterMs: number): Promise<Line[]> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "kill-child.ts"), file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  let isTimed = false;
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    if (isTimed || !output.includes(`"${word}"`)) return;
    isTimed = true;
    setTimeout(() => child.kill("SIGKILL"), afterMs);
  });
  return new Promise((resolve, reject) => {
    child.on("close", (code, signal) => {
      if (signal !== "SIGKILL") reject(new Error(`the child ended by itself with ${String(code)}`));
      // What follows the last line break was cut by the kill and never acknowledged.
      else
        resolve(
          output
            .split("\n")
            .slice(0, -1)
            .map((line) => JSON.parse(line) as Line),
        );
    });
  });
}

beforeAll(startRustCrypto);

afterAll(() => {
  rmSync(directory, { recursive: true });
});

test(`${killsAtWork} kills at work: the file is whole, no message key is used twice, nothing acknowledged is lost`, async () => {
  const file = join(directory, "crypto.db");
  const random = seeded(20_261_121);
  const used = new Set<string>();
  const known = new Set<string>();
  let identity: string | undefined;
  let leastSessions = 0;
  let messages = 0;
  // on a slow machine some more, so that there is something to be lost
  for (let kill = 0; kill < killsAtWork || messages <= killsAtWork; kill++) {
    const lines = await runUntilKilled(file, "identity", 5 + random() * 250);
    const sent = lines.filter((line) => line.kind === "sent");
    for (const line of lines) {
      if (line.kind === "imported") leastSessions += line.count;
      if (line.kind !== "identity") continue;
      identity ??= line.key;
      expect(line.key).toBe(identity);
    }
    for (const { sessionId, ciphertext } of sent) {
      const use = `${sessionId} ${messageIndex(ciphertext)}`;
      expect(used.has(use), "a message index was used twice").toBe(false);
      used.add(use);
      known.add(sessionId);
    }
    messages += sent.length;
    const device = await DeviceOnDisk.open("@alice:tessera.example", "ALICE", file);
    if (kill === 0) console.log(`[real] Rust crypto killed by SIGKILL on ${device.store.describe()}`);
    expect(device.store.integrityCheck()).toBe(true);
    expect((await device.machine.roomKeyCounts()).total).toBeGreaterThanOrEqual(leastSessions + known.size);
    const last = sent.at(-1);
    if (last) expect(await decryptEvent(device.machine, ...wireOf(last))).toMatch(/^step \d+$/);
    device.close();
  }
  console.log(`[real] ${messages} acknowledged messages in ${known.size} sessions`);
}, 3_600_000);

/** The acknowledged event as a sync would bring it. */
function wireOf({ room, sessionId, ciphertext }: Extract<Line, { kind: "sent" }>): [room: string, event: string] {
  const content = { algorithm: "m.megolm.v1.aes-sha2", ciphertext, session_id: sessionId };
  const event = { event_id: "$again", sender: "@alice:tessera.example", origin_server_ts: 1, type: "m.room.encrypted" };
  return [room, JSON.stringify({ ...event, room_id: room, content })];
}

test(`${killsAtStart} kills during the first start: it starts again`, async () => {
  const random = seeded(7);
  for (let kill = 0; kill < killsAtStart; kill++) {
    const file = join(directory, `start${kill}.db`);
    const lines = await runUntilKilled(file, "started", random() * 60);
    const device = await DeviceOnDisk.open("@alice:tessera.example", "ALICE", file);
    expect(device.store.integrityCheck()).toBe(true);
    const acknowledged = lines.find((line) => line.kind === "identity");
    if (acknowledged) expect(device.machine.identityKeys.ed25519.toBase64()).toBe(acknowledged.key);
    device.close();
  }
}, 3_600_000);

test("the check can fail: an index that is read from the wire", () => {
  const wire = (...bytes: number[]): string => Buffer.from([3, 0x08, ...bytes, 0x12, 0]).toString("base64");
  expect(messageIndex(wire(0))).toBe(0);
  expect(messageIndex(wire(0xac, 0x02))).toBe(300);
  expect(() => messageIndex("AAAA")).toThrow("no Megolm message");
});

import { createCipheriv, createHmac, pbkdf2Sync } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { openKeyFile } from "../../../main/core/features/backup/key-file/read.ts";
import { writeKeyFile } from "../../../main/core/features/backup/key-file/write.ts";
import { toFailure } from "../../../main/core/errors.ts";
import { madeUpKeys } from "../../bench/made-up-keys.ts";

const folder = mkdtempSync(path.join(tmpdir(), "tessera-key-file-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const passphrase = "correct horse battery staple";
const theirs = (name: string) => path.join(import.meta.dirname, "../../fixtures/key-files", name);
const never = new AbortController().signal;
let files = 0;
const place = () => path.join(folder, `file ${++files}.txt`);

async function read(file: string, secret = passphrase, signal = never): Promise<unknown[]> {
  const opened = await openKeyFile(file, secret, signal);
  try {
    const all: unknown[] = [];
    for await (const { sessions } of opened.batches()) all.push(...sessions);
    return all;
  } finally {
    await opened.close();
  }
}
const refusal = async (file: string, secret = passphrase) => {
  const failure = await read(file, secret).then(
    () => undefined,
    (error: unknown) => toFailure(error),
  );
  return failure && { code: failure.code, kind: (failure.details as { kind?: string } | undefined)?.kind };
};
async function* batches(sessions: unknown[], size: number) {
  for (let at = 0; at < sessions.length; at += size) {
    yield sessions.slice(at, at + size).map((session) => JSON.stringify(session));
    await Promise.resolve();
  }
}
const write = (
  file: string,
  sessions: unknown[],
  more: { rounds?: number; size?: number; signal?: AbortSignal } = {},
) =>
  writeKeyFile({
    path: file,
    passphrase,
    sessions: batches(sessions, more.size ?? 200),
    signal: more.signal ?? never,
    wrote: () => undefined,
    rounds: more.rounds ?? 1000,
  });
const some = (count: number) => JSON.parse(madeUpKeys(count, 3)) as unknown[];

test.each(["padded.txt", "unpadded-no-last-line-break.txt", "one-line.txt", "counter.txt"])(
  "a file of another implementation is read: %s",
  async (name) => {
    const sessions = await read(theirs(name));
    expect(sessions).toHaveLength(5);
    expect(sessions[4]).toMatchObject({ room_id: "!room1:other.example", algorithm: "m.megolm.v1.aes-sha2" });
  },
);

test("what was written is read again, whatever the sizes of batches and files", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: 450 }), fc.integer({ min: 1, max: 300 }), async (count, size) => {
      const file = place();
      const sessions = some(count);
      const written = await write(file, sessions, { size });
      expect(written).toEqual({ exported: count, sizeBytes: statSync(file).size });
      expect(await read(file)).toEqual(sessions);
    }),
    { numRuns: 12 },
  );
});

test("a file is its owner's alone, in lines, padded, with a line break at its end, and nothing else lies beside it", async () => {
  const file = place();
  await write(file, some(10));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const lines = readFileSync(file, "latin1").split("\n");
  expect(lines[0]).toBe("-----BEGIN MEGOLM SESSION DATA-----");
  expect(lines.at(-2)).toBe("-----END MEGOLM SESSION DATA-----");
  expect(lines.at(-1)).toBe("");
  const body = lines.slice(1, -2);
  expect(body.slice(0, -1).every((line) => line.length === 76)).toBe(true);
  expect(body.join("").length % 4).toBe(0);
  // bit 63 of the counter block is clear
  expect((Buffer.from(body.join(""), "base64")[1 + 16 + 8] ?? 255) & 0x80).toBe(0);
  expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
});

test("the file is as the specification says, read by node:crypto alone", async () => {
  const file = place();
  const sessions = some(3);
  await write(file, sessions);
  const body = Buffer.from(readFileSync(file, "latin1").split("\n").slice(1, -2).join(""), "base64");
  const head = body.subarray(0, 37);
  const keys = pbkdf2Sync(passphrase, head.subarray(1, 17), head.readUInt32BE(33), 64, "sha512");
  expect(createHmac("sha256", keys.subarray(32)).update(body.subarray(0, -32)).digest()).toEqual(body.subarray(-32));
  const cipher = createCipheriv("aes-256-ctr", keys.subarray(0, 32), head.subarray(17, 33));
  expect(JSON.parse(cipher.update(body.subarray(37, -32)).toString())).toEqual(sessions);
});

test("a wrong passphrase is told, and nothing is given out", async () => {
  expect(await refusal(theirs("padded.txt"), "incorrect horse")).toEqual({ code: "wrong-key", kind: "passphrase" });
});

test.each([
  ["no rounds", "rounds-0.txt", "too-few-rounds"],
  ["one round", "rounds-1.txt", "too-few-rounds"],
])("%s of key derivation are refused", async (_name, file, kind) => {
  expect(await refusal(theirs(file))).toEqual({ code: "wrong-file", kind });
});

test("two thousand million rounds are refused before the first", async () => {
  const file = place();
  const body = Buffer.concat([Buffer.from([1]), Buffer.alloc(32, 1), Buffer.from([0x80, 0, 0, 0]), Buffer.alloc(64)]);
  writeFileSync(file, armoured(body));
  expect(await refusal(file)).toEqual({ code: "wrong-file", kind: "too-many-rounds" });
});

test("a file cut short anywhere is told as truncated", async () => {
  const whole = readFileSync(theirs("padded.txt"), "latin1").trimEnd();
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: whole.length - 1 }), async (length) => {
      const file = place();
      writeFileSync(file, whole.slice(0, length), "latin1");
      expect(await refusal(file)).toEqual({ code: "wrong-file", kind: "truncated" });
      rmSync(file);
    }),
    { numRuns: 25 },
  );
});

test.each([
  ["an empty file", ""],
  ["a page", "<!doctype html><p>keys</p>"],
  ["a key of another kind", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n"],
  ["bytes", "\u0000\u0001\u00ff".repeat(500)],
])("a foreign file is told as such: %s", async (_name, text) => {
  const file = place();
  writeFileSync(file, text, "latin1");
  expect(await refusal(file)).toEqual({ code: "wrong-file", kind: "not-a-key-file" });
});

test("a folder is no key file, and a path that is not there is not found", async () => {
  expect(await refusal(folder)).toEqual({ code: "wrong-file", kind: "not-a-key-file" });
  expect(await refusal(path.join(folder, "none"))).toEqual({ code: "not-found", kind: "file" });
});

test("any changed character of the contents is refused before anything is given out", async () => {
  const whole = readFileSync(theirs("one-line.txt"), "latin1");
  const begin = whole.indexOf("\n") + 1;
  const end = whole.lastIndexOf("-----END");
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: begin + 60, max: end - 8 }), async (at) => {
      const other = whole.charAt(at) === "A" ? "B" : "A";
      const file = place();
      writeFileSync(file, whole.slice(0, at) + other + whole.slice(at + 1), "latin1");
      expect(await refusal(file)).toEqual({ code: "wrong-key", kind: "passphrase" });
      rmSync(file);
    }),
    { numRuns: 25 },
  );
});

test("characters that do not belong there are told as damage", async () => {
  const whole = readFileSync(theirs("one-line.txt"), "latin1");
  const file = place();
  writeFileSync(file, `${whole.slice(0, 300)}*${whole.slice(301)}`, "latin1");
  expect(await refusal(file)).toEqual({ code: "wrong-file", kind: "damaged" });
});

test("a later version of the format is told as such", async () => {
  const file = place();
  writeFileSync(file, armoured(Buffer.concat([Buffer.from([2]), Buffer.alloc(200)])));
  expect(await refusal(file)).toEqual({ code: "wrong-file", kind: "unsupported-version" });
});

test("a file that holds no list is told as damaged, though its MAC is right", async () => {
  for (const clear of ["{}", "[{}", "nonsense", ""]) {
    const file = place();
    writeFileSync(file, armoured(sealed(clear)));
    const failure = await refusal(file);
    if (clear !== "{}") expect(failure).toEqual({ code: "wrong-file", kind: "damaged" });
    else expect(await read(file)).toEqual([]);
  }
});

test("cancelled in the middle, nothing is under the name, and what was there stays", async () => {
  const file = place();
  writeFileSync(file, "the export of before");
  const controller = new AbortController();
  async function* endless() {
    for (let made = 0; ; made++) {
      if (made === 3) controller.abort();
      yield [JSON.stringify({ made })];
      await Promise.resolve();
    }
  }
  await expect(
    writeKeyFile({
      path: file,
      passphrase,
      sessions: endless(),
      signal: controller.signal,
      wrote: () => undefined,
      rounds: 1000,
    }),
  ).rejects.toThrow();
  expect(readFileSync(file, "utf8")).toBe("the export of before");
  expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
});

test("a folder that is not there, and one that may not be written, are told apart", async () => {
  const failure = async (file: string) =>
    write(file, []).then(
      () => undefined,
      (error: unknown) => toFailure(error).code,
    );
  expect(await failure(path.join(folder, "no such folder", "keys.txt"))).toBe("not-found");
  expect(await failure(path.join(folder, "file-as-folder.txt", "keys.txt"))).toBe("not-found");
});

function armoured(body: Buffer): string {
  return `-----BEGIN MEGOLM SESSION DATA-----\n${body.toString("base64")}\n-----END MEGOLM SESSION DATA-----\n`;
}
function sealed(clear: string): Buffer {
  const salt = Buffer.alloc(16, 3);
  const iv = Buffer.alloc(16, 4);
  const rounds = Buffer.alloc(4);
  rounds.writeUInt32BE(1000);
  const keys = pbkdf2Sync(passphrase, salt, 1000, 64, "sha512");
  const body = Buffer.concat([
    Buffer.from([1]),
    salt,
    iv,
    rounds,
    createCipheriv("aes-256-ctr", keys.subarray(0, 32), iv).update(clear),
  ]);
  return Buffer.concat([body, createHmac("sha256", keys.subarray(32)).update(body).digest()]);
}

import { createCipheriv, createHmac, randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { asCoreError, CoreError } from "../../../errors.ts";
import { Armour } from "./armour.ts";
import { formatVersion, ivBytes, keysFrom, ownRounds, saltBytes } from "./format.ts";

type Input = {
  path: string;
  passphrase: string;
  /** JSON of each session, in batches. */
  sessions: AsyncIterable<string[]>;
  signal: AbortSignal;
  wrote: (exported: number) => void;
  rounds?: number;
};

/**
 * Writes a key file piece by piece beside its place, for its owner's eyes alone (0600), and gives it its name when it is whole and
 * on the disk. Whatever goes wrong leaves what was under that name as it was. Throws `not-found` (no such folder), `forbidden`, `disk-full`.
 */
export async function writeKeyFile({ path: place, passphrase, sessions, signal, wrote, rounds = ownRounds }: Input) {
  const partial = path.join(path.dirname(place), `.${path.basename(place)}.${randomBytes(6).toString("hex")}.part`);
  const salt = randomBytes(saltBytes);
  const iv = randomBytes(ivBytes);
  // bit 63 stays clear: some implementations count in 64 bits (client-server API, "Key exports")
  iv[8] = (iv[8] ?? 0) & 0x7f;
  const keys = await keysFrom(passphrase, salt, rounds);
  signal.throwIfAborted();
  const file = await open(partial, "wx", 0o600).catch((cause: unknown) => {
    throw asFileError(cause);
  });
  let exported = 0;
  try {
    const cipher = createCipheriv("aes-256-ctr", keys.aes, iv);
    const hmac = createHmac("sha256", keys.mac);
    const armour = new Armour();
    const put = async (clear: Buffer) => {
      hmac.update(clear);
      await file.write(armour.write(clear));
    };
    await file.write(armour.begin());
    const head = Buffer.concat([Buffer.from([formatVersion]), salt, iv, Buffer.alloc(4)]);
    head.writeUInt32BE(rounds, head.length - 4);
    await put(head);
    await put(cipher.update("["));
    for await (const batch of sessions) {
      signal.throwIfAborted();
      const text = batch.map((session, index) => (exported + index === 0 ? session : `,${session}`)).join("");
      if (batch.length > 0) await put(cipher.update(text));
      exported += batch.length;
      wrote(exported);
    }
    await put(cipher.update("]"));
    await file.write(armour.write(hmac.digest()));
    await file.write(armour.end());
    await file.sync();
    const { size } = await file.stat();
    await file.close();
    signal.throwIfAborted();
    await rename(partial, place);
    return { exported, sizeBytes: size };
  } catch (cause) {
    await file.close().catch(() => undefined);
    await rm(partial, { force: true });
    signal.throwIfAborted();
    throw asFileError(cause);
  }
}

function asFileError(cause: unknown): CoreError {
  switch ((cause as NodeJS.ErrnoException).code) {
    case "ENOENT":
    case "ENOTDIR":
      return new CoreError("not-found", { message: "There is no such folder.", details: { kind: "folder" }, cause });
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "EISDIR":
      return new CoreError("forbidden", { message: "Nothing may be written there.", cause });
    default:
      return asCoreError(cause);
  }
}

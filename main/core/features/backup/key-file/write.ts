import { createCipheriv, createHmac, randomBytes } from "node:crypto";
import { open, readdir, rename, rm, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { asCoreError, CoreError } from "../../../errors.ts";
import { Armour } from "./armour.ts";
import { ownRounds } from "../../../matrix/secret-cipher.ts";
import { formatVersion, ivBytes, keysFrom, saltBytes } from "./format.ts";

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
  const partial = path.join(path.dirname(place), partialName(path.basename(place)));
  const salt = randomBytes(saltBytes);
  const iv = randomBytes(ivBytes);
  // bit 63 stays clear: some implementations count in 64 bits (client-server API, "Key exports")
  iv[8] = (iv[8] ?? 0) & 0x7f;
  const keys = await keysFrom(passphrase, salt, rounds);
  signal.throwIfAborted();
  await removeLeftovers(place);
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
      await append(file, armour.write(clear));
    };
    await append(file, armour.begin());
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
    await append(file, armour.write(hmac.digest()) + armour.end());
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

const partialName = (name: string) => `.${name}.${randomBytes(6).toString("hex")}.part`;
/** Half-written files of runs that were killed: nobody else would ever take them away. */
async function removeLeftovers(place: string): Promise<void> {
  const { dir, base } = path.parse(place);
  const names = await readdir(dir).catch(() => []); // what is wrong with the folder is told by the writing
  for (const name of names)
    if (name.startsWith(`.${base}.`) && /^[0-9a-f]{12}\.part$/.test(name.slice(base.length + 2)))
      await rm(path.join(dir, name), { force: true }).catch(() => undefined);
}

/** A disk that is nearly full takes the beginning of a piece and says how much: whoever does not look leaves a hole. */
async function append(file: FileHandle, text: string): Promise<void> {
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
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

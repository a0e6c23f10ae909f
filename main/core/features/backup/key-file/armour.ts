import type { FileHandle } from "node:fs/promises";
import { footer, header, wrongFile } from "./format.ts";

const pieceBytes = 256 * 1024;
/** White space before the first line is forgiven, and no more of it than this is looked at. */
const longestLead = 4096;

/**
 * The bytes between the two lines, decoded as they are read: padded or not, in lines of any length. Throws `wrong-file`, telling a
 * foreign file, one that ends early and one with characters that do not belong there apart.
 */
export async function* unarmoured(file: FileHandle): AsyncGenerator<Buffer> {
  let at = 0;
  let begun = false;
  let padded = false;
  const decoder = new Base64Pieces();
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(pieceBytes), 0, pieceBytes, at);
    at += bytesRead;
    let text = buffer.toString("latin1", 0, bytesRead);
    if (!begun) {
      const lead = /^(?:\u00ef\u00bb\u00bf)?\s*/.exec(text)?.[0].length ?? 0;
      if (!text.startsWith(header, lead)) {
        const start = text.slice(lead).trimEnd();
        const isCut = start !== "" && header.startsWith(start);
        throw wrongFile(isCut ? "truncated" : "not-a-key-file");
      }
      if (lead > longestLead) throw wrongFile("not-a-key-file");
      text = text.slice(lead + header.length);
      begun = true;
    }
    const dash = text.indexOf("-");
    const body = dash < 0 ? text : text.slice(0, dash);
    const { bytes, sawPadding, bad } = decoder.take(body, padded);
    padded = sawPadding;
    if (bad) throw wrongFile("damaged");
    if (bytes.length > 0) yield bytes;
    if (dash >= 0) {
      let tail = text.slice(dash);
      while (tail.length < footer.length + 1) {
        const more = await file.read(Buffer.alloc(64), 0, 64, at);
        if (more.bytesRead === 0) break;
        at += more.bytesRead;
        tail += more.buffer.toString("latin1", 0, more.bytesRead);
      }
      if (!tail.startsWith(footer)) throw wrongFile(footer.startsWith(tail.trimEnd()) ? "truncated" : "damaged");
      const last = decoder.end();
      if (last === undefined) throw wrongFile("damaged");
      if (last.length > 0) yield last;
      return;
    }
    if (bytesRead === 0) throw wrongFile("truncated");
  }
}

/** Base64 in pieces of any length; line breaks and spaces are not part of it. */
class Base64Pieces {
  private held = "";

  take(text: string, sawPadding: boolean): { bytes: Buffer; sawPadding: boolean; bad: boolean } {
    let clean = text.replaceAll(/[\r\n\t ]+/g, "");
    const padding = clean.indexOf("=");
    if (sawPadding && clean.replaceAll("=", "") !== "") return { bytes: Buffer.alloc(0), sawPadding, bad: true };
    if (padding >= 0) {
      if (!/^={1,2}$/.test(clean.slice(padding))) return { bytes: Buffer.alloc(0), sawPadding: true, bad: true };
      clean = clean.slice(0, padding);
    }
    const bad = /[^A-Za-z0-9+/]/.test(clean);
    const all = this.held + clean;
    const whole = all.length - (all.length % 4);
    this.held = all.slice(whole);
    return { bytes: Buffer.from(all.slice(0, whole), "base64"), sawPadding: sawPadding || padding >= 0, bad };
  }

  /** What an unpadded end leaves; undefined for a single character, which stands for nothing. */
  end(): Buffer | undefined {
    return this.held.length === 1 ? undefined : Buffer.from(this.held, "base64");
  }
}

const lineLength = 76;
/** The other way: lines of padded base64 between the two, with a line break at the end. Other clients refuse files without. */
export class Armour {
  private bytes: Buffer = Buffer.alloc(0);
  private column = 0;

  begin(): string {
    return `${header}\n`;
  }
  write(piece: Buffer): string {
    const all = this.bytes.length === 0 ? piece : Buffer.concat([this.bytes, piece]);
    const whole = all.length - (all.length % 3);
    this.bytes = all.subarray(whole);
    return this.lines(all.toString("base64", 0, whole));
  }
  end(): string {
    const last = this.lines(this.bytes.toString("base64"));
    return `${last}${this.column === 0 ? "" : "\n"}${footer}\n`;
  }
  private lines(text: string): string {
    let out = "";
    for (let at = 0; at < text.length;) {
      const part = text.slice(at, at + lineLength - this.column);
      at += part.length;
      this.column += part.length;
      out += part;
      if (this.column === lineLength) {
        out += "\n";
        this.column = 0;
      }
    }
    return out;
  }
}

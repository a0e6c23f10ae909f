/** Codes as shapes: one path for the screen, for paper and for a file. */
import { encode } from "uqr";
import { symbolOf, type Level, type Segment } from "./symbol.ts";

/** Bytes stay bytes: what Matrix puts into codes is no text. Segments are for a link, whose payload takes less room as letters. */
export type CodeData = string | Uint8Array | readonly Segment[];
export type Drawing = { /** Modules a side, with the quiet zone. */ size: number; path: string };

/** Four modules of white around a code, as its standard wants. */
const quiet = 4;

const isSegments = (data: CodeData): data is readonly Segment[] => Array.isArray(data);

/** Without a quiet zone. Undefined where the content has no place in a code that can be read well. */
export function modulesOf(data: CodeData, level: Level): boolean[][] | undefined {
  if (isSegments(data)) return symbolOf(data, level);
  return encode(typeof data === "string" ? data : Array.from(data), { ecc: level, boostEcc: true, border: 0 }).data;
}

/** One path of all dark modules, a run of a row at a time. */
export function drawingOf(data: CodeData, level: Level): Drawing | undefined {
  const modules = modulesOf(data, level);
  if (modules === undefined) return undefined;
  let path = "";
  modules.forEach((row, y) => {
    for (let x = 0; x < row.length; x++) {
      if (row[x] !== true) continue;
      const from = x;
      while (row[x + 1] === true) x++;
      path += `M${from + quiet} ${y + quiet}h${x + 1 - from}v1h-${x + 1 - from}z`;
    }
  });
  return { size: modules.length + 2 * quiet, path };
}

/** The address as bytes, what follows the last equals sign in capitals and digits. */
export function segmentsOf(link: string): readonly Segment[] {
  const at = link.lastIndexOf("=") + 1;
  const bytes = new TextEncoder().encode(link.slice(0, at));
  const text = link.slice(at);
  if (!/^[0-9A-Z]+$/.test(text)) return [{ mode: "bytes", bytes: new TextEncoder().encode(link) }];
  return [
    { mode: "bytes", bytes },
    { mode: "alphanumeric", text },
  ];
}

/**
 * QR codes of several segments, which the library that draws all others cannot: an invitation's address as bytes, its payload in
 * the denser alphanumeric mode. Source: ISO/IEC 18004:2015. Versions 1 to 10, since what is larger no webcam reads well.
 */
export type Segment = { mode: "bytes"; bytes: Uint8Array } | { mode: "alphanumeric"; text: string };
export type Level = "L" | "M";

const largestVersion = 10;
const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
/** By version from 1 on: all codewords; for each level those of correction in a block, and the blocks. Source: tables 7 and 9. */
const codewords = [26, 44, 70, 100, 134, 172, 196, 242, 292, 346];
const correction: Record<Level, number[]> = {
  L: [7, 10, 15, 20, 26, 18, 20, 24, 30, 18],
  M: [10, 16, 26, 18, 24, 16, 18, 22, 22, 26],
};
const blocks: Record<Level, number[]> = { L: [1, 1, 1, 1, 1, 2, 2, 2, 2, 4], M: [1, 1, 1, 2, 2, 4, 4, 4, 5, 5] };
const levelBits: Record<Level, number> = { L: 1, M: 0 };

const entry = (table: readonly number[], version: number): number => table[version - 1] ?? 0;
const dataCodewords = (version: number, level: Level): number =>
  entry(codewords, version) - entry(correction[level], version) * entry(blocks[level], version);

/** Rows of modules, true for dark, without a quiet zone. Undefined where the content is too long. */
export function symbolOf(segments: readonly Segment[], level: Level): boolean[][] | undefined {
  for (let version = 1; version <= largestVersion; version += 1) {
    const bits = bitsOf(segments, version);
    if (bits.length > dataCodewords(version, level) * 8) continue;
    // correction that costs no larger a code
    const best = bits.length <= dataCodewords(version, "M") * 8 ? "M" : level;
    return draw(interleaved(padded(bits, dataCodewords(version, best)), version, best), version, best);
  }
  return undefined;
}

function bitsOf(segments: readonly Segment[], version: number): number[] {
  const bits: number[] = [];
  const put = (value: number, width: number): void => {
    for (let bit = width - 1; bit >= 0; bit -= 1) bits.push((value >>> bit) & 1);
  };
  const wide = version >= 10;
  for (const segment of segments) {
    if (segment.mode === "bytes") {
      put(0b0100, 4);
      put(segment.bytes.length, wide ? 16 : 8);
      for (const byte of segment.bytes) put(byte, 8);
      continue;
    }
    put(0b0010, 4);
    put(segment.text.length, wide ? 11 : 9);
    const values = Array.from(segment.text, (letter) => {
      const value = alphanumeric.indexOf(letter);
      if (value === -1) throw new RangeError("no alphanumeric character");
      return value;
    });
    for (let at = 0; at < values.length; at += 2) {
      const [first = 0, second] = values.slice(at, at + 2);
      if (second === undefined) put(first, 6);
      else put(first * 45 + second, 11);
    }
  }
  return bits;
}

/** Terminator, whole bytes, then the standard's two filling bytes in turn. */
function padded(bits: number[], length: number): number[] {
  bits.push(...Array<number>(Math.min(4, length * 8 - bits.length)).fill(0));
  while (bits.length % 8 !== 0) bits.push(0);
  const bytes: number[] = [];
  for (let at = 0; at < bits.length; at += 8) bytes.push(Number.parseInt(bits.slice(at, at + 8).join(""), 2));
  for (let filler = 0xec; bytes.length < length; filler ^= 0xec ^ 0x11) bytes.push(filler);
  return bytes;
}

/** Blocks with their correction, column by column. The later blocks may be one byte longer. */
function interleaved(data: number[], version: number, level: Level): number[] {
  const count = entry(blocks[level], version);
  const perBlock = entry(correction[level], version);
  const shortLength = Math.floor(data.length / count);
  const shortCount = count - (data.length % count);
  const divisor = reedSolomonDivisor(perBlock);
  const parts: { data: number[]; correction: number[] }[] = [];
  let from = 0;
  for (let index = 0; index < count; index += 1) {
    const part = data.slice(from, (from += shortLength + (index < shortCount ? 0 : 1)));
    parts.push({ data: part, correction: reedSolomonRemainder(part, divisor) });
  }
  const result: number[] = [];
  for (const kind of ["data", "correction"] as const)
    for (let at = 0; at < Math.max(shortLength + 1, perBlock); at += 1)
      for (const part of parts) {
        const value = part[kind][at];
        if (value !== undefined) result.push(value);
      }
  return result;
}

/** In the field of 256 elements of the standard. */
function times(a: number, b: number): number {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >>> 7) * 0x11d);
    product ^= ((b >>> bit) & 1) * a;
  }
  return product;
}

function reedSolomonDivisor(degree: number): number[] {
  const result = [...Array<number>(degree - 1).fill(0), 1];
  let root = 1;
  for (let step = 0; step < degree; step += 1) {
    for (let at = 0; at < degree; at += 1) result[at] = times(result[at] ?? 0, root) ^ (result[at + 1] ?? 0);
    root = times(root, 2);
  }
  return result;
}

function reedSolomonRemainder(data: readonly number[], divisor: readonly number[]): number[] {
  const result = divisor.map(() => 0);
  for (const byte of data) {
    const factor = byte ^ (result.shift() ?? 0);
    result.push(0);
    divisor.forEach((coefficient, at) => (result[at] = (result[at] ?? 0) ^ times(coefficient, factor)));
  }
  return result;
}

const masks: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => (x + y) % 2 === 0,
  (_x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

function draw(bytes: readonly number[], version: number, level: Level): boolean[][] {
  const size = version * 4 + 17;
  const patterns = functionPatterns(version);
  let best: { modules: boolean[][]; penalty: number } | undefined;
  masks.forEach((isMasked, mask) => {
    const modules = patterns.map((row) => row.map((dark) => dark === true));
    const isFree = (x: number, y: number): boolean => patterns[y]?.[x] === undefined;
    zigzag(size, isFree, (x, y, index) => {
      const row = modules[y];
      if (row === undefined) return;
      // what is left over after the last byte is light
      const bit = ((bytes[index >>> 3] ?? 0) >>> (7 - (index & 7))) & 1;
      row[x] = (bit === 1) !== isMasked(x, y);
    });
    drawFormat(modules, (levelBits[level] << 3) | mask);
    const found = penalty(modules);
    if (best === undefined || found < best.penalty) best = { modules, penalty: found };
  });
  return best?.modules ?? [];
}

/** Undefined where data goes; the places of the format are taken, and light for now. */
function functionPatterns(version: number): (boolean | undefined)[][] {
  const size = version * 4 + 17;
  const modules = Array.from({ length: size }, () => Array<boolean | undefined>(size).fill(undefined));
  const put = (x: number, y: number, dark: boolean): void => {
    const row = modules[y];
    if (row !== undefined && x >= 0 && x < size) row[x] = dark;
  };
  const square = (atX: number, atY: number, radius: number, isDark: (ring: number) => boolean): void => {
    for (let y = -radius; y <= radius; y += 1)
      for (let x = -radius; x <= radius; x += 1) put(atX + x, atY + y, isDark(Math.max(Math.abs(x), Math.abs(y))));
  };
  for (let at = 0; at < size; at += 1) {
    put(6, at, at % 2 === 0);
    put(at, 6, at % 2 === 0);
  }
  for (const [x, y] of [
    [3, 3],
    [size - 4, 3],
    [3, size - 4],
  ] as const)
    square(x, y, 4, (ring) => ring !== 2 && ring !== 4);
  const places = alignment(version);
  const last = places.length - 1;
  places.forEach((x, column) => {
    places.forEach((y, row) => {
      const onFinder = (column === 0 && row === 0) || (column === last && row === 0) || (column === 0 && row === last);
      if (!onFinder) square(x, y, 2, (ring) => ring !== 1);
    });
  });
  for (const [x, y] of formatPlaces(size).flat()) put(x, y, false);
  put(8, size - 8, true);
  if (version >= 7) {
    const bits = (version << 12) | checked(version, 12, 0x1f25);
    for (let bit = 0; bit < 18; bit += 1) {
      const dark = ((bits >>> bit) & 1) === 1;
      const [near, far] = [Math.floor(bit / 3), size - 11 + (bit % 3)];
      put(far, near, dark);
      put(near, far, dark);
    }
  }
  return modules;
}

/** Source: annex E; up to version 10 there are two or three of them. */
function alignment(version: number): number[] {
  if (version === 1) return [];
  const last = version * 4 + 10;
  return version < 7 ? [6, last] : [6, (6 + last) / 2, last];
}

/** The remainder of a BCH code, `width` bits of it. */
function checked(value: number, width: number, generator: number): number {
  let rest = value;
  for (let bit = 0; bit < width; bit += 1) rest = (rest << 1) ^ ((rest >>> (width - 1)) * generator);
  return rest;
}

/** Where each of the 15 bits stands, lowest first: around the first finder, and again at the other two. */
const formatPlaces = (size: number): [[number, number], [number, number]][] =>
  Array.from({ length: 15 }, (_, bit) => {
    const near: [number, number] = bit < 6 ? [8, bit] : bit < 8 ? [8, bit + 1] : bit === 8 ? [7, 8] : [14 - bit, 8];
    const far: [number, number] = bit < 8 ? [size - 1 - bit, 8] : [8, size - 15 + bit];
    return [near, far];
  });

function drawFormat(modules: boolean[][], data: number): void {
  const bits = ((data << 10) | checked(data, 10, 0x537)) ^ 0x5412;
  formatPlaces(modules.length).forEach((places, bit) => {
    for (const [x, y] of places) {
      const row = modules[y];
      if (row !== undefined) row[x] = ((bits >>> bit) & 1) === 1;
    }
  });
}

/** Two columns at a time from the right, up and down in turn, over what is free. */
function zigzag(
  size: number,
  isFree: (x: number, y: number) => boolean,
  visit: (x: number, y: number, index: number) => void,
): void {
  let index = 0;
  let upwards = true;
  for (let right = size - 1; right >= 1; right -= 2) {
    // the column of the timing pattern is skipped
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1)
      for (const x of [right, right - 1]) {
        const y = upwards ? size - 1 - step : step;
        if (isFree(x, y)) visit(x, y, index++);
      }
    upwards = !upwards;
  }
}

/** How hard it would be to read. Source: section 7.8.3. */
function penalty(modules: readonly (readonly boolean[])[]): number {
  const size = modules.length;
  const at = (x: number, y: number): boolean => modules[y]?.[x] === true;
  let sum = 0;
  let dark = 0;
  for (let line = 0; line < size; line += 1)
    for (const module of [(along: number) => at(along, line), (along: number) => at(line, along)]) {
      let run = 0;
      let text = "";
      for (let along = 0; along < size; along += 1) {
        run = along > 0 && module(along) === module(along - 1) ? run + 1 : 1;
        if (run === 5) sum += 3;
        else if (run > 5) sum += 1;
        text += module(along) ? "1" : "0";
      }
      // like a finder pattern, with light on one side; beyond the edge it is light
      const edged = `0000${text}0000`;
      for (const like of ["00001011101", "10111010000"])
        for (let from = edged.indexOf(like); from !== -1; from = edged.indexOf(like, from + 1)) sum += 40;
    }
  for (let y = 0; y < size; y += 1)
    for (let x = 0; x < size; x += 1) {
      if (at(x, y)) dark += 1;
      if (x > 0 && y > 0 && at(x, y) === at(x - 1, y) && at(x, y) === at(x, y - 1) && at(x, y) === at(x - 1, y - 1))
        sum += 3;
    }
  return sum + Math.floor(Math.abs((dark / size ** 2) * 20 - 10)) * 10;
}

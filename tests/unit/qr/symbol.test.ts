import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import fc from "fast-check";
import { encode } from "uqr";
import { beforeAll, expect, test } from "vitest";
import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";
import { drawingOf, modulesOf, segmentsOf } from "../../../renderer/src/qr/drawing.ts";
import { symbolOf, type Segment } from "../../../renderer/src/qr/symbol.ts";

const payload = "AEAAB2GZKQ".repeat(10).slice(0, 93);
const link = `matrix:u/mara:tessera.example?action=chat&chat.tessera.sj=${payload}`;
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

beforeAll(async () => {
  const file = createRequire(import.meta.url).resolve("zxing-wasm/reader/zxing_reader.wasm");
  prepareZXingModule({ overrides: { wasmBinary: (await readFile(file)).buffer } });
});

/** Read by the window's own reader, from pixels. */
async function read(modules: boolean[][], scale = 4): Promise<Uint8Array | undefined> {
  const width = (modules.length + 8) * scale;
  const data = new Uint8ClampedArray(width * width * 4).fill(255);
  for (let y = 0; y < width; y++)
    for (let x = 0; x < width; x++)
      if (modules[Math.floor(y / scale) - 4]?.[Math.floor(x / scale) - 4] === true)
        data.fill(0, (y * width + x) * 4, (y * width + x) * 4 + 3);
  const found = await readBarcodes({ data, width, height: width } as Parameters<typeof readBarcodes>[0], {
    formats: ["QRCode"],
  });
  return found[0]?.isValid === true ? found[0].bytes : undefined;
}

test("an invitation's code has the modules that its design reckons with, and a larger one on paper", () => {
  expect(modulesOf(segmentsOf(link), "L")).toHaveLength(41);
  expect(modulesOf(segmentsOf(link), "M")).toHaveLength(49);
  // as bytes alone it would be a version larger
  expect(modulesOf(link, "L")).toHaveLength(45);
});

test("it is read back byte for byte on screen and on paper", async () => {
  for (const level of ["L", "M"] as const)
    expect(await read(modulesOf(segmentsOf(link), level) ?? [])).toEqual(bytesOf(link));
});

test("any two segments are read back as one text", async () => {
  const letters = Array.from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 120 }),
      fc.array(fc.constantFrom(...letters), { minLength: 1, maxLength: 120 }),
      fc.constantFrom("L" as const, "M" as const),
      async (bytes, text, level) => {
        const modules = symbolOf(
          [
            { mode: "bytes", bytes },
            { mode: "alphanumeric", text: text.join("") },
          ],
          level,
        );
        if (modules === undefined) return;
        expect(await read(modules)).toEqual(new Uint8Array([...bytes, ...bytesOf(text.join(""))]));
      },
    ),
    { numRuns: 60 },
  );
});

test("of one segment it is, module for module, what the library draws", () => {
  for (let length = 1; length <= 260; length += 7)
    for (const level of ["L", "M"] as const) {
      const bytes = Uint8Array.from({ length }, (_, index) => (Math.imul(index + length, 2654435761) >>> 11) & 0xff);
      const segments: Segment[] = [{ mode: "bytes", bytes }];
      const ours = symbolOf(segments, level);
      if (ours === undefined) continue;
      const version = (ours.length - 17) / 4;
      // which level and mask were taken is no matter of right and wrong
      const theirs = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((maskPattern) =>
        (["L", "M"] as const).flatMap((ecc) => {
          const drawn = encode(Array.from(bytes), {
            ecc,
            maskPattern,
            boostEcc: false,
            border: 0,
            minVersion: version,
          });
          return drawn.version === version ? [JSON.stringify(drawn.data)] : [];
        }),
      );
      expect([length, level, theirs.includes(JSON.stringify(ours))]).toEqual([length, level, true]);
    }
});

test("what has no place in a code that can be read well is not drawn", () => {
  const long = `matrix:u/${"a".repeat(240)}:tessera.example?action=chat&chat.tessera.sj=${payload}`;
  expect(drawingOf(segmentsOf(long), "L")).toBeUndefined();
  expect(drawingOf(segmentsOf("matrix:u/mara:tessera.example"), "L")?.size).toBeGreaterThan(0);
});

test("a code has its quiet zone, and its finder in the corner of what is within", () => {
  const drawing = drawingOf(segmentsOf(link), "L");
  expect(drawing?.size).toBe(49);
  expect(drawing?.path.startsWith("M4 4h7v1h-7z")).toBe(true);
});

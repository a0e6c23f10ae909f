/** A code outside of the window: as a picture, as a drawing, on a card of paper. Paper gets folded: these have more correction. */
import { printElement } from "../../lib/print-sheet.ts";
import { drawingOf, segmentsOf, type Drawing } from "../../qr/drawing.ts";

const pixelsAModule = 16;
const [ink, paper] = ["#000000", "#ffffff"];
const svgNamespace = "http://www.w3.org/2000/svg";

/** With the correction for paper where the code stays small enough to be read. */
function sturdy(link: string): Drawing {
  const drawing = drawingOf(segmentsOf(link), "M") ?? drawingOf(segmentsOf(link), "L");
  if (drawing === undefined) throw new RangeError("this link has no code");
  return drawing;
}

export function svgOf(link: string): Uint8Array {
  const { size, path } = sturdy(link);
  const text =
    `<svg xmlns="${svgNamespace}" viewBox="0 0 ${size} ${size}" width="${size * 8}" height="${size * 8}" ` +
    `shape-rendering="crispEdges"><rect width="${size}" height="${size}" fill="${paper}"/>` +
    `<path d="${path}" fill="${ink}"/></svg>\n`;
  return new TextEncoder().encode(text);
}

export async function pngOf(link: string): Promise<Uint8Array> {
  const { size, path } = sturdy(link);
  const canvas = new OffscreenCanvas(size * pixelsAModule, size * pixelsAModule);
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("no canvas");
  context.fillStyle = paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(pixelsAModule, pixelsAModule);
  context.fillStyle = ink;
  context.fill(new Path2D(path));
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return new Uint8Array(await blob.arrayBuffer());
}

export type Card = { heading: string; name: string; userId: string; lines: readonly string[] };

/** A card to be cut out: the code, whose it is, and what to do with it. */
export function printCard(link: string, { heading, name, userId, lines }: Card): void {
  const { size, path } = sturdy(link);
  const sheet = element("section", "print-sheet print-card");
  sheet.setAttribute("aria-hidden", "true");
  const svg = document.createElementNS(svgNamespace, "svg");
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("shape-rendering", "crispEdges");
  const dark = document.createElementNS(svgNamespace, "path");
  dark.setAttribute("d", path);
  svg.append(dark);
  const text = element("div", "print-card-text");
  text.append(element("h1", "", heading), element("strong", "", name), element("span", "code", userId));
  for (const line of lines) text.append(element("p", "", line));
  sheet.append(svg, text);
  printElement(sheet);
}

function element(tag: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.textContent = text;
  return made;
}

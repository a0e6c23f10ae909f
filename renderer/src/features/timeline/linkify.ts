/** Addresses in plain text, found by linkifyjs and narrowed to what may be opened. */
import { find } from "linkifyjs";

export type Piece = { text: string; href?: string };

const mayHold = /[a-z0-9]\.[a-z]|:\/\/|@/i;
const allowed = /^(?:https?:\/\/|mailto:)/i;
/** Finding links costs time with the square of nothing, but a body of 64 KiB may hold thousands: the rest stays text. */
const maxLinks = 200;

export function pieces(text: string): Piece[] {
  if (!mayHold.test(text)) return [{ text }];
  const out: Piece[] = [];
  let from = 0;
  for (const link of find(text, { defaultProtocol: "https" }).slice(0, maxLinks)) {
    if (!allowed.test(link.href) || (link.type !== "url" && link.type !== "email")) continue;
    // A bare word with a dot is more often a file name than an address.
    if (
      link.type === "url" &&
      !/:\/\/|^www\.|\//i.test(link.value) &&
      !/\.(?:com|org|net|de|at|ch|io|dev|eu|uk|fr)$/i.test(link.value)
    )
      continue;
    if (link.start > from) out.push({ text: text.slice(from, link.start) });
    out.push({ text: link.value, href: link.href });
    from = link.end;
  }
  if (from < text.length) out.push({ text: text.slice(from) });
  return out;
}

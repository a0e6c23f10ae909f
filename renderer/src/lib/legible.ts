/** Makes text of others harmless to read: what cannot be seen must not move or hide what can. */

// C0 and C1 controls but tab and newline; bidirectional marks that reorder their surroundings; invisible fillers used to fake names.
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const directions = /[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g;
const invisible = /[\u200b\u2060\ufeff\u{e0000}-\u{e007f}\u115f\u1160\u3164\uffa0]/gu;

/** A name or a one-line preview: no line breaks, no reordering, nothing invisible, bounded. Empty when nothing is left. */
export function legibleLine(text: string, maxLength = 200): string {
  const flat = text
    .slice(0, maxLength * 4)
    .replace(/[\r\n\t\u2028\u2029]+/g, " ")
    .replace(controls, "")
    .replace(directions, "")
    .replace(invisible, "")
    .replace(/(\p{M}{4})\p{M}+/gu, "$1")
    .replace(/ {2,}/g, " ")
    .trim();
  const letters = Array.from(flat);
  return letters.length > maxLength ? `${letters.slice(0, maxLength).join("")}…` : flat;
}

/** A message's body: line breaks stay; overrides of direction go, since the bubble isolates its own. */
export function legibleText(text: string): string {
  return text
    .replace(/\r\n?/g, "\n")
    .replace(controls, "")
    .replace(/[\u202d\u202e]/g, "")
    .replace(/(\p{M}{8})\p{M}+/gu, "$1")
    .replace(/\n{6,}/g, "\n\n\n\n\n");
}

/** `@ana:example.org` → `ana`, for where no name is known. */
export const localpart = (userId: string): string => legibleLine(/^@([^:]+)/.exec(userId)?.[1] ?? userId, 60);

/** The first letter or emoji of a name. */
export function initial(name: string): string {
  const first = /[\p{L}\p{N}\p{Extended_Pictographic}]/u.exec(name)?.[0] ?? "·";
  return first.toLocaleUpperCase();
}

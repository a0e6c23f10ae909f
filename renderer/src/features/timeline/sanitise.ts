/** Message HTML of others, made harmless: the tags of the Matrix specification ("m.room.message msgtypes"), without images and styles. */
import DOMPurify, { type Config } from "dompurify";

/** Longer or deeper than this is shown as its plain text. */
const maxLength = 64 * 1024;
const maxDepth = 100;

const config: Config & { RETURN_DOM_FRAGMENT: true } = {
  ALLOWED_TAGS: [
    ...[
      "del",
      "h1",
      "h2",
      "h3",
      "h4",
      "h5",
      "h6",
      "blockquote",
      "p",
      "a",
      "ul",
      "ol",
      "sup",
      "sub",
      "li",
      "b",
      "i",
      "u",
      "strong",
      "em",
    ],
    ...[
      "s",
      "code",
      "hr",
      "br",
      "div",
      "table",
      "thead",
      "tbody",
      "tr",
      "th",
      "td",
      "caption",
      "pre",
      "span",
      "details",
      "summary",
    ],
    "#text",
  ],
  ALLOWED_ATTR: ["href", "start", "data-mx-spoiler"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  // What stood in a forbidden element stays readable, except where it never was text to read.
  FORBID_CONTENTS: [
    "script",
    "style",
    "template",
    "noscript",
    "iframe",
    "object",
    "embed",
    "svg",
    "math",
    "audio",
    "video",
    "mx-reply",
    "select",
    "title",
  ],
  KEEP_CONTENT: true,
  RETURN_DOM_FRAGMENT: true,
};

const purifier = DOMPurify(window);

/** A `matrix.to` address of a person: shown as a mention. */
const person = /^https:\/\/matrix\.to\/#\/(?:@|%40)/i;

/** `undefined` where the message is better shown as its plain text. Links keep their target, shown to the person before it is followed. */
export function sanitise(html: string): DocumentFragment | undefined {
  if (html.length > maxLength || tooDeep(html)) return undefined;
  const fragment = purifier.sanitize(html, config);
  if (depthOf(fragment) > maxDepth) return undefined;
  for (const link of fragment.querySelectorAll("a")) {
    if (!link.hasAttribute("href")) continue;
    link.rel = "noreferrer noopener";
    if (person.test(link.href)) link.className = "mention";
  }
  for (const spoiler of fragment.querySelectorAll<HTMLElement>("[data-mx-spoiler]")) {
    spoiler.className = "spoiler";
    spoiler.tabIndex = 0;
    spoiler.setAttribute("role", "button");
  }
  for (const list of fragment.querySelectorAll("ol[start]")) {
    if (!/^-?\d{1,9}$/.test(list.getAttribute("start") ?? "")) list.removeAttribute("start");
  }
  // A table or a code block that is wider than the bubble scrolls, so a keyboard must be able to get there.
  for (const wide of fragment.querySelectorAll<HTMLElement>("pre, table")) wide.tabIndex = 0;
  clean(fragment);
  return fragment.textContent.trim() === "" && fragment.querySelector("hr") === null ? undefined : fragment;
}

/** Cheap and before parsing: thousands of open elements cost the parser more than they can say. */
function tooDeep(html: string): boolean {
  let depth = 0;
  for (const tag of html.matchAll(/<(\/?)([a-z][a-z0-9-]*)/gi)) {
    if (/^(?:br|hr|img|p|li|input|meta|link)$/i.test(tag[2] ?? "")) continue;
    depth += tag[1] === "/" ? -1 : 1;
    if (depth > maxDepth) return true;
  }
  return false;
}

function depthOf(root: Node): number {
  let deepest = 0;
  const walker = document.createTreeWalker(root);
  for (let node: Node | null = walker.nextNode(); node !== null; node = walker.nextNode()) {
    let depth = 0;
    for (let up: Node | null = node; up !== null && up !== root; up = up.parentNode) depth += 1;
    if (depth > deepest) deepest = depth;
    if (deepest > maxDepth) return deepest;
  }
  return deepest;
}

function clean(fragment: DocumentFragment): void {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const text = node.nodeValue ?? "";
    // eslint-disable-next-line no-control-regex -- control characters are what is looked for
    if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202d\u202e]/.test(text))
      // eslint-disable-next-line no-control-regex -- as above
      node.nodeValue = text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202d\u202e]/g, "");
  }
}

/** What a hostile sender may put into an encrypted event, where no server can strip it. */
import type { Item } from "../../preload/contract/timeline.ts";

export const hostileRoom = {
  roomId: "!hostile:example.org",
  name: "Quiet\u202Eecalp \u0000room\u200B\nsecond line",
  memberName: "Jo\u202E\u2066 Castel\u0007lano",
};

const deep = (levels: number): string => "<div>".repeat(levels) + "deep inside" + "</div>".repeat(levels);

export const hostileHtml: Record<string, string> = {
  image: '<p>before</p><img src="http://127.0.0.1:9/leak.png" onerror="window.hacked=1"><p>after image</p>',
  script: "<p>script before</p><script>window.hacked=1</script><p>script after</p>",
  javascript:
    '<a href="javascript:window.hacked=1">a javascript link</a> <a href="JaVaScRiPt&#58;window.hacked=1">another</a> <a href="data:text/html,<b>x">data link</a>',
  handlers:
    '<b onclick="window.hacked=1" onmouseover="window.hacked=1" style="position:fixed;inset:0;background:red">styled</b>',
  style: "<style>body{display:none}</style><p>style survived</p>",
  frame:
    '<iframe src="http://127.0.0.1:9/"></iframe><object data="http://127.0.0.1:9/"></object><embed src="http://127.0.0.1:9/"><p>frame gone</p>',
  svg: '<svg onload="window.hacked=1"><use href="http://127.0.0.1:9/#x"/></svg><math><mtext><img src=x onerror=window.hacked=1></mtext></math><p>svg gone</p>',
  form: '<form action="http://127.0.0.1:9/"><input name="q" autofocus onfocus="window.hacked=1"><button>press</button></form><p>form gone</p>',
  media:
    '<video src="http://127.0.0.1:9/v" autoplay></video><audio src="http://127.0.0.1:9/a"></audio><link rel="stylesheet" href="http://127.0.0.1:9/c"><p>media gone</p>',
  clobber:
    '<a id="app" name="core" href="https://clobber.example.org/">clobber</a><b class="dialog-veil" data-item="x">classed</b>',
  deep: deep(3000),
  halfDeep: deep(90),
  link: '<a href="https://real.example.org/target" target="_top">https://looks-like.example.com</a>',
  mutation:
    '<math><mi//xlink:href="data:x,<script>window.hacked=1</script>"><noscript><p title="</noscript><img src=x onerror=window.hacked=1>">mutation</p>',
  unclosed: "<b><i><u>".repeat(40) + "unclosed",
};

export const hostileItems: Partial<Item>[] = [
  ...Object.entries(hostileHtml).map(([name, html]) => ({
    body: `plain text of ${name}`,
    html,
    itemId: `$html-${name}`,
    eventId: `$html-${name}`,
  })),
  { itemId: "$long", body: "long ".repeat(13_000) },
  { itemId: "$long-html", body: "plain of the long one", html: `<p>${"x".repeat(70_000)}</p>` },
  { itemId: "$control", body: "bell\u0007 null\u0000 escape\u001b[31m delete\u007f end" },
  { itemId: "$bidi", body: "see \u202Egnp.exe\u202C and more" },
  { itemId: "$zalgo", body: `Z${"\u0301\u0302\u0303".repeat(200)}algo` },
  { itemId: "$word", body: "unbroken".repeat(200) },
  { itemId: "$rtl", body: "שלום, זה כתוב מימין לשמאל." },
  {
    itemId: "$links",
    body: "plain javascript:alert(1) and https://plain.example.org/path?q=1 and mail@example.org, file.ts stays",
  },
  { itemId: "$empty-html", body: "only plain", html: "<img src=x><script>1</script>" },
  { itemId: "$replayed", body: "sent twice", replayed: true },
  {
    itemId: "$shield",
    body: "from a device nobody vouches for",
    encryption: { at: "encrypted", device: "STRANGER", shield: "red" },
  },
  { itemId: "$name", body: "the name tries to reorder", senderName: "\u202EevaD\u202C\u0000" },
  {
    itemId: "$state",
    kind: "state",
    body: "",
    change: { kind: "renamed-room", name: "<img src=x onerror=window.hacked=1>\u202E" },
  },
  {
    itemId: "$undecryptable",
    kind: "undecryptable",
    body: "",
    undecryptable: { reason: "withheld-unsigned", sinceMs: 0, lastTryMs: 0, tried: [] },
  },
];

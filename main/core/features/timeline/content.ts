import { Marked } from "marked";
import type { Json } from "../../json.ts";

export type Draft = {
  body: string;
  format: "plain" | "markdown";
  replyTo?: string;
  threadRoot?: string;
  mentions: string[];
};

const escape = (raw: string) =>
  raw.replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c] ?? c);

/** Schemes of addresses that a message may link to. Source: client-server API, "m.room.message msgtypes". */
const isFollowed = /^(https?|ftp|mailto|magnet|matrix):/i;

const markdown = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    // what a person types as HTML is shown as they typed it
    html: ({ text }) => escape(text),
    // no picture is fetched from elsewhere for a message's sake
    image: ({ href, text }) => escape(text === "" ? href : text),
    // what a click should not follow (`javascript:`, `data:`) leaves as it was typed
    link: ({ href, raw }) => (isFollowed.test(href) ? false : escape(raw)),
  },
});

/** The content of an `m.room.message`. Source: client-server API, "Instant messaging", "Rich replies", "Threading", "User and room mentions". */
export function messageContent(draft: Draft): Json {
  const html = draft.format === "markdown" ? htmlOf(draft.body) : undefined;
  const relation =
    draft.threadRoot !== undefined
      ? {
          rel_type: "m.thread",
          event_id: draft.threadRoot,
          is_falling_back: draft.replyTo === undefined,
          "m.in_reply_to": { event_id: draft.replyTo ?? draft.threadRoot },
        }
      : draft.replyTo !== undefined
        ? { "m.in_reply_to": { event_id: draft.replyTo } }
        : undefined;
  return {
    msgtype: "m.text",
    body: draft.body,
    ...(html === undefined ? {} : { format: "org.matrix.custom.html", formatted_body: html }),
    "m.mentions": draft.mentions.length === 0 ? {} : { user_ids: [...new Set(draft.mentions)] },
    ...(relation === undefined ? {} : { "m.relates_to": relation }),
  };
}

/** `undefined` where the text has no formatting, so that a plain message stays plain on the wire. */
function htmlOf(body: string): string | undefined {
  const html = markdown.parse(body, { async: false }).trim();
  const plain = `<p>${escape(body.trim()).replaceAll("\n", "<br>")}</p>`;
  if (html === plain) return undefined;
  const single = /^<p>((?:(?!<p>)[\s\S])*)<\/p>$/.exec(html)?.[1];
  return single ?? html;
}

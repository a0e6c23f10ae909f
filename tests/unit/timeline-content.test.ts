import fc from "fast-check";
import { expect, test } from "vitest";
import { messageContent } from "../../main/core/features/timeline/content.ts";
import { sentenceOf, showsState, stateChange } from "../../main/core/features/timeline/state-items.ts";
import { roomName } from "../../main/core/features/rooms/names.ts";

const content = (body: string, format: "plain" | "markdown" = "markdown", more: object = {}) =>
  messageContent({ body, format, mentions: [], ...more });
const html = (body: string) => content(body)["formatted_body"];

test("plain text carries no HTML, whatever it holds", () => {
  expect(content("a *b* <i>c</i>", "plain")).toEqual({ msgtype: "m.text", body: "a *b* <i>c</i>", "m.mentions": {} });
});

test("markdown without formatting stays plain on the wire", () => {
  for (const body of ["hello", "5 < 6 & 7 > 2", 'it\'s "so"', "two\nlines"]) expect(html(body)).toBeUndefined();
});

test.each([
  ["**bold** and *slanted*", "<strong>bold</strong> and <em>slanted</em>"],
  ["`code <b>`", "<code>code &lt;b&gt;</code>"],
  ["a <b>tag</b> and **more**", "a &lt;b&gt;tag&lt;/b&gt; and <strong>more</strong>"],
  ["![cat](https://example.org/cat.png) **x**", "cat <strong>x</strong>"],
  [
    "[a](https://example.org) www.example.org",
    /^<a href="https:\/\/example.org">a<\/a> <a href="http:\/\/www.example.org">/,
  ],
  ["**x** [a](javascript:alert)", "<strong>x</strong> [a](javascript:alert)"],
  ["**x** [a](&#106;avascript:b) [c](JavaScript:d) [e](data:text/html,f)", /^<strong>x<\/strong> \[a[^<]*$/],
])("%s becomes %s", (body, wanted) => {
  if (typeof wanted === "string") expect(html(body)).toBe(wanted);
  else expect(html(body)).toMatch(wanted);
});

test("what a person types as HTML never becomes HTML", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom(
          "<script>",
          "</script>",
          "<img src=x onerror=y>",
          "**",
          "*",
          "\n",
          "- ",
          "> ",
          "`",
          "text",
          "<",
          ">",
          "&",
          "[a](b)",
        ),
        { maxLength: 12 },
      ),
      (parts) => {
        const made = html(parts.join(""));
        if (typeof made === "string") expect(made).not.toMatch(/<(script|img|iframe|style|object)/i);
      },
    ),
    { numRuns: 2000 },
  );
});

test("replies, threads and mentions are relations as the specification has them", () => {
  expect(content("x", "plain", { replyTo: "$r" })["m.relates_to"]).toEqual({ "m.in_reply_to": { event_id: "$r" } });
  expect(content("x", "plain", { threadRoot: "$t" })["m.relates_to"]).toEqual({
    rel_type: "m.thread",
    event_id: "$t",
    is_falling_back: true,
    "m.in_reply_to": { event_id: "$t" },
  });
  expect(content("x", "plain", { threadRoot: "$t", replyTo: "$r" })["m.relates_to"]).toEqual({
    rel_type: "m.thread",
    event_id: "$t",
    is_falling_back: false,
    "m.in_reply_to": { event_id: "$r" },
  });
  expect(content("x", "plain", { mentions: ["@a:b", "@a:b"] })["m.mentions"]).toEqual({ user_ids: ["@a:b"] });
});

const named = (room: Partial<Parameters<typeof roomName>[0]>, people: string[], others = people.length) =>
  roomName(
    { name: null, alias: null, direct_user: null, ...room },
    people.map((name) => ({ userId: `@${name}:b`, name })),
    others,
  );

test("a room is named by its name, its alias, its people, in this order", () => {
  expect(named({ name: "Harbour", alias: "#a:b" }, ["ana"])).toBe("Harbour");
  expect(named({ alias: "#a:b" }, ["ana"])).toBe("#a:b");
  expect(named({}, ["ana"])).toBe("ana");
  expect(named({}, ["ana", "ben"])).toBe("ana and ben");
  expect(named({}, ["ana", "ben", "cem"])).toBe("ana, ben and cem");
  expect(named({}, ["ana", "ben"], 7)).toBe("ana, ben and 5 more");
  expect(named({}, [])).toBe("Empty room");
  expect(named({ direct_user: "@ben:b" }, [])).toBe("ben");
  expect(roomName({ name: null, alias: null, direct_user: null }, [{ userId: "@ben:b", name: undefined }], 1)).toBe(
    "ben",
  );
});

test("a state event of any shape is worded, never thrown at", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("m.room.member", "m.room.name", "m.room.topic", "m.room.create", "m.room.encryption", "x"),
      fc.oneof(
        fc.record(
          { membership: fc.constantFrom("join", "invite", "leave", "ban", "knock", 5), displayname: fc.anything() },
          { requiredKeys: [] },
        ),
        fc.object(),
      ),
      fc.anything(),
      (type, inner, unsigned) => {
        const event = { type, content: inner, unsigned: { prev_content: unsigned }, sender: "@a:b", state_key: "@c:d" };
        showsState(event);
        expect(
          sentenceOf(
            stateChange(event, () => undefined),
            "@a:b",
          ).length,
        ).toBeGreaterThan(0);
      },
    ),
    { numRuns: 2000 },
  );
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { createPushRules } from "../../main/core/matrix/push-rules.ts";
import { messageIndexOf } from "../../main/core/matrix/crypto.ts";
import { setLogSink } from "../../main/core/log.ts";

const me = "@ana:tessera.test";
const matches = (key: string, pattern: string) => ({ kind: "event_match", key, pattern });
const rule = (rule_id: string, actions: unknown[], conditions: unknown[]) => ({
  rule_id,
  actions,
  conditions,
  enabled: true,
  default: true,
});
const highlight = ["notify", { set_tweak: "highlight" }];
/** As a homeserver sends them. Source: client-server API, "Predefined Rules". */
const defaults = {
  override: [
    { ...rule(".m.rule.master", [], []), enabled: false },
    rule(".m.rule.suppress_notices", [], [matches("content.msgtype", "m.notice")]),
    rule(
      ".m.rule.invite_for_me",
      ["notify"],
      [matches("type", "m.room.member"), matches("content.membership", "invite"), matches("state_key", me)],
    ),
    rule(".m.rule.member_event", [], [matches("type", "m.room.member")]),
    rule(".m.rule.is_user_mention", highlight, [
      { kind: "event_property_contains", key: "content.m\\.mentions.user_ids", value: me },
    ]),
    rule(".m.rule.is_room_mention", highlight, [
      { kind: "event_property_is", key: "content.m\\.mentions.room", value: true },
      { kind: "sender_notification_permission", key: "room" },
    ]),
    rule(".m.rule.contains_display_name", highlight, [{ kind: "contains_display_name" }]),
    rule(".m.rule.tombstone", highlight, [matches("type", "m.room.tombstone"), matches("state_key", "")]),
    rule(".m.rule.reaction", [], [matches("type", "m.reaction")]),
    rule(".m.rule.room.server_acl", [], [matches("type", "m.room.server_acl"), matches("state_key", "")]),
    rule(
      ".m.rule.suppress_edits",
      [],
      [{ kind: "event_property_is", key: "content.m\\.relates_to.rel_type", value: "m.replace" }],
    ),
  ],
  content: [{ rule_id: "mine", actions: highlight, pattern: "harbour", enabled: true, default: false }],
  underride: [
    rule(".m.rule.call", ["notify"], [matches("type", "m.call.invite")]),
    rule(
      ".m.rule.encrypted_room_one_to_one",
      ["notify"],
      [{ kind: "room_member_count", is: "2" }, matches("type", "m.room.encrypted")],
    ),
    rule(
      ".m.rule.room_one_to_one",
      ["notify"],
      [{ kind: "room_member_count", is: "2" }, matches("type", "m.room.message")],
    ),
    rule(".m.rule.message", ["notify"], [matches("type", "m.room.message")]),
    rule(".m.rule.encrypted", ["notify"], [matches("type", "m.room.encrypted")]),
  ],
};
const rules = (joined = 5, mayNotify = true) => {
  const push = createPushRules(me, { joinedCount: () => joined, myName: () => "Ana", levelFor: () => mayNotify });
  push.setRules({ global: defaults });
  return push;
};
const warnings: string[] = [];
setLogSink((level, text) => {
  if (level === "warn") warnings.push(text);
});
const roomId = "!r:tessera.test";
const event = (content: Record<string, unknown>, more: object = {}) => ({
  type: "m.room.message",
  sender: "@ben:tessera.test",
  event_id: "$e",
  content: { msgtype: "m.text", body: "hi", ...content },
  ...more,
});

test("the specification's default rules: messages notify, mentions are mentions, notices and own edits are not", () => {
  const push = rules();
  expect(push.evaluate(roomId, event({}))).toBe(1);
  expect(push.evaluate(roomId, event({ "m.mentions": { user_ids: [me] } }))).toBe(2);
  expect(push.evaluate(roomId, event({ "m.mentions": { room: true } }))).toBe(2);
  expect(push.evaluate(roomId, event({ body: "at the harbour" }))).toBe(2);
  expect(rules(2).evaluate(roomId, event({}))).toBe(1);
  expect(push.evaluate(roomId, event({ msgtype: "m.notice" }))).toBe(0);
  expect(
    push.evaluate(roomId, {
      ...event({}),
      type: "m.reaction",
      content: { "m.relates_to": { rel_type: "m.annotation", event_id: "$x", key: "a" } },
    }),
  ).toBe(0);
  expect(
    push.evaluate(roomId, event({ "m.relates_to": { rel_type: "m.replace", event_id: "$x" }, "m.new_content": {} })),
  ).toBe(0);
  expect(
    push.evaluate(roomId, { ...event({}), type: "m.room.member", state_key: me, content: { membership: "invite" } }),
  ).toBe(1);
  expect(
    push.evaluate(roomId, { ...event({}), type: "m.room.encrypted", content: { algorithm: "m.megolm.v1.aes-sha2" } }),
  ).toBe(1);
});

test("@room from somebody who may not notify everyone is an ordinary message", () => {
  expect(rules(5, false).evaluate(roomId, event({ "m.mentions": { room: true } }))).toBe(1);
});

test("a room is muted by a rule of its own or an override for it alone", () => {
  const push = rules();
  push.setRules({
    global: {
      room: [{ rule_id: "!quiet:tessera.test", actions: [], enabled: true, default: false }],
      override: [
        {
          rule_id: "!silent:tessera.test",
          actions: ["dont_notify"],
          enabled: true,
          default: false,
          conditions: [{ kind: "event_match", key: "room_id", pattern: "!silent:tessera.test" }],
        },
        {
          rule_id: "!loud:tessera.test",
          actions: [],
          enabled: false,
          default: false,
          conditions: [{ kind: "event_match", key: "room_id", pattern: "!loud:tessera.test" }],
        },
      ],
    },
  });
  expect(["!quiet:tessera.test", "!silent:tessera.test", "!loud:tessera.test", roomId].map(push.isMuted)).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect(push.evaluate("!silent:tessera.test", event({ "m.mentions": { user_ids: [me] } }))).toBe(0);
});

test("no default rule throws, whatever the event: all that the rules read of a client and a room is there", () => {
  warnings.length = 0;
  const push = rules();
  fc.assert(
    fc.property(
      fc.constantFrom(
        "m.room.message",
        "m.room.member",
        "m.room.tombstone",
        "m.reaction",
        "m.room.server_acl",
        "m.call.invite",
        "m.poll.start",
        "org.matrix.msc3930.poll.response",
        "m.room.encrypted",
      ),
      fc.dictionary(
        fc.constantFrom("body", "msgtype", "m.mentions", "m.relates_to", "membership"),
        fc.anything({ maxDepth: 2 }),
      ),
      fc.option(fc.constantFrom("", me, "@x:y"), { nil: undefined }),
      (type, content, stateKey) => {
        expect([0, 1, 2]).toContain(
          push.evaluate(roomId, {
            type,
            content,
            sender: "@ben:tessera.test",
            event_id: "$e",
            ...(stateKey === undefined ? {} : { state_key: stateKey }),
          }),
        );
      },
    ),
    { numRuns: 3000 },
  );
  expect(warnings).toEqual([]);
});

test("rules of wrong shape are left aside", () => {
  const push = rules();
  for (const content of [
    {},
    { global: 5 },
    { global: {} },
    { global: { override: "x" } },
    { global: { override: [5, null, {}] } },
    { global: { content: [{ rule_id: "x", pattern: 5, actions: "notify" }] } },
  ]) {
    expect(() => {
      push.setRules(content);
    }).not.toThrow();
    expect([0, 1, 2]).toContain(push.evaluate(roomId, event({})));
  }
});

test("the message index is read from the wire, or is none", () => {
  const wire = (...bytes: number[]) => Buffer.from([3, 8, ...bytes, 18, 5, 1, 2, 3, 4, 5]).toString("base64");
  expect(messageIndexOf(wire(0))).toBe(0);
  expect(messageIndexOf(wire(5))).toBe(5);
  expect(messageIndexOf(wire(0x80, 1))).toBe(128);
  expect(messageIndexOf(wire(0xff, 0xff, 0xff, 0xff, 0x0f))).toBe(2 ** 32 - 1);
  for (const other of [
    "",
    "AwgA"[0] ?? "",
    "!!!!",
    Buffer.from([4, 8, 1]).toString("base64"),
    Buffer.from([3, 8, 0x80, 0x80, 0x80, 0x80, 0x80, 1]).toString("base64"),
  ])
    expect(messageIndexOf(other)).toBeUndefined();
  fc.assert(
    fc.property(fc.string(), (text) => {
      const index = messageIndexOf(text);
      expect(index === undefined || Number.isSafeInteger(index)).toBe(true);
    }),
  );
});

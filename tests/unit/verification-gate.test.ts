import fc from "fast-check";
import { expect, test } from "vitest";
import { decide, flowLastsMs, type OpenFlow, type View } from "../../main/core/features/verification/gate.ts";
import { wireOfRoom, wireOfToDevice, type Wire } from "../../main/core/features/verification/wire.ts";

const me = "@ana:one.test";
const ben = "@ben:two.test";
const nowMs = 1_800_000_000_000;
const view = (open: Partial<OpenFlow>[] = [], more: Partial<View> = {}): View => ({
  me,
  deviceId: "ANA1",
  nowMs,
  ignored: () => false,
  open: open.map((flow) => ({
    flowId: "f1",
    userId: ben,
    mine: true,
    unanswered: false,
    agreed: false,
    ...flow,
  })),
  known: () => false,
  ...more,
});
const request = (more: Partial<Wire> = {}): Wire => ({
  kind: "request",
  flowId: "new",
  sender: ben,
  fromDevice: "BEN1",
  atMs: nowMs,
  ...more,
});

test("a request is taken for ten minutes, and not from a future beyond five", () => {
  const at = (atMs: number) => decide(request({ atMs }), view()).kind;
  expect(at(nowMs - flowLastsMs + 1)).toBe("pass");
  expect(at(nowMs - flowLastsMs)).toBe("drop");
  expect(at(nowMs + 5 * 60_000 - 1)).toBe("pass");
  expect(at(nowMs + 5 * 60_000)).toBe("drop");
});

test("requests of ignored users, of this device, to others, known ones and ones without a device or a time are left out", () => {
  const why = (wire: Wire, seen = view()) => {
    const decision = decide(wire, seen);
    return decision.kind === "drop" ? decision.why : decision.kind;
  };
  expect(why(request(), view([], { ignored: (userId) => userId === ben }))).toBe("ignored");
  expect(why(request({ sender: me, fromDevice: "ANA1" }))).toBe("own");
  expect(why(request({ sender: me, fromDevice: "ANA2" }))).toBe("pass");
  expect(why(request({ sender: me, fromDevice: "ANA2", to: ben }))).toBe("own");
  expect(why(request({ to: "@eve:three.test" }))).toBe("not-to-us");
  expect(why(request(), view([], { known: () => true }))).toBe("known");
  const { atMs: _, ...timeless } = request();
  expect(why(timeless)).toBe("stale");
  const { fromDevice: __, ...nameless } = request();
  expect(why(nameless)).toBe("stale");
  expect(why(request(), view(Array.from({ length: 30 }, (_, n) => ({ flowId: `f${n}`, userId: `@u${n}:x` }))))).toBe(
    "too-many",
  );
});

test("a request replaces what is unfinished with the same user alone", () => {
  const open = [{ flowId: "a" }, { flowId: "b", userId: "@eve:three.test" }];
  expect(decide(request(), view(open))).toEqual({ kind: "replace", flowIds: ["a"], accept: false });
});

test("of two requests that cross each other both sides keep the same one", () => {
  const id = fc.stringMatching(/^[A-Z0-9]{1,6}$/);
  fc.assert(
    fc.property(id, id, fc.boolean(), (one, other, sameUser) => {
      fc.pre(one !== other || !sameUser);
      const [a, b] = sameUser ? [me, me] : [me, ben];
      const crossing = { unanswered: true, mine: true };
      const atA = decide(
        request({ sender: b, fromDevice: other }),
        view([{ userId: b, ...crossing }], { me: a, deviceId: one }),
      );
      const atB = decide(
        request({ sender: a, fromDevice: one }),
        view([{ userId: a, ...crossing }], { me: b, deviceId: other }),
      );
      expect([atA.kind, atB.kind].sort()).toEqual(["drop", "replace"]);
      for (const decision of [atA, atB]) if (decision.kind === "replace") expect(decision.accept).toBe(true);
    }),
  );
});

test("done is held back until we agreed, and nothing else of the flow is", () => {
  const of = (kind: Wire["kind"], agreed: boolean) =>
    decide({ kind, flowId: "f1", sender: ben }, view([{ agreed }])).kind;
  expect(of("done", false)).toBe("hold");
  expect(of("done", true)).toBe("pass");
  for (const kind of ["ready", "start", "cancel", "other"] as const) expect(of(kind, false)).toBe("pass");
});

test("what belongs to no open flow, or comes from a third, is never passed on", () => {
  fc.assert(
    fc.property(
      fc.constantFrom<Wire["kind"]>("ready", "start", "done", "cancel", "other"),
      fc.constantFrom("f1", "f2", "other"),
      fc.constantFrom(ben, "@eve:three.test", me),
      (kind, flowId, sender) => {
        const decision = decide({ kind, flowId, sender, fromDevice: "X" }, view([{ agreed: true }]));
        expect(decision.kind === "pass").toBe(flowId === "f1" && sender === ben);
      },
    ),
  );
});

test("what another of our devices answers is answered", () => {
  const asked = [{ mine: false, unanswered: true }];
  const from = (fromDevice: string, open = asked) =>
    decide({ kind: "ready", flowId: "f1", sender: me, fromDevice }, view(open)).kind;
  expect(from("ANA2")).toBe("answered-elsewhere");
  expect(from("ANA1")).toBe("drop");
  expect(from("ANA2", [{ mine: false, unanswered: false }])).toBe("drop");
});

test("no shape of an event makes reading it fail", () => {
  fc.assert(
    fc.property(fc.anything(), fc.string(), fc.anything(), (content, type, relates) => {
      for (const event of [content, { type: `m.key.verification.${type}`, sender: ben, content }])
        expect(() => wireOfToDevice(event)).not.toThrow();
      const json = { "m.relates_to": relates, msgtype: "m.key.verification.request", ...(content as object) };
      for (const one of ["m.room.message", `m.key.verification.${type}`])
        expect(() =>
          wireOfRoom({ type: one, sender: ben, event_id: "$e", origin_server_ts: 1, content: json }),
        ).not.toThrow();
    }),
  );
});

test("a flow's id has at most 255 characters, and a room's request names whom it asks", () => {
  const toDevice = (id: unknown) =>
    wireOfToDevice({ type: "m.key.verification.done", sender: ben, content: { transaction_id: id } });
  expect(toDevice("x".repeat(255))?.flowId).toHaveLength(255);
  for (const id of ["x".repeat(256), "", 5, null, undefined]) expect(toDevice(id)).toBeUndefined();
  const content = { msgtype: "m.key.verification.request", from_device: "BEN1" };
  const asked = wireOfRoom({ type: "m.room.message", sender: ben, event_id: "$e", origin_server_ts: nowMs, content });
  expect(asked === undefined ? undefined : decide(asked, view())).toEqual({ kind: "drop", why: "not-to-us" });
});

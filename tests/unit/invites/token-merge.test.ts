import fc from "fast-check";
import { expect, test } from "vitest";
import {
  acceptedUsers,
  clamp,
  isFrozen,
  merge,
  troubles,
  type TokenState,
  type Use,
} from "../../../main/core/features/invites/token-merge.ts";
import { latestVerifyMs } from "../../../main/core/features/invites/token-presets.ts";

const header = Buffer.alloc(39, 1);
const secret = Buffer.alloc(16, 2);
const device = fc.constantFrom("A", "B", "C");
const time = fc.nat({ max: 20 });
const uses: fc.Arbitrary<Use> = fc.record({
  userId: fc.constantFrom("@b:x", "@c:x"),
  masterKey: fc.constantFrom("k1", "k2"),
  atMs: time,
  deviceId: device,
  verify: fc.boolean(),
  accepted: fc.boolean(),
});
const once = (all: Use[]) => [...new Map(all.map((use) => [`${use.userId} ${use.masterKey}`, use])).values()];
const states: fc.Arbitrary<TokenState> = fc
  .record({
    roomId: fc.constantFrom(undefined, "!a:x", "!b:x"),
    createdAtMs: time,
    verifyUntilMs: time,
    state: fc.record({
      at: fc.constantFrom("active" as const, "withdrawn" as const),
      rev: fc.nat({ max: 3 }),
      by: device,
      atMs: time,
    }),
    owner: fc.record({ owner: device, rev: fc.nat({ max: 3 }), by: device }),
    uses: fc.array(uses, { maxLength: 5 }).map(once),
  })
  .map((state) => ({ ...state, header, secret }));
/** The uses in the order in which merging leaves them. */
const settled = (state: TokenState) => merge(state, state);

test("merging does not depend on the order, the grouping, or how often something comes", () => {
  fc.assert(
    fc.property(states, states, states, (a, b, c) => {
      expect(merge(a, b)).toEqual(merge(b, a));
      expect(merge(merge(a, b), c)).toEqual(merge(a, merge(b, c)));
      expect(merge(merge(a, b), b)).toEqual(merge(a, b));
      expect(merge(settled(a), settled(a))).toEqual(settled(a));
    }),
    { numRuns: 2_000 },
  );
});

test("a withdrawal wins over whatever was written at the same revision", () => {
  fc.assert(
    fc.property(states, states, (a, b) => {
      const [withdrawn, active] = [
        { ...a, state: { ...a.state, at: "withdrawn" as const, rev: 2 } },
        { ...b, state: { ...b.state, at: "active" as const, rev: 2 } },
      ];
      expect(merge(withdrawn, active).state.at).toBe("withdrawn");
    }),
  );
});

test("taking a code over, however often, brings no withdrawn one back", () => {
  fc.assert(
    fc.property(states, fc.nat({ max: 50 }), (a, rev) => {
      const withdrawn = { ...a, state: { at: "withdrawn" as const, rev: 2, by: "A", atMs: 1 } };
      const taken = {
        ...a,
        state: { at: "active" as const, rev: 1, by: "A", atMs: 0 },
        owner: { owner: "C", by: "C", rev },
      };
      expect(merge(withdrawn, taken).state.at).toBe("withdrawn");
    }),
  );
});

test("uses only grow, and nothing that was granted is taken back", () => {
  fc.assert(
    fc.property(states, states, (a, b) => {
      const merged = merge(a, b);
      for (const use of [...a.uses, ...b.uses]) {
        const there = merged.uses.find((one) => one.userId === use.userId && one.masterKey === use.masterKey);
        expect(there).toBeDefined();
        expect(there?.atMs).toBeLessThanOrEqual(use.atMs);
        if (use.accepted) expect(there?.accepted).toBe(true);
        if (use.verify) expect(there?.verify).toBe(true);
      }
      const names = (all: Use[]) => new Set(all.map((use) => `${use.userId} ${use.masterKey}`));
      expect(names(merged.uses)).toEqual(new Set([...names(a.uses), ...names(b.uses)]));
    }),
  );
});

test("nothing in a note is later than when it was sent, and no note verifies for longer than a device could have granted", () => {
  fc.assert(
    fc.property(
      states,
      time,
      fc.constantFrom("show" as const, "personal-link" as const, "card" as const, "public" as const),
      (state, sentAtMs, preset) => {
        const expiresAtMs = 10;
        const latest = (atMs: number) => latestVerifyMs(preset, expiresAtMs, atMs);
        const clamped = clamp(state, sentAtMs, latest);
        expect(clamped.createdAtMs).toBeLessThanOrEqual(sentAtMs);
        expect(clamped.state.atMs).toBeLessThanOrEqual(sentAtMs);
        expect(clamped.verifyUntilMs).toBeLessThanOrEqual(latest(sentAtMs));
        expect(clamped.verifyUntilMs).toBeLessThanOrEqual(state.verifyUntilMs);
        for (const use of clamped.uses) expect(use.atMs).toBeLessThanOrEqual(sentAtMs);
        expect(clamp(clamped, sentAtMs, latest)).toEqual(clamped);
      },
    ),
  );
});

test("every device finds the same trouble", () => {
  fc.assert(
    fc.property(states, states, fc.boolean(), (a, b, single) => {
      expect(troubles(merge(a, b), single)).toEqual(troubles(merge(b, a), single));
    }),
  );
  const use = (userId: string, masterKey: string, atMs: number, accepted = true): Use => ({
    userId,
    masterKey,
    atMs,
    deviceId: "A",
    verify: false,
    accepted,
  });
  const state = { at: "active" as const, rev: 1, by: "A", atMs: 0 };
  expect(troubles({ uses: [use("@b:x", "k1", 3), use("@c:x", "k2", 5)], state }, true)).toEqual([
    { kind: "two-users", userIds: ["@b:x", "@c:x"], atMs: 5 },
  ]);
  expect(troubles({ uses: [use("@b:x", "k1", 3), use("@c:x", "k2", 5)], state }, false)).toEqual([]);
  expect(troubles({ uses: [use("@b:x", "k1", 3), use("@b:x", "k2", 5, false)], state }, false)).toEqual([
    { kind: "second-key", userIds: ["@b:x"], atMs: 5, events: 2 },
  ]);
  const withdrawn = { at: "withdrawn" as const, rev: 2, by: "A", atMs: 4 };
  expect(troubles({ uses: [use("@b:x", "k1", 3), use("@c:x", "k2", 5)], state: withdrawn }, false)).toEqual([
    { kind: "withdrawn-but-used", userIds: ["@c:x"], atMs: 5, withdrawnAtMs: 4 },
  ]);
  const both = [use("@b:x", "k1", 3), use("@b:x", "k2", 5, false)];
  expect([isFrozen(both, "@b:x"), isFrozen(both, "@c:x"), acceptedUsers(both)]).toEqual([true, false, ["@b:x"]]);
});
